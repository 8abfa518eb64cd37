"""The bootstrap over utterances: against a slow loop, the formula, and on awkward corpora."""

import math
import random

import numpy as np
import pytest

from asr_lab.evaluation.statistics import bootstrap_interval, rate_interval
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import ErrorCounts, total


def corpus(seed: int, size: int) -> list[ErrorCounts]:
    """Return counts of utterances of 1 to 20 words."""
    draw = random.Random(seed)
    lengths = [draw.randint(1, 20) for _ in range(size)]
    return [ErrorCounts(draw.randint(0, 1 + n // 4), 0, 0, n) for n in lengths]


def slow_interval(blocks: list[ErrorCounts], resamples: int, seed: int) -> tuple[float, float]:
    """Draw one utterance after the other and sort the rates, in plain Python."""
    blocks = sorted(blocks, key=lambda one: (one.reference_length, one.errors))
    bits = np.random.Philox(key=seed)
    rates = []
    for _ in range(resamples):
        drawn = [(int(bits.random_raw()) >> 32) * len(blocks) >> 32 for _ in blocks]
        rates.append(total(blocks[position] for position in drawn).rate)
    rates.sort()
    cut = round(resamples * 0.025)
    return rates[cut], rates[-1 - cut]


@pytest.mark.parametrize(("seed", "size"), [(0, 1), (1, 2), (2, 17), (3, 40)])
def test_the_interval_is_that_of_a_plain_loop(seed: int, size: int) -> None:
    counts = corpus(seed, size)
    found = bootstrap_interval(counts, resamples=200, seed=seed)
    assert (found.low, found.high) == pytest.approx(slow_interval(counts, 200, seed), rel=1e-12)


def test_large_corpora_are_drawn_in_parts_with_the_same_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = corpus(4, 50)
    whole = bootstrap_interval(counts)
    monkeypatch.setattr("asr_lab.evaluation.resampling.DRAWN_AT_ONCE", 333)
    assert bootstrap_interval(counts) == whole


def test_the_width_is_that_of_the_normal_approximation_for_many_utterances() -> None:
    counts = corpus(5, 2000)
    rate, words = total(counts).rate, total(counts).reference_length
    residuals = [one.errors - rate * one.reference_length for one in counts]
    deviation = math.sqrt(sum(residual**2 for residual in residuals)) / words
    found = bootstrap_interval(counts)
    assert found.low < rate < found.high
    assert (found.high - found.low) / (2 * 1.96 * deviation) == pytest.approx(1, abs=0.1)


def test_about_95_of_100_intervals_hold_the_true_rate() -> None:
    population = corpus(6, 5000)
    truth, draw = total(population).rate, random.Random(6)
    held = 0
    for _ in range(200):
        found = bootstrap_interval(draw.choices(population, k=100), resamples=400)
        held += found.low <= truth <= found.high
    assert (
        176 <= held <= 199
    )  # 95 % of 200 is 190, four standard deviations are 12; few rows cost 2


def test_the_order_of_utterances_does_not_matter_and_the_seed_does() -> None:
    counts = corpus(7, 60)
    shuffled = random.Random(0).sample(counts, len(counts))
    assert bootstrap_interval(shuffled) == bootstrap_interval(counts)
    assert bootstrap_interval(counts, seed=1) != bootstrap_interval(counts)


def test_a_corpus_without_errors_has_an_interval_of_nothing() -> None:
    found = bootstrap_interval([ErrorCounts(0, 0, 0, 5)] * 10)
    assert (found.low, found.high, found.confidence) == (0.0, 0.0, 0.95)


def test_resamples_without_a_reference_follow_the_rule_of_the_rate() -> None:
    silent, wrong = ErrorCounts(0, 0, 0, 0), ErrorCounts(0, 0, 2, 0)
    assert bootstrap_interval([silent]).high == 0.0
    found = bootstrap_interval([silent, silent, wrong])
    assert (found.low, found.high) == (0.0, math.inf)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    counts = corpus(9, 100)
    narrow, wide = (bootstrap_interval(counts, confidence=c) for c in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_no_utterances_and_wrong_numbers_of_speakers_are_refused() -> None:
    for interval in (bootstrap_interval, rate_interval):
        with pytest.raises(UserError, match="at least 1 utterance; got 0"):
            interval([])
    with pytest.raises(ValueError, match="every utterance needs a speaker; got 1 for 3"):
        rate_interval(corpus(0, 3), ["s"])
