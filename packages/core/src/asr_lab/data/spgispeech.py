"""SPGISpeech as it unpacks: SPLIT.csv with `|` between fields, and SPLIT/CALL with WAV files."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from asr_lab.data.reading import UNKNOWN, given_folder, with_durations
from asr_lab.data.tables import rows
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

NEEDED = ("wav_filename", "transcript")
ALIASES = {"dev": "val"}


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split (O'Neill et al. 2021, arXiv 2104.02014); `dev` is val.

    The location holds SPLIT.csv and the folder SPLIT, or a folder spgispeech with them. A call
    has several speakers, and who speaks is not said. Raises UserError for what is not there.
    """
    root, name = given_folder(location, "spgispeech"), ALIASES.get(split, split)
    below = root / "spgispeech"
    table = next((e for e in (root / f"{name}.csv", below / f"{name}.csv") if e.exists()), None)
    if table is None:
        raise UserError(f"spgispeech needs {name}.csv in {root}; unpack it there")
    folders = (table.parent / name, below / name)
    audio = next((each for each in folders if each.is_dir()), folders[0])
    return with_durations(_utterances(table, audio))


def _utterances(table: Path, audio: Path) -> Iterator[Utterance]:
    for _, row in rows(table, "|", NEEDED):
        file = row["wav_filename"]
        yield Utterance(
            id=str(PurePosixPath(file).with_suffix("")),
            audio=AudioSource(path=str(audio / file)),
            text=row["transcript"].strip(),
            duration=UNKNOWN,
            language="en",
        )
