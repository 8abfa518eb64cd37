"""Intervals over speakers: when which is used, what it says, and how often it holds the truth."""

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.evaluation.resampling import error_table, sum_by
from asr_lab.evaluation.statistics import (
    ENOUGH_SPEAKERS,
    FEWEST_SPEAKERS,
    Interval,
    bootstrap_interval,
    rate_interval,
    spread,
)
from asr_lab.evaluation.student import MANY, quantile, two_tailed
from asr_lab.utils.metrics import ErrorCounts, total

RATE = 0.1
STORED = Path(__file__).parents[3] / "docs" / "results" / "intervals.json"
Drawn = tuple[list[ErrorCounts], list[str]]


def drawn(number: int, effect: float, seed: int, unequal: float = 0.5) -> Drawn:
    """Draw utterances of speakers whose rates are log-normal, with `effect` as deviation.

    The rate of the population is `RATE`; numbers of utterances are log-normal too.
    """
    draw, counts, names = np.random.default_rng(seed), [], []
    for speaker in range(number):
        rate = RATE * math.exp(effect * draw.standard_normal() - effect**2 / 2)
        utterances = 2 + round(15 * math.exp(unequal * draw.standard_normal()))
        lengths = draw.integers(5, 25, utterances)
        wrong = draw.binomial(lengths, min(rate, 1.0))
        counts += [ErrorCounts(int(e), 0, 0, int(n)) for e, n in zip(wrong, lengths, strict=True)]
        names += [f"s{speaker}"] * utterances
    return counts, names


def drawn_whole(number: int, effect: float, seed: int) -> Drawn:
    """Draw the sums of speakers of unequal length, as if each had said all in one utterance."""
    draw = np.random.default_rng(seed)
    rates = RATE * np.exp(effect * draw.standard_normal(number) - effect**2 / 2)
    lengths = 20 + np.rint(200 * np.exp(0.5 * draw.standard_normal(number))).astype(int)
    wrong = draw.binomial(lengths, np.minimum(rates, 1)).tolist()
    counts = [ErrorCounts(e, 0, 0, n) for e, n in zip(wrong, lengths.tolist(), strict=True)]
    return counts, [f"s{speaker}" for speaker in range(number)]


def share_held(make: Callable[[int], Interval], times: int) -> float:
    """Return how often the true rate lies in an interval."""
    held = (make(seed) for seed in range(times))
    return sum(one.low <= RATE <= one.high for one in held) / times


TIMES = 400
SLACK = 4 * math.sqrt(0.95 * 0.05 / TIMES)
"""Four standard deviations of a share of 95 % in so many sets."""


@pytest.mark.parametrize(
    ("number", "effect"), [(8, 0.5), (20, 0.3), (39, 0.5), (40, 0.3), (40, 0.5)]
)
def test_the_interval_over_speakers_holds_the_rate_of_the_population(
    number: int, effect: float
) -> None:
    # 2,000 sets of each kind, and more kinds: benchmarks/intervals.py, docs/results/intervals.json.
    share = share_held(
        lambda seed: rate_interval(*drawn_whole(number, effect, seed), resamples=400), TIMES
    )
    assert 0.95 - SLACK <= share <= 0.95 + SLACK


@pytest.mark.skipif(not STORED.exists(), reason="a checkout of the core alone has no docs")
def test_the_stored_simulation_is_of_enough_sets_and_holds_what_it_should() -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    *kinds, control = stored["intervals"]
    assert stored["sets"] >= 2000 and control["case"] == "negative control"
    for one in kinds:
        least, most = (0.92, 0.98) if 8 <= one["speakers"] < 40 else (0.93, 0.97)
        assert least <= one["coverage"] <= most, one
    assert {one["speakers"] for one in kinds} >= {0, 8, 20, 39, 40}
    assert control["coverage"] < 0.8
    for test in stored["tests_of_equal_systems"]:
        assert test["sets"] >= 1000 and 0.03 <= test["share_below_0.05"] <= 0.07
    page = (STORED.parents[1] / "error-rates.md").read_text(encoding="utf-8")
    shares = [100 * one["coverage"] for one in kinds]
    assert f"{min(shares):.1f} to {max(shares):.1f} %" in page and f"of {len(kinds)} kinds" in page
    assert f"holds it in {100 * control['coverage']:.0f} %" in page


