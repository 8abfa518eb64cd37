"""What an interval of an error rate must do whatever the errors are, and how often it is right."""

import math
import random
from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from asr_lab.evaluation.statistics import Interval, bootstrap_interval
from asr_lab.utils.metrics import ErrorCounts, total

RESAMPLES = 200
"""Enough for rules that hold for any number of them."""
ROUNDING = 1e-12
PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), min_size=1, max_size=40)
"""Errors and length of the reference, for each utterance."""
Pairs = list[tuple[int, int]]


def counts(pairs: Pairs) -> list[ErrorCounts]:
    return [ErrorCounts(errors, 0, 0, length) for errors, length in pairs]


def interval(pairs: Pairs, **more: float) -> Interval:
    return bootstrap_interval(counts(pairs), resamples=RESAMPLES, **more)  # type: ignore[arg-type]


@given(PAIRS)
def test_the_ends_are_in_order_and_no_resample_is_better_than_the_best_utterance(
    pairs: Pairs,
) -> None:
    found, rates = interval(pairs), [one.rate for one in counts(pairs)]
    assert 0 <= found.low <= found.high
    assert found.low >= min(rates) - ROUNDING
    if all(length for _, length in pairs):
        assert found.high <= max(rates) + ROUNDING


@given(pair=st.tuples(st.integers(0, 30), st.integers(0, 20)), times=st.integers(1, 30))
def test_utterances_that_are_all_alike_leave_no_doubt(pair: tuple[int, int], times: int) -> None:
    found, rate = interval([pair] * times), counts([pair])[0].rate
    assert found.low == found.high == pytest.approx(rate, rel=ROUNDING)


@given(PAIRS, st.randoms(use_true_random=False))
def test_the_order_of_utterances_does_not_matter(pairs: Pairs, draw: random.Random) -> None:
    assert interval(draw.sample(pairs, len(pairs))) == interval(pairs)


@given(PAIRS, st.integers(0, 10**6))
def test_a_seed_gives_one_interval(pairs: Pairs, seed: int) -> None:
    assert interval(pairs, seed=seed) == interval(pairs, seed=seed)


@given(PAIRS, st.integers(1, 9))
def test_as_many_more_errors_in_every_utterance_scale_the_interval(
    pairs: Pairs, factor: int
) -> None:
    assume(all(length for _, length in pairs))
    once = interval(pairs)
    more = interval([(factor * errors, length) for errors, length in pairs])
    assert more.low == pytest.approx(factor * once.low, rel=ROUNDING)
    assert more.high == pytest.approx(factor * once.high, rel=ROUNDING)


@given(PAIRS, st.integers(1, 9))
def test_the_same_number_of_errors_more_moves_the_interval_upwards(
    pairs: Pairs, errors: int
) -> None:
    once, more = interval(pairs), interval([(one + errors, length) for one, length in pairs])
    assert more.low >= once.low and more.high >= once.high
    assert more.high > once.high or math.isinf(once.high)


@given(PAIRS, st.sampled_from([(0.5, 0.8), (0.8, 0.95), (0.95, 0.99)]))
def test_more_confidence_never_makes_it_narrower(
    pairs: Pairs, confidences: tuple[float, float]
) -> None:
    less, more = (interval(pairs, confidence=one) for one in confidences)
    assert more.low <= less.low and less.high <= more.high
    assert (less.confidence, more.confidence) == confidences


def exact_quantiles(pairs: Pairs, tail: float) -> tuple[float, float]:
    """Return the quantiles over every resample there is: n utterances have n to the n."""
    rates = sorted(total(drawn).rate for drawn in product(counts(pairs), repeat=len(pairs)))
    return rates[math.floor(tail * len(rates))], rates[math.ceil((1 - tail) * len(rates)) - 1]


@pytest.mark.parametrize("pairs", [[(0, 4), (3, 5)], [(0, 7), (1, 2), (5, 6)],
                                   [(1, 9), (0, 3), (4, 4), (2, 8)]])  # fmt: skip
def test_the_interval_is_that_of_every_possible_resample(pairs: Pairs) -> None:
    # Beside the quantiles of a discrete law others are likely: 10 000 draws know 2.5 % to 0.5 %.
    found = bootstrap_interval(counts(pairs), resamples=10_000)
    inner, outer = exact_quantiles(pairs, 0.03), exact_quantiles(pairs, 0.02)
    assert outer[0] - ROUNDING <= found.low <= inner[0] + ROUNDING
    assert inner[1] - ROUNDING <= found.high <= outer[1] + ROUNDING


def binomial(trials: int, rate: float) -> list[float]:
    """Return the probability of every number of errors."""
    return [math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(trials + 1)]


@pytest.mark.parametrize(("words", "rate"), [(50, 0.3), (80, 0.1)])
def test_the_share_of_intervals_that_hold_the_truth_is_about_what_they_claim(
    words: int, rate: float
) -> None:
    # One-word utterances make the number of errors binomial: the coverage is a sum, not a sample.
    covered = 0.0
    for wrong, probability in enumerate(binomial(words, rate)):
        if probability < 1e-6:
            continue
        found = bootstrap_interval(counts([(1, 1)] * wrong + [(0, 1)] * (words - wrong)))
        covered += probability * (found.low <= rate <= found.high)
    # The percentile bootstrap of so few errors falls short by some percent, as Wald's does.
    assert 0.90 <= covered <= 0.98


@pytest.mark.parametrize(("words", "wrong"), [(50, 15), (80, 8), (200, 100)])
def test_with_one_word_in_each_utterance_the_ends_are_quantiles_of_a_binomial(
    words: int, wrong: int
) -> None:
    found = bootstrap_interval(counts([(1, 1)] * wrong + [(0, 1)] * (words - wrong)))
    law = binomial(words, wrong / words)
    below = sum(law[: round(found.low * words) + 1])
    above = sum(law[round(found.high * words) :])
    # 2000 resamples know 2.5 % to 0.35 %; four of these, and the probability of the end itself.
    slack = 4 * 0.0035 + max(law[round(found.low * words)], law[round(found.high * words)])
    assert 0.025 - 4 * 0.0035 <= below <= 0.025 + slack
    assert 0.025 - 4 * 0.0035 <= above <= 0.025 + slack


def test_four_times_as_many_utterances_halve_the_width() -> None:
    draw = random.Random(1)
    pairs = [(draw.randint(0, 5), draw.randint(5, 15)) for _ in range(400)]
    few, many = (bootstrap_interval(counts(pairs * times)) for times in (1, 4))
    # Each end of 2000 resamples is known to some 3 % of the width.
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(2, rel=0.12)
