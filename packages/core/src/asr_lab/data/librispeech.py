"""LibriSpeech as it unpacks: SPLIT/speaker/chapter with FLAC files and a .trans.txt."""

from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.reading import UNKNOWN, given_folder, numbered_lines, with_durations
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

ALIASES = {
    "train": ("train-clean-100", "train-clean-360", "train-other-500"),
    "dev": ("dev-clean",),
    "test": ("test-clean",),
}


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split (Panayotov et al. 2015) in order of speaker, chapter and utterance.

    The location holds the splits, or a folder LibriSpeech that does. `train` is every training
    part that is there. Raises UserError for a split that is not there.
    """
    root = given_folder(location, "librispeech")
    root = root / "LibriSpeech" if (root / "LibriSpeech").is_dir() else root
    folders = [root / name for name in ALIASES.get(split, (split,)) if (root / name).is_dir()]
    if not folders:
        there = ", ".join(sorted(p.name for p in root.iterdir() if p.is_dir())) or "no folder"
        wanted = " or ".join(ALIASES.get(split, (split,)))
        raise UserError(
            f"librispeech needs {wanted} in {root}; found {there}; unpack it from openslr.org/12"
        )
    return with_durations(u for folder in folders for u in _utterances(folder))


def _utterances(folder: Path) -> Iterator[Utterance]:
    for chapter in sorted(folder.glob("*/*")):
        transcripts = next(iter(sorted(chapter.glob("*.trans.txt"))), None)
        if transcripts is not None:
            yield from _chapter(transcripts)
        elif any(chapter.glob("*.flac")):
            raise UserError(f"{chapter} has no *.trans.txt; unpack {folder.name}.tar.gz again")


def _chapter(transcripts: Path) -> Iterator[Utterance]:
    for _, line in numbered_lines(transcripts):
        name, _, text = line.partition(" ")
        yield Utterance(
            id=name,
            audio=AudioSource(path=str(transcripts.parent / f"{name}.flac")),
            text=text.strip(),
            duration=UNKNOWN,
            language="en",
            speaker=transcripts.parent.parent.name,
        )