def test_drawing_utterances_does_not_hold_it() -> None:
    share = share_held(lambda seed: bootstrap_interval(drawn(20, 0.5, seed)[0], resamples=200), 60)
    assert share < 0.8


@given(st.integers(FEWEST_SPEAKERS, 70), st.integers(0, 9))
def test_the_number_of_speakers_decides_the_method(number: int, seed: int) -> None:
    counts, speakers = drawn_whole(number, 0.3, seed)
    found = rate_interval(counts, speakers, resamples=100)
    expected = "bootstrap by speaker" if number >= ENOUGH_SPEAKERS else f"over {number} speakers"
    assert expected in found.method and found.warning == ""
    assert 0 < found.low < total(counts).rate < found.high


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (lambda names: [], "speakers are unknown"),
        (lambda names: [""] * len(names), "speakers are unknown"),
        (lambda names: ["", *names[1:]], r"unknown for 1 of \d+ utterances"),
        (lambda names: [name if name < "s7" else "s6" for name in names], "7 speakers are too few"),
        (lambda names: ["anna"] * len(names), "1 speaker is too few"),
    ],
)
def test_with_few_or_unknown_speakers_utterances_are_drawn_and_a_warning_says_so(
    change: Callable[[list[str]], list[str]], warning: str
) -> None:
    counts, names = drawn(FEWEST_SPEAKERS, 0.3, 1)
    found, plain = rate_interval(counts, change(names)), bootstrap_interval(counts)
    assert re.search(warning, found.warning)
    assert (found.low, found.high, found.method) == (plain.low, plain.high, plain.method)


def test_without_errors_or_with_all_words_of_one_speaker_there_is_a_warning() -> None:
    names = [f"s{index}" for index in range(10)]
    clean = rate_interval([ErrorCounts(0, 0, 0, 9)] * 10, names)
    assert (clean.low, clean.high) == (0.0, 0.0) and "without any error" in clean.warning
    silent = [ErrorCounts(1, 0, 0, 9), *[ErrorCounts(0, 0, 1, 0)] * 9]
    assert "all words are of 1 speaker" in rate_interval(silent, names).warning


@pytest.mark.parametrize("number", [8, 40])
def test_neither_names_nor_order_nor_the_cut_into_utterances_matter(number: int) -> None:
    counts, names = drawn(number, 0.5, 3)
    found = rate_interval(counts, names)
    order = random.Random(0).sample(range(len(counts)), len(counts))
    renamed = {name: f"{index:03d}" for index, name in enumerate(dict.fromkeys(names))}
    mixed = rate_interval([counts[i] for i in order], [renamed[names[i]] for i in order])
    sums = [ErrorCounts(int(e), 0, 0, int(n)) for e, n in sum_by(names, error_table(counts))]
    joined = rate_interval(sums, [str(index) for index in range(len(sums))])
    for other in (mixed, joined):
        assert (other.low, other.high) == pytest.approx((found.low, found.high), rel=1e-12)


def test_more_confidence_is_wider_and_errors_everywhere_scale_the_ends() -> None:
    for number in (12, 60):
        counts, names = drawn(number, 0.3, 4)
        narrow, wide = (rate_interval(counts, names, confidence=c) for c in (0.8, 0.99))
        assert wide.low < narrow.low < narrow.high < wide.high
        tripled = [ErrorCounts(3 * one.errors, 0, 0, one.reference_length) for one in counts]
        found = rate_interval(tripled, names, confidence=0.8)
        assert (found.low, found.high) == pytest.approx((3 * narrow.low, 3 * narrow.high))


