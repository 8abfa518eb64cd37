"""Tables of corpora with a header line, their fields as they are, without quotation."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from asr_lab.data.reading import numbered_lines
from asr_lab.utils.errors import UserError


def rows(
    path: Path, separator: str, needed: Sequence[str], *, ragged: bool = False
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield where each row stands, and its fields by column.

    Raises UserError for a missing column, and a row that has not as many fields as the header; in
    a `ragged` table, only what is needed must be there.
    """
    lines = numbered_lines(path)
    header = next(lines, (0, ""))[1].split(separator)
    if missing := [name for name in needed if name not in header]:
        raise UserError(f"{path} has no column {missing[0]}; it has {', '.join(header)}")
    least = 1 + max(header.index(name) for name in needed) if ragged else len(header)
    for line, text in lines:
        fields = text.split(separator)
        if len(fields) < least or (len(fields) > least and not ragged):
            raise UserError(f"{path}:{line} has {len(fields)} fields; the header has {len(header)}")
        yield f"{path}:{line}", dict(zip(header, fields, strict=False))
