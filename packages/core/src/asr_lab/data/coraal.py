"""CORAAL as it unpacks: interviews in WAV files, and a table of turns for each."""

from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.reading import UNKNOWN, given_folder, with_durations
from asr_lab.data.spoken_text import coraal as words
from asr_lab.data.tables import rows
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

NEEDED = ("Content",)


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a component (Kendall & Farrington, oraal.github.io/coraal), an utterance per recording.

    Recordings and tables lie anywhere below COMPONENT of the location, or below the location. All
    who speak are in the text, without pauses, noises, and names that were taken out. Raises
    UserError for what is not there, and a table that does not fit.
    """
    root = given_folder(location, "coraal")
    folder = root / config if (root / config).is_dir() else root
    tables = {path.stem: path for path in sorted(folder.rglob(f"{config}_se*.txt"))}
    audio = {path.stem: path for path in sorted(folder.rglob(f"{config}_se*.wav"))}
    advice = f"unpack {config}_textfiles_*.tar.gz of oraal.github.io/coraal there"
    if not tables:
        raise UserError(f"coraal needs {config}_se*.txt in {folder}; {advice}")
    if missing := [name for name in audio if name not in tables]:
        raise UserError(f"{audio[missing[0]]} has no transcript {missing[0]}.txt; {advice}")
    return with_durations(
        Utterance(
            id=name,
            audio=AudioSource(path=str(audio.get(name, table.with_suffix(".wav")))),
            text=" ".join(_turns(table)),
            duration=UNKNOWN,
            language="en",
            speaker=name.rpartition("_")[0],
        )
        for name, table in tables.items()
    )


def _turns(table: Path) -> Iterator[str]:
    for _, row in rows(table, "\t", NEEDED, ragged=True):
        if text := words(row["Content"]):
            yield text
