"""Multilingual LibriSpeech as it unpacks: SPLIT/transcripts.txt and audio/speaker/book."""

from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.config import MLS_FOLDERS
from asr_lab.data.reading import UNKNOWN, given_folder, numbered_lines, with_durations
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split of one language (Pratap et al. 2020, arXiv 2012.03411).

    The location holds a folder mls_LANGUAGE, or is one. Raises UserError for what is not there
    and a line that does not fit.
    """
    root = given_folder(location, "mls")
    name = f"mls_{MLS_FOLDERS[config]}"
    root = next((root / each for each in (name, f"{name}_opus") if (root / each).is_dir()), root)
    table = root / split / "transcripts.txt"
    if not table.exists() or root.resolve().name.removesuffix("_opus") != name:
        raise UserError(
            f"mls needs {name}/{split}/transcripts.txt in {root}; unpack {name}.tar.gz of "
            "openslr.org/94 there"
        )
    return with_durations(_utterances(table, config))


def _utterances(table: Path, language: str) -> Iterator[Utterance]:
    for line, row in numbered_lines(table):
        name, tab, text = row.partition("\t")
        speaker, *rest = name.split("_")
        if not tab or len(rest) != 2:
            raise UserError(f"{table}:{line} is not SPEAKER_BOOK_NUMBER, a tab and a text")
        folder = table.parent / "audio" / speaker / rest[0]
        packed = folder / f"{name}.opus"
        audio = packed if packed.exists() else folder / f"{name}.flac"
        yield Utterance(
            id=name,
            audio=AudioSource(path=str(audio)),
            text=text.strip(),
            duration=UNKNOWN,
            language=language,
            speaker=speaker,
        )
