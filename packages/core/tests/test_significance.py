"""Tests of differences: they find nothing where there is nothing, and something where there is."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.evaluation.matched_pairs import MatchedPairs, mapsswe, matched_pairs, segments
from asr_lab.evaluation.significance import (
    PairedDifference,
    detectable_difference,
    holm,
    paired_difference,
    tells_apart,
)
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import AlignedPair, ErrorCounts, align, total, utterance_errors

WORDS = [f"w{index}" for index in range(500)]
Texts = list[str]


def system(references: Texts, rate: float, draw: random.Random) -> Texts:
    """Return hypotheses in which each word is replaced, left out or followed by another."""
    kinds = (rate / 2, rate / 4, rate / 4)
    hypotheses = []
    for text in references:
        words: Texts = []
        for word in text.split():
            wrong, gone, more = (draw.random() < kind for kind in kinds)
            words += [] if gone else [draw.choice(WORDS) if wrong else word]
            words += [draw.choice(WORDS)] if more else []
        hypotheses.append(" ".join(words))
    return hypotheses


def texts(number: int, draw: random.Random, longest: int = 20) -> Texts:
    return [" ".join(draw.choices(WORDS, k=draw.randint(5, longest))) for _ in range(number)]


def pair(
    seed: int, number: int = 60, rates: tuple[float, float] = (0.2, 0.2), longest: int = 20
) -> list[Texts]:
    """Return references, and two systems of given word error rates."""
    draw = random.Random(seed)
    references = texts(number, draw, longest)
    return [references, *(system(references, rate, draw) for rate in rates)]


def counted(found: list[Texts]) -> tuple[list[ErrorCounts], list[ErrorCounts]]:
    references, first, second = found
    return utterance_errors(references, first), utterance_errors(references, second)


def slow_segments(references: Texts, first: Texts, second: Texts) -> list[tuple[int, int]]:
    """Walk along the references as the description of the test says, one word at a time."""
    found = []
    for reference, *hypotheses in zip(references, first, second, strict=True):
        columns = [align(reference, hypothesis, "sclite") for hypothesis in hypotheses]
        slots = [slots_of(one) for one in columns]
        errors, good = [0, 0], 0
        for place in range(len(reference.split()) + 1):
            before, here = ([side[place][index] for side in slots] for index in (0, 1))
            if any(before):
                good = 0
            errors = [e + b + h for e, b, h in zip(errors, before, here, strict=True)]
            good = 0 if any(here) else good + 1
            if good >= 2 and any(errors):
                found.append((errors[0], errors[1]))
                errors = [0, 0]
        if any(errors):
            found.append((errors[0], errors[1]))
    return found


def slots_of(columns: list[AlignedPair]) -> list[list[int]]:
    """Return words inserted before each word and whether it is wrong, and those at the end."""
    slots = [[0, 0]]
    for operation, _, _ in columns:
        if operation == "insert":
            slots[-1][0] += 1
        else:
            slots[-1][1] = int(operation != "equal")
            slots.append([0, 0])
    return slots


@pytest.mark.parametrize("seed", range(6))
def test_segments_are_those_of_a_walk_along_the_references(seed: int) -> None:
    found = pair(seed, 40, (0.1 * seed, 0.3))
    found = [[*texts, "a b", "", "a", "", "a b c d e f"] for texts in found]
    found[1][-5:] = ["a b x", "x", "", "", "a x c d e y"]
    found[2][-5:] = ["a b", "", "x y", "", "x b c d z e f"]
    assert sorted(map(tuple, segments(*found).tolist())) == sorted(slow_segments(*found))


def test_two_good_words_with_nothing_between_end_a_segment() -> None:
    reference = "a b c d e f"
    assert segments([reference], ["x b c d e y"], [reference]).tolist() == [[1, 0], [1, 0]]
    assert segments([reference], ["x b c d e f"], ["a b c d x f"]).tolist() == [[1, 0], [0, 1]]
    assert segments([reference], ["x b c d e f"], ["a b c x e f"]).tolist() == [[1, 0], [0, 1]]
    assert segments([reference], ["x b c d e f"], ["a b x d e f"]).tolist() == [[1, 1]]
    assert segments([reference], ["x b z c d e f"], ["a b z c d e f"]).tolist() == [[2, 1]]
    assert segments([reference] * 2, ["a b c d e x", "x b c d e f"], [reference] * 2).tolist() == [
        [1, 0],
        [1, 0],
    ]


@pytest.mark.parametrize("seed", range(4))
def test_every_error_lies_in_a_segment_and_the_order_of_systems_gives_the_sign(seed: int) -> None:
    references, first, second = pair(seed, 30, (0.3, 0.1))
    found = segments(references, first, second)
    for column, hypotheses in enumerate((first, second)):
        counts = total(utterance_errors(references, hypotheses, rule="sclite"))
        assert found[:, column].sum() == counts.errors
    there, back = mapsswe(references, first, second), mapsswe(references, second, first)
    assert (there.z, there.p, there.segments) == (-back.z, back.p, back.segments)
    assert there.z > 0


def test_z_is_the_mean_over_its_standard_error() -> None:
    found = matched_pairs(np.array([[2, 0], [0, 1], [1, 0], [3, 1]] * 10))
    differences = [2, -1, 1, 2] * 10
    deviation = math.sqrt(sum((one - 1) ** 2 for one in differences) / 39)
    assert (found.segments, found.mean) == (40, 1.0)
    assert found.deviation == pytest.approx(deviation)
    assert found.z == pytest.approx(1 / (deviation / math.sqrt(40)))
    assert found.p == pytest.approx(math.erfc(found.z / math.sqrt(2)))
    assert found.warning == ""


def test_few_segments_or_no_deviation_are_said() -> None:
    few = matched_pairs(np.array([[1, 0], [0, 1], [2, 0]]))
    assert few.warning == "3 segments are few: from 30 on, the probability is exact enough"
    alike = matched_pairs(np.array([[1, 0]] * 50))
    assert "all segments differ alike" in alike.warning
    assert (alike.segments, alike.mean, alike.z, alike.p) == (50, 1.0, 0.0, 1.0)
    assert mapsswe(["a b"], ["a b"], ["a b"]) == MatchedPairs(
        segments=0, mean=0.0, deviation=0.0, z=0.0, p=1.0, warning=alike.warning
    )
    assert mapsswe([], [], []).segments == 0


def test_unequal_numbers_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="each system; got 1, 2 and 1"):
        mapsswe(["a"], ["a", "b"], ["a"])
    with pytest.raises(ValueError, match="same utterances; got 1, 2"):
        paired_difference([ErrorCounts()], [ErrorCounts()] * 2)
    with pytest.raises(ValueError, match="needs a speaker; got 1 for 2"):
        paired_difference([ErrorCounts()] * 2, [ErrorCounts()] * 2, ["a"])
    with pytest.raises(UserError, match="at least 1 utterance"):
        paired_difference([], [])
    with pytest.raises(UserError, match="references with words"):
        paired_difference([ErrorCounts(0, 0, 1, 0)], [ErrorCounts()])


SETS = 1000


def test_systems_that_are_equally_good_seldom_differ_by_matched_pairs() -> None:
    false = sum(mapsswe(*pair(seed, 40, longest=12)).p < 0.05 for seed in range(SETS))
    assert 0.03 <= false / SETS <= 0.07


def test_systems_that_are_equally_good_seldom_differ_by_paired_bootstrap() -> None:
    times = 300
    false = sum(
        paired_difference(*counted(pair(seed, longest=12)), resamples=200).p < 0.05
        for seed in range(times)
    )
    assert 0.02 <= false / times <= 0.1  # 5 % and four standard deviations


@pytest.mark.parametrize("speakers", [0, 12, 60])
def test_systems_that_differ_do_and_the_interval_leaves_out_zero(speakers: int) -> None:
    found = pair(1, 240, (0.3, 0.15))
    names = [f"s{index % speakers}" for index in range(240)] if speakers else []
    first, second = counted(found)
    result = paired_difference(first, second, names, resamples=1000)
    assert result.difference == pytest.approx(total(first).rate - total(second).rate)
    assert 0 < result.low < result.difference < result.high
    assert result.p < 0.01
    other = paired_difference(second, first, names, resamples=1000)
    assert other.difference == pytest.approx(-result.difference)
    assert other.p < 0.01 and other.high < 0
    method = {0: "by utterance", 12: "t test over 12 speakers", 60: "by speaker"}[speakers]
    assert method in result.method


def test_a_system_does_not_differ_from_itself() -> None:
    first, _ = counted(pair(2))
    for names in ([], [f"s{index % 10}" for index in range(len(first))]):
        result = paired_difference(first, first, names)
        assert (result.difference, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)
        assert result.detectable == 0.0


def test_drawing_both_systems_together_takes_away_what_is_hard_for_both() -> None:
    draw = random.Random(0)
    hard = [(draw.choice((0, 0, 0, 9)), draw.randint(0, 1)) for _ in range(200)]
    first = [ErrorCounts(shared + extra, 0, 0, 20) for shared, extra in hard]
    second = [ErrorCounts(shared, 0, 0, 20) for shared, _ in hard]
    result = paired_difference(first, second)
    assert result.p < 0.01
    assert result.detectable < tells_apart(second) / 3


def test_the_same_seed_gives_the_same_result_and_the_order_does_not_matter() -> None:
    first, second = counted(pair(3))

    def compare(order: list[int], seed: int = 0) -> PairedDifference:
        return paired_difference([first[i] for i in order], [second[i] for i in order], seed=seed)

    order = list(range(len(first)))
    assert compare(order) == compare(order)
    assert compare(order[::-1]) == compare(order)
    assert compare(order, 1) != compare(order)


def test_a_difference_that_can_be_detected_is_detected_in_four_of_five_sets() -> None:
    references, *_ = pair(0, 150)
    typical = utterance_errors(references, system(references, 0.2, random.Random(0)))
    apart = tells_apart(typical)
    found = 0
    times = 120
    for seed in range(times):
        rates = (0.2 + apart / 2, 0.2 - apart / 2)
        found += paired_difference(*counted(pair(seed, 150, rates)), resamples=200).p < 0.05
    assert 0.65 <= found / times <= 0.95  # 80 % and four standard deviations of 3.7 %


def test_more_utterances_tell_smaller_differences_apart() -> None:
    first, _ = counted(pair(5))
    assert tells_apart(first * 4) == pytest.approx(tells_apart(first) / 2, rel=0.02)
    assert detectable_difference(0.01) == pytest.approx(0.01 * (1.95996 + 0.84162), rel=1e-4)
    assert math.isinf(tells_apart([ErrorCounts(0, 0, 0, 5)] * 9))
    assert math.isinf(tells_apart([ErrorCounts(1, 0, 0, 5)]))


def test_holm_multiplies_the_smallest_by_the_number_and_never_changes_the_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=9))
def test_holm_lies_between_no_correction_and_bonferroni(values: list[float]) -> None:
    corrected = holm(values)
    assert all(v <= c <= min(1.0, len(values) * v) for v, c in zip(values, corrected, strict=True))
    ordered = [c for _, c in sorted(zip(values, corrected, strict=True))]
    assert all(one <= other for one, other in pairwise(ordered))
    smallest = [min(1.0, (len(values) - rank) * v) for rank, v in enumerate(sorted(values))]
    rejected = next((k for k, v in enumerate(smallest) if v > 0.05), len(values))
    assert sum(one <= 0.05 for one in corrected) == rejected


def test_holm_seldom_finds_any_false_difference_among_many() -> None:
    draw = random.Random(0)
    sets = [[draw.random() for _ in range(10)] for _ in range(2000)]
    assert 0.03 < sum(min(holm(one)) < 0.05 for one in sets) / 2000 < 0.07
    assert sum(min(one) < 0.05 for one in sets) / 2000 > 0.35  # negative control
