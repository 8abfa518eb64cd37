"""Common Voice as it unpacks: LANGUAGE with a .tsv per split and clips in MP3."""

from collections.abc import Mapping
from pathlib import Path

from asr_lab.data.reading import UNKNOWN, given_folder, number, numbered_lines, with_durations
from asr_lab.data.tables import rows
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

NEEDED = ("path", "sentence", "client_id")
"""Columns; trailing empty ones are missing in some releases, and these come before."""


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split of one language (Ardila et al. 2020, arXiv 1912.06670).

    The location holds a folder per language, or is one. Lengths come from clip_durations.tsv if
    it is there, else from the files. Raises UserError for what is not there, and where several
    languages are and none is chosen.
    """
    folder = _language_folder(given_folder(location, "common_voice"), config, split)
    lengths = _durations(folder / "clip_durations.tsv")
    return with_durations(
        utterance(row, folder / "clips", config or row.get("locale") or folder.name, lengths)
        for _, row in rows(folder / f"{split}.tsv", "\t", NEEDED, ragged=True)
    )


def utterance(
    row: Mapping[str, str], clips: Path, language: str, lengths: Mapping[str, float] | None = None
) -> Utterance:
    """Return the utterance of a row; `lengths` are seconds by name of the clip."""
    name = Path(row["path"]).name
    clip = name if Path(name).suffix else f"{name}.mp3"
    return Utterance(
        id=Path(clip).stem,
        audio=AudioSource(path=str(clips / clip)),
        text=row["sentence"].strip(),
        duration=(lengths or {}).get(clip, UNKNOWN),
        language=language,
        speaker=row["client_id"],
    )


def _language_folder(root: Path, config: str, split: str) -> Path:
    name = f"{split}.tsv"
    languages = sorted(path.parent.name for path in root.glob(f"*/{name}"))
    if config in languages or (not config and len(languages) == 1):
        return root / (config or languages[0])
    if (root / name).exists() and config in ("", root.resolve().name):
        return root
    there = ", ".join(languages) or "none; unpack one there"
    wanted = f"{config}/{name}" if config else f"one language; say common_voice/LANGUAGE:{root}"
    raise UserError(f"common_voice needs {wanted}; languages with {name} in {root}: {there}")


def _durations(path: Path) -> dict[str, float]:
    """Return file name -> seconds; the table is in milliseconds."""
    if not path.exists():
        return {}
    lines = ((line, text.split("\t")) for line, text in numbered_lines(path))
    next(lines, None)
    return {
        fields[0]: number(fields[-1], "duration", f"{path}:{line}") / 1000 for line, fields in lines
    }
