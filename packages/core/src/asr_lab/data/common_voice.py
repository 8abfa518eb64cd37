"""Common Voice as it unpacks: LANGUAGE with a .tsv per split and clips in MP3."""

from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.reading import UNKNOWN, given_folder, number, numbered_lines, with_durations
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

NEEDED = ("path", "sentence", "client_id")


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split of one language (Ardila et al. 2020, arXiv 1912.06670).

    The location holds a folder per language, or is one. Lengths come from clip_durations.tsv if
    it is there, else from the files. Raises UserError for what is not there, and where several
    languages are and none is chosen.
    """
    folder = _language_folder(given_folder(location, "common_voice"), config, split)
    lengths = _durations(folder / "clip_durations.tsv")
    return with_durations(
        Utterance(
            id=Path(clip).stem,
            audio=AudioSource(path=str(folder / "clips" / clip)),
            text=row["sentence"].strip(),
            duration=lengths.get(clip, UNKNOWN),
            language=config or row.get("locale") or folder.name,
            speaker=row["client_id"],
        )
        for row, clip in _rows(folder / f"{split}.tsv")
    )


def _language_folder(root: Path, config: str, split: str) -> Path:
    name = f"{split}.tsv"
    languages = sorted(path.parent.name for path in root.glob(f"*/{name}"))
    if config in languages or (not config and len(languages) == 1):
        return root / (config or languages[0])
    if (root / name).exists() and config in ("", root.resolve().name):
        return root
    there = ", ".join(languages) or "none"
    wanted = f"{config}/{name}" if config else f"one language; say common_voice/LANGUAGE:{root}"
    raise UserError(f"common_voice needs {wanted}; languages with {name} in {root}: {there}")


def _rows(path: Path) -> Iterator[tuple[dict[str, str], str]]:
    """Yield each row by column name, and the file name of its clip."""
    lines = numbered_lines(path)
    _, first = next(lines, (0, ""))
    header = first.split("\t")
    if missing := [column for column in NEEDED if column not in header]:
        raise UserError(f"{path} has no column {missing[0]}; it has {', '.join(header)}")
    for line, text in lines:
        fields = text.split("\t")
        # Trailing empty columns are missing in some releases; what is needed comes before.
        if len(fields) <= max(header.index(column) for column in NEEDED):
            raise UserError(f"{path}:{line} has {len(fields)} fields of {len(header)}")
        row = dict(zip(header, fields, strict=False))
        clip = Path(row["path"]).name
        yield row, clip if Path(clip).suffix else f"{clip}.mp3"


def _durations(path: Path) -> dict[str, float]:
    """Return file name -> seconds; the table is in milliseconds."""
    if not path.exists():
        return {}
    rows = ((line, text.split("\t")) for line, text in numbered_lines(path))
    next(rows, None)
    return {
        fields[0]: number(fields[-1], "duration", f"{path}:{line}") / 1000 for line, fields in rows
    }
