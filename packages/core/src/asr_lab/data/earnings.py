"""Earnings-21 and Earnings-22 as Rev publishes them: whole calls in MP3, and tables of tokens."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr_lab.data.reading import UNKNOWN, given_folder, open_text, with_durations
from asr_lab.data.spoken_text import earnings as words
from asr_lab.data.tables import rows
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

NEEDED = ("token", "punctuation")
POINTER = b"version https://git-lfs"
"""What stands in place of a recording where Git LFS did not fetch it."""
SMALL = 1024
"""Bytes that no recording has so few of."""


def read_21(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read Earnings-21 (Del Rio et al. 2021, arXiv 2104.11348), an utterance per call.

    The location holds media/*.mp3 and transcripts/nlp_references/*.nlp, or a folder earnings21
    that does. Marks such as `<inaudible>` are left out. Raises UserError for what is not there, and
    a table that does not fit.
    """
    return _read(given_folder(location, "earnings21"), "earnings21", LISTS_21)


def read_22(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read Earnings-22 (Del Rio et al. 2022, arXiv 2203.15591), like Earnings-21."""
    return _read(given_folder(location, "earnings22"), "earnings22", LISTS_22)


LISTS_21 = (("earnings21-file-metadata.csv", "file_id"), ("file-metadata.csv", "file_id"))
LISTS_22 = (("metadata.csv", "File ID"),)
"""Where the calls may be listed, and in which column."""


def _read(root: Path, name: str, lists: Sequence[tuple[str, str]]) -> list[Utterance]:
    for below in ("speech-datasets", name):
        root = root / below if (root / below).is_dir() else root
    texts = root / "transcripts" / "nlp_references"
    calls = _calls(root, lists) or sorted(path.stem for path in texts.glob("*.nlp"))
    advice = f"get the folder {name} of github.com/revdotcom/speech-datasets"
    if not calls:
        raise UserError(f"{name} needs transcripts/nlp_references/*.nlp in {root}; {advice}")
    if missing := [call for call in calls if not (texts / f"{call}.nlp").exists()]:
        raise UserError(f"{name} needs {missing[0]}.nlp in {texts}; {advice}")
    return with_durations(_utterance(root, texts, call) for call in calls)


def _calls(root: Path, lists: Sequence[tuple[str, str]]) -> list[str]:
    """Return the calls that the corpus lists; none where the list is not there."""
    for file, column in lists:
        path = root / file
        if not path.exists():
            continue
        with open_text(path) as table:
            reader = csv.DictReader(table)
            if column not in (header := reader.fieldnames or ()):
                raise UserError(f"{path} has no column {column}; it has {', '.join(header)}")
            return [call for row in reader if (call := (row[column] or "").strip())]
    return []


def _utterance(root: Path, texts: Path, call: str) -> Utterance:
    audio = root / "media" / f"{call}.mp3"
    _refuse_pointer(audio)
    return Utterance(
        id=call,
        audio=AudioSource(path=str(audio)),
        text=words(" ".join(_tokens(texts / f"{call}.nlp"))) or "",
        duration=UNKNOWN,
        language="en",
    )


def _refuse_pointer(audio: Path) -> None:
    if audio.is_file() and audio.stat().st_size < SMALL:
        with audio.open("rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise UserError(f"{audio} is a pointer of Git LFS; run `git lfs pull` beside it")


def _tokens(table: Path) -> Iterator[str]:
    """Yield words with the punctuation that belongs to them."""
    for _, row in rows(table, "|", NEEDED, ragged=True):
        yield row.get("prepunctuation", "") + row["token"] + row["punctuation"]
