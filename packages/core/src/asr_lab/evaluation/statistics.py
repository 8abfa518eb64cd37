"""How far an error rate would move with other utterances, or other speakers, of the same kind.

The errors of one speaker are alike, so where speakers are known they are what is drawn. How many
there are decides how: see `rate_interval`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from asr_lab.evaluation.resampling import error_table, percentiles, rates, resampled, sum_by
from asr_lab.evaluation.student import MANY, quantile
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import ErrorCounts

ENOUGH_SPEAKERS = 40
"""Speakers from which on they are drawn with replacement."""
FEWEST_SPEAKERS = 8
"""Speakers below which nothing is said about other speakers."""
RESAMPLES = 2000
NONE = "an interval needs at least 1 utterance; got 0"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval of an error rate, and how it was found."""

    low: float
    high: float
    confidence: float
    method: str
    warning: str = ""
    """What the interval leaves out, in a sentence; empty if nothing."""


def rate_interval(
    counts: Sequence[ErrorCounts],
    speakers: Sequence[str] = (),
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the interval of a corpus error rate that holds for the speakers there are.

    `speakers` has a label for each utterance, empty if unknown. From 40 speakers on, whole speakers
    are drawn with replacement; for 8 to 39, it is a t interval over speakers; for fewer, or where
    any is unknown, utterances are drawn, and a warning says what that means. `docs/results/
    intervals.json` has how often each holds the true rate. Raises UserError for no utterances.
    """
    if not counts:
        raise UserError(NONE)
    if speakers and len(speakers) != len(counts):
        raise ValueError(f"every utterance needs a speaker; got {len(speakers)} for {len(counts)}")
    warning = _warning(counts, speakers)
    if warning:
        by_utterance = bootstrap_interval(
            counts, resamples=resamples, confidence=confidence, seed=seed
        )
        return replace(by_utterance, warning=warning)
    table = sum_by(speakers, error_table(counts))
    if len(table) < ENOUGH_SPEAKERS:
        return _over_speakers(table, confidence)
    return _drawn_speakers(table, resamples, confidence, seed)


def bootstrap_interval(
    counts: Sequence[ErrorCounts],
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a corpus error rate (Bisani and Ney, 2004).

    As many utterances as there are, drawn with replacement, make one resample. The order of the
    utterances does not matter. Raises UserError for none.
    """
    if not counts:
        raise UserError(NONE)
    sums = resampled(error_table(counts), resamples, seed)
    low, high = percentiles(rates(sums[:, 0], sums[:, 1]), confidence)
    method = f"bootstrap by utterance, {resamples} resamples"
    return Interval(low=low, high=high, confidence=confidence, method=method)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much the logarithm of an error rate varies with the speakers that were chosen."""

    deviation: float
    """Standard deviation, by the jackknife."""
    effective: float
    """Number of speakers of equal length that would weigh as much as these of unequal length."""

    def half_width(self, confidence: float) -> float:
        """Return half of the width of an interval of the logarithm."""
        freedom = max(self.effective - 1, 1.0)
        correction = np.sqrt(1 + 1 / freedom)
        return float(quantile(confidence, freedom) * self.deviation * correction)


def spread(table: Int[np.ndarray, "speakers 2"]) -> Spread:
    """Return the spread of the error rate of speakers (errors, reference length).

    Leaving out speaker k changes the rate by d / (N - n), where d is the errors of the speaker
    beyond those that the common rate predicts, n its words, and N all words.
    """
    errors, lengths = table[:, 0], table[:, 1]
    share, number = lengths / lengths.sum(), len(table)
    residuals = errors - errors.sum() * share
    squares = ((residuals / (1 - share)) ** 2).sum()
    deviation = np.sqrt((number - 1) / number * squares) / errors.sum()
    return Spread(deviation=float(deviation), effective=float(1 / (share**2).sum()))


def _over_speakers(table: Int[np.ndarray, "speakers 2"], confidence: float) -> Interval:
    """Return the t interval of the logarithm of the rate."""
    rate = float(table[:, 0].sum() / table[:, 1].sum())
    factor = float(np.exp(spread(table).half_width(confidence)))
    method = f"t interval over {len(table)} speakers"
    return Interval(low=rate / factor, high=rate * factor, confidence=confidence, method=method)


def _drawn_speakers(
    table: Int[np.ndarray, "speakers 2"], resamples: int, confidence: float, seed: int
) -> Interval:
    """Return the percentile interval of the logarithm of the rate, made as wide as it must be.

    Percentiles are too near each other, because resamples vary less than sets of other speakers
    do, all the more if few speakers have most of the words.
    """
    errors, lengths = table[:, 0], table[:, 1]
    rate = float(errors.sum() / lengths.sum())
    sums = resampled(table, resamples, seed)
    low, high = percentiles(rates(sums[:, 0], sums[:, 1]), confidence)
    residuals = errors - rate * lengths
    drawn = quantile(confidence, 2 * MANY) * float(np.sqrt((residuals**2).sum()) / errors.sum())
    widening = spread(table).half_width(confidence) / drawn if drawn else 1.0
    return Interval(
        low=rate * (low / rate) ** widening,
        high=rate * (high / rate) ** widening,
        confidence=confidence,
        method=f"bootstrap by speaker, {resamples} resamples, widened {widening:.2f} times",
    )


def _warning(counts: Sequence[ErrorCounts], speakers: Sequence[str]) -> str:
    """Return why speakers cannot be drawn; empty if they can."""
    unknown, known = sum(not one for one in speakers), len(set(speakers))
    if not any(one.errors for one in counts):
        return "without any error, an interval cannot tell how many there could be"
    if not any(speakers):
        return "speakers are unknown: if they are few, the interval is too narrow"
    if unknown:
        return (
            f"the speaker is unknown for {unknown:,} of {len(speakers):,} utterances:"
            " if speakers are few, the interval is too narrow"
        )
    if known < FEWEST_SPEAKERS:
        those = "1 speaker is" if known == 1 else f"{known} speakers are"
        return f"{those} too few to tell about others: the interval is about other words of theirs"
    lengths = sum_by(speakers, error_table(counts))[:, 1]
    if (lengths == lengths.sum()).any():
        return "all words are of 1 speaker: the interval is about other words of that speaker"
    return ""
