"""Counts, segments and z are those of NIST's sctk: its stored results, and live where it is."""

import gzip
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from asr_lab.evaluation.matched_pairs import mapsswe
from asr_lab.utils.metrics import ErrorCounts, corpus_errors, utterance_errors

if TYPE_CHECKING:
    import sctk
else:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    import sctk

    sys.path.pop(0)

STORED = Path(__file__).parent / "fixtures" / "sctk.json.gz"
NAMES = [*sctk.FAMILIES, "adversarial"]
SMALL = ("2", "5", "20")
"""Families of so few words that sclite, which looks at weights alone, now and then finds more
errors than are needed for the least weight."""
PRINTED = 0.0005 + 1e-9
"""Half of the last digit of z that sc_stats prints."""


class Golden(NamedTuple):
    """What the file of stored results holds."""

    families: dict[str, dict[str, object]]
    comparisons: list[dict[str, object]]


@cache
def golden() -> Golden:
    content = json.loads(gzip.decompress(STORED.read_bytes()))
    return Golden(content["families"], content["comparisons"])


@cache
def families() -> dict[str, list[tuple[str, str]]]:
    return sctk.families()


def weight(row: tuple[int, int, int]) -> int:
    substitutions, deletions, insertions = row
    return 4 * substitutions + 3 * (deletions + insertions)


def kinds(counts: ErrorCounts) -> tuple[int, int, int]:
    return counts.substitutions, counts.deletions, counts.insertions


def ours(pairs: list[tuple[str, str]]) -> list[tuple[int, int, int]]:
    references, hypotheses = [one for one, _ in pairs], [other for _, other in pairs]
    return [kinds(one) for one in utterance_errors(references, hypotheses, rule="sclite")]


def theirs(name: str) -> list[tuple[int, int, int]]:
    stored = golden().families[name]
    assert stored["digest"] == sctk.digest(families()[name]), "the texts changed; run tools/sctk.py"
    counts = stored["counts"]
    assert isinstance(counts, list)
    return [(row[0], row[1], row[2]) for row in counts]


def test_there_are_as_many_pairs_as_promised_and_none_with_markup() -> None:
    texts = [text for pairs in families().values() for pair in pairs for text in pair]
    assert len(texts) // 2 >= 5000
    assert not set("".join(texts)) & set(sctk.MARKUP)
    assert {"", "a", "é"} <= set(texts)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_of_errors_is_that_of_sclite_for_every_pair(name: str) -> None:
    assert [weight(row) for row in ours(families()[name])] == [weight(row) for row in theirs(name)]


@pytest.mark.parametrize("name", NAMES)
def test_the_kinds_of_errors_are_those_of_sclite_or_fewer_errors_of_equal_weight(name: str) -> None:
    found = list(zip(ours(families()[name]), theirs(name), strict=True))
    different = [(mine, other) for mine, other in found if mine != other]
    assert len(different) <= (0.005 * len(found) if name in SMALL else 0)
    assert all(sum(mine) < sum(other) for mine, other in different)


def cases() -> Iterator[tuple[int, str]]:
    for index, one in enumerate(sctk.comparisons()):
        yield index, f"{one.vocabulary} words, {one.size} utterances, {index}"


@pytest.mark.parametrize(
    "index", [index for index, _ in cases()], ids=[name for _, name in cases()]
)
def test_segments_and_z_are_those_of_sc_stats(index: int) -> None:
    stored, one = golden().comparisons[index], sctk.comparisons()[index]
    assert (stored["vocabulary"], stored["seed"], stored["size"]) == (
        one.vocabulary,
        one.seed,
        one.size,
    )
    found, result = mapsswe(*one.texts()), stored["result"]
    assert isinstance(result, list)
    assert found.segments == result[0]
    assert found.z == pytest.approx(result[1], abs=PRINTED)
    assert len(golden().comparisons) >= 20


@pytest.mark.skipif(sctk.program("sclite") is None, reason="sctk is not installed")
def test_sctk_itself_says_what_is_stored() -> None:
    for name in ("20", "adversarial"):
        assert sctk.counted(families()[name]) == theirs(name)
    for index in (2, 12, 20):
        found = sctk.compared(*sctk.comparisons()[index].texts())
        assert list(found) == golden().comparisons[index]["result"]


def test_totals_of_the_other_rule_are_those_of_jiwer() -> None:
    jiwer = pytest.importorskip("jiwer")
    for name, pairs in families().items():
        spoken = [pair for pair in pairs if pair[0]]  # jiwer refuses empty references
        references, hypotheses = [one for one, _ in spoken], [other for _, other in spoken]
        expected = jiwer.process_words(references, hypotheses)
        counts = corpus_errors(references, hypotheses)
        assert kinds(counts) == (expected.substitutions, expected.deletions, expected.insertions), (
            name
        )
        assert counts.correct == expected.hits
        assert counts.rate == expected.wer
        assert counts.match_error_rate == pytest.approx(expected.mer, rel=1e-12)
        assert counts.information_lost == pytest.approx(expected.wil, rel=1e-12)


def test_totals_of_characters_are_those_of_rapidfuzz() -> None:
    from rapidfuzz.distance import Levenshtein

    for pairs in families().values():
        references, hypotheses = (
            [one for one, _ in pairs[:300]],
            [other for _, other in pairs[:300]],
        )
        counts = corpus_errors(references, hypotheses, "character")
        tags = [
            tag
            for one, other in zip(references, hypotheses, strict=True)
            for tag, _, _ in Levenshtein.editops(one, other).as_list()
        ]
        assert kinds(counts) == tuple(map(tags.count, ("replace", "delete", "insert")))