def test_the_deviation_is_that_of_leaving_out_each_speaker() -> None:
    counts, names = drawn(15, 0.5, 5)
    table = sum_by(names, error_table(counts))
    rate = table[:, 0].sum() / table[:, 1].sum()
    without = [np.delete(table, k, 0).sum(0) for k in range(15)]
    squares = sum((errors / words - rate) ** 2 for errors, words in without)
    assert spread(table).deviation == pytest.approx(math.sqrt(14 / 15 * squares) / rate)


def test_speakers_of_equal_length_count_in_full_and_others_for_less() -> None:
    equal = np.array([[1, 10], [2, 10], [3, 10], [4, 10]])
    assert spread(equal).effective == pytest.approx(4)
    unequal = np.array([[30, 300], [2, 10], [3, 10], [4, 10]])
    assert spread(unequal).effective == pytest.approx(330**2 / (300**2 + 3 * 10**2))


@pytest.mark.parametrize(
    ("freedom", "point"), [(1.0, 12.706), (2.0, 4.303), (7.0, 2.365), (39.0, 2.023), (1e5, 1.960)]
)
def test_points_of_the_t_distribution_are_those_of_the_tables(freedom: float, point: float) -> None:
    assert quantile(0.95, freedom) == pytest.approx(point, abs=6e-4)
    assert two_tailed(quantile(0.95, freedom), freedom) == pytest.approx(0.05, rel=1e-9)


@given(st.floats(0.5, MANY), st.floats(0, 30))
def test_the_t_distribution_is_its_integral(freedom: float, t: float) -> None:
    assert two_tailed(t, freedom) == two_tailed(-t, freedom)
    assert 0 <= two_tailed(t + 0.1, freedom) <= two_tailed(t, freedom) <= 1
    # One degree of freedom is Cauchy's distribution, two have a root, many are normal.
    assert two_tailed(t, 1.0) == pytest.approx(1 - 2 * math.atan(t) / math.pi, abs=1e-12)
    assert two_tailed(t, 2.0) == pytest.approx(1 - t / math.sqrt(2 + t * t), abs=1e-12)
    assert two_tailed(t, 2 * MANY) == pytest.approx(two_tailed(t, MANY), abs=1e-5)


def test_drawing_speakers_is_widened_by_as_much_as_it_says() -> None:
    counts, names = drawn_whole(50, 0.5, 6)
    rate, plain = total(counts).rate, bootstrap_interval(counts)
    found = rate_interval(counts, names)
    factor = float(found.method.split()[-2])
    assert factor > 1
    for end, narrow in ((found.low, plain.low), (found.high, plain.high)):
        assert math.log(end / rate) / math.log(narrow / rate) == pytest.approx(factor, abs=0.006)
    # As wide as the t interval, but for the skewness of what is drawn.
    middle = (math.log(found.high) - math.log(found.low)) / 2
    half = spread(error_table(counts)).half_width(0.95)
    assert middle == pytest.approx(half, rel=0.05)


def test_the_t_interval_is_as_wide_as_its_speakers_say() -> None:
    counts, names = drawn_whole(10, 0.5, 7)
    found, rate = rate_interval(counts, names), total(counts).rate
    half = spread(error_table(counts)).half_width(0.95)
    assert found.high / rate == pytest.approx(rate / found.low) == pytest.approx(math.exp(half))
    equal = np.array([[1, 10], [2, 10], [3, 10], [4, 10]])
    deviation = math.sqrt(3 / 4 * (2 * 1.5**2 + 2 * 0.5**2)) / 10 * 4 / 3
    assert spread(equal).deviation == pytest.approx(deviation)
    assert spread(equal).half_width(0.95) == pytest.approx(
        3.1824 * deviation * math.sqrt(4 / 3), 1e-4
    )
