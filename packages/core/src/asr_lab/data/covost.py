"""CoVoST 2 as it is distributed: a table of clips and splits, beside Common Voice 4."""

from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.common_voice import NEEDED, utterance
from asr_lab.data.reading import given_folder, with_durations
from asr_lab.data.tables import rows
from asr_lab.data.utterance import Utterance
from asr_lab.utils.errors import UserError

TRAIN = ("train", "train_covost")
"""Marks of the training split, which the corpus made larger than Common Voice's."""
COMMON_VOICE = "cv-corpus-4-2019-12-10"


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split of one source language (Wang et al. 2020, arXiv 2007.10310).

    The text is the transcript, not the translation. The location holds LANGUAGE/validated.tsv and
    LANGUAGE/clips of Common Voice 4, and covost_v2.LANGUAGE_TARGET.tsv beside LANGUAGE or in it;
    what the corpus' own script cuts, covost_v2.LANGUAGE_TARGET.SPLIT.tsv, is taken first. Raises
    UserError for what is not there, and for clips that Common Voice does not have.
    """
    root = given_folder(location, "covost2")
    folder = root / config if (root / config).is_dir() else root
    cut = _table(root, folder, config, f".{split}.tsv")
    if cut is not None:
        found = [row for _, row in rows(cut, "\t", NEEDED, ragged=True)]
    elif (table := _table(root, folder, config, ".tsv")) is not None:
        found = list(_chosen(table, folder / "validated.tsv", split))
    else:
        raise UserError(
            f"covost2 needs covost_v2.{config}_TARGET.tsv in {root}; unpack one of "
            "github.com/facebookresearch/covost there"
        )
    return with_durations(utterance(row, folder / "clips", config) for row in found)


def _table(root: Path, folder: Path, language: str, ending: str) -> Path | None:
    """Return the first table of a language; all of them split its clips in the same way."""
    for place in dict.fromkeys((root, folder)):
        for path in sorted(place.glob(f"covost_v2.{language}_*{ending}")):
            if path.name.count(".") == 1 + ending.count("."):
                return path
    return None


def _chosen(table: Path, validated: Path, split: str) -> Iterator[dict[str, str]]:
    """Yield the rows of Common Voice whose clips are of a split, in the order of the table."""
    marks = TRAIN if split == "train" else (split,)
    listed = rows(table, "\t", ("path", "split"), ragged=True)
    wanted = dict.fromkeys(row["path"] for _, row in listed if row["split"].strip() in marks)
    if not validated.exists():
        raise UserError(f"covost2 needs {validated}; unpack {COMMON_VOICE} of Common Voice there")
    there = {  # of a million clips only these, and of those only what is needed
        row["path"]: {name: row[name] for name in NEEDED}
        for _, row in rows(validated, "\t", NEEDED, ragged=True)
        if row["path"] in wanted
    }
    if missing := [clip for clip in wanted if clip not in there]:
        raise UserError(
            f"{validated} lacks {len(missing)} of {len(wanted)} clips of {table.name}, first "
            f"{missing[0]}; take {COMMON_VOICE}, or cut tables with get_covost_splits.py"
        )
    yield from (there[clip] for clip in wanted)
