"""VoxPopuli as its own tool cuts it: LANGUAGE/asr_SPLIT.tsv and LANGUAGE/YEAR with Ogg files."""

from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.reading import UNKNOWN, given_folder, with_durations
from asr_lab.data.spoken_text import spoken
from asr_lab.data.tables import rows
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

NEEDED = ("id", "normalized_text", "speaker_id")


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split of one language (Wang et al. 2021, arXiv 2101.00390).

    The location holds the languages, or a folder transcribed_data that does. The text is
    `normalized_text`. Raises UserError for what is not there, and a line that does not fit.
    """
    root = given_folder(location, "voxpopuli")
    tables = [root / below / config / f"asr_{split}.tsv" for below in ("", "transcribed_data")]
    table = next((each for each in tables if each.exists()), None)
    if table is None:
        raise UserError(f"voxpopuli needs {config}/asr_{split}.tsv in {root}; cut it there first")
    return with_durations(_utterances(table, config.split("_")[0]))


def _utterances(table: Path, language: str) -> Iterator[Utterance]:
    for _, row in rows(table, "\t", NEEDED):
        name = row["id"]
        if (text := spoken(row["normalized_text"].strip())) is not None:
            yield Utterance(
                id=name,
                audio=AudioSource(path=str(table.parent / name[:4] / f"{name}.ogg")),
                text=text,
                duration=UNKNOWN,
                language=language,
                speaker="" if row["speaker_id"] == "None" else row["speaker_id"],
            )
