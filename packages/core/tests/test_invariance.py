"""The benchmark of invariance, on a small model: no batch changes a text; if one does, it shows."""

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asr_lab.testing.speech import write_corpus

if TYPE_CHECKING:
    import invariance
else:
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import invariance

    sys.path.pop(0)

WORDS = "ace bad bed cab dab fed face fade bead dace".split()
UTTERANCES = 66
"""More than the largest batch."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a corpus of words and sentences."""
    folder, draw = tmp_path_factory.mktemp("batches"), random.Random(1)
    write_corpus(
        folder, [" ".join(draw.sample(WORDS, 1 + n % 3)) for n in range(UTTERANCES)], seed=9
    )
    return f"manifest:{folder}/manifest.jsonl"


def test_texts_are_the_same_in_all_batches_and_orders(
    checkpoint: Path, probe: Path, dataset: str
) -> None:
    row = invariance.in_all_ways("probe", checkpoint, "ctc", 1, dataset)
    assert {(way.batch_size, way.order) for way in row.ways} == {
        (size, order) for size in (1, 8, 64) for order in ("longest", "shuffled")
    }
    assert [(way.different, way.ties) for way in row.ways] == [(0, 0)] * 6
    assert (row.utterances, row.empty) == (UTTERANCES, 0)
    assert row.word_error_rate < invariance.MOST_ERRORS
    assert max(way.score_difference for way in row.ways) < invariance.TOLERANCE
    assert not row.proves, "these are too few utterances"


def test_a_model_that_hears_its_batch_mates_is_found(
    checkpoint: Path, probe: Path, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_LEAK", "1")
    ways = [(1, "shuffled"), (8, "shuffled")]
    row = invariance.in_all_ways("probe", checkpoint, "ctc", 1, dataset, ways)
    alone, mixed = row.ways
    assert alone.different == 0 and mixed.different > 10 and not row.proves


def test_a_tie_is_a_text_that_differs_where_scores_do_not() -> None:
    first = {"a": ("x", -10.0), "b": ("y", -10.0), "c": ("z", -10.0)}
    other = {"a": ("x", -10.00001), "b": ("w", -10.00001), "c": ("w", -10.01)}
    way = invariance.compared(8, "longest", first, other)
    assert (way.ties, way.different) == (1, 1)
    assert way.score_difference == pytest.approx(1e-6, rel=1e-3)
    with pytest.raises(AssertionError, match="same utterances"):
        invariance.compared(8, "longest", first, {"a": ("x", -10.0)})


def test_only_a_model_that_hears_proves_anything() -> None:
    def row(rate: float, empty: int, utterances: int, different: int) -> invariance.Row:
        way = invariance.Way(
            batch_size=8, order="longest", different=different, ties=3, score_difference=0.0
        )
        return invariance.Row(
            model="m",
            decoder="ctc",
            beam=1,
            utterances=utterances,
            word_error_rate=rate,
            empty=empty,
            ways=(way,),
        )

    assert row(0.1, 0, 276, 0).proves
    for wrong in (
        row(0.4, 0, 276, 0),
        row(0.1, 1, 276, 0),
        row(0.1, 0, 99, 0),
        row(0.1, 0, 276, 1),
    ):
        assert not wrong.proves
    assert "| m | ctc | 1 | 276 | 10.0 | 0 | 0 | 3 |" in invariance.table([row(0.1, 0, 276, 0)])
