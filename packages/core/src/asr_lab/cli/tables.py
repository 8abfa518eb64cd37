"""Aligned tables for the terminal."""

from collections.abc import Sequence


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
