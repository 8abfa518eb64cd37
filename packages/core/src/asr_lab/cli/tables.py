"""Aligned tables for the terminal."""

from collections.abc import Sequence

from asr_lab.plugins.specs import Spec


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Return lines with columns padded to their widest cell; the last column is left as it is."""
    lines = [header, *rows] if header else list(rows)
    count = max(map(len, lines), default=0)
    widths = [max(len(line[i]) for line in lines if i < len(line)) for i in range(count)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)


def short_names(found: Sequence[tuple[str, Spec]]) -> list[str]:
    """Return the name to type for each (plugin, specification): qualified if it is ambiguous."""
    names = [spec.name for _, spec in found]
    return [
        f"{owner}/{spec.name}" if names.count(spec.name) > 1 else spec.name for owner, spec in found
    ]
