"""Whether two systems differ on the same utterances, and which differences a test set can show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from asr_lab.evaluation.resampling import error_table, percentiles, rates, resampled, sum_by
from asr_lab.evaluation.statistics import ENOUGH_SPEAKERS, FEWEST_SPEAKERS, RESAMPLES
from asr_lab.evaluation.student import MANY, quantile, two_tailed
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import ErrorCounts

POWER = 0.8
"""Probability of finding a difference that a test set is said to be able to show."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """The difference between the error rates of two systems, first minus second."""

    difference: float
    low: float
    high: float
    confidence: float
    p: float
    """Probability of a difference as far from zero if the systems are equally good (two-tailed)."""
    detectable: float
    """Smallest difference that a test set like this shows in 4 of 5 cases."""
    method: str


def paired_difference(
    first: Sequence[ErrorCounts],
    second: Sequence[ErrorCounts],
    speakers: Sequence[str] = (),
    *,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Compare two systems on the same utterances, in the same order (Bisani and Ney, 2004).

    Both systems are drawn together, so what is hard for both does not blur the difference.
    Speakers are drawn as for the interval of a rate: by bootstrap from 40 on, with 8 to 39 it is a
    t test over speakers, and with fewer or unknown ones utterances are drawn.
    Raises UserError for no utterances.
    """
    if len(first) != len(second):
        raise ValueError(f"both systems need the same utterances; got {len(first)}, {len(second)}")
    if speakers and len(speakers) != len(first):
        raise ValueError(f"every utterance needs a speaker; got {len(speakers)} for {len(first)}")
    if not first:
        raise UserError("a comparison needs at least 1 utterance; got 0")
    table = np.concatenate([error_table(first), error_table(second)], 1)
    if not table[:, (1, 3)].sum(0).all():
        raise UserError("a comparison needs references with words; all are empty")
    known = len(set(speakers)) if all(speakers) else 0
    if known >= FEWEST_SPEAKERS:
        table = sum_by(speakers, table)
    if FEWEST_SPEAKERS <= known < ENOUGH_SPEAKERS:
        return _over_speakers(table, confidence)
    unit = "speaker" if known >= ENOUGH_SPEAKERS else "utterance"
    difference, drawn = _difference(table), _differences(resampled(table, resamples, seed))
    if unit == "speaker":
        drawn = difference + _widening(table) * (drawn - difference)
    low, high = percentiles(drawn, confidence)
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return PairedDifference(
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        p=min(1.0, 2 * (beyond + 1) / (resamples + 1)),
        detectable=detectable_difference(_deviation(table), confidence),
        method=f"paired bootstrap by {unit}, {resamples} resamples",
    )


def detectable_difference(deviation: float, confidence: float = 0.95) -> float:
    """Return the difference that is found significant in 4 of 5 cases.

    `deviation` is the standard deviation of the difference between the two error rates.
    """
    normal = NormalDist()
    return (normal.inv_cdf((1 + confidence) / 2) + normal.inv_cdf(POWER)) * deviation


def tells_apart(counts: Sequence[ErrorCounts], confidence: float = 0.95) -> float:
    """Return how far apart two systems as good as this must be to be told apart in 4 of 5 cases.

    It is assumed that errors of the two are unrelated. Systems that fail on the same utterances, as
    most do, are told apart sooner; `paired_difference` measures that. Infinity if the utterances
    do not tell, because there are no errors or fewer than two utterances.
    """
    table = error_table(counts)
    if not table[:, 0].any():
        return math.inf
    return detectable_difference(
        _deviation(np.concatenate([table, 0 * table + (0, 1)], 1)) * 2**0.5
    )


def holm(probabilities: Sequence[float]) -> list[float]:
    """Return probabilities corrected for their number (Holm, 1979), in their order.

    Those below 0.05 are significant together: the chance of any false one is below 0.05.
    """
    number, highest = len(probabilities), 0.0
    corrected = [0.0] * number
    for rank, index in enumerate(sorted(range(number), key=lambda one: probabilities[one])):
        highest = max(highest, min(1.0, (number - rank) * probabilities[index]))
        corrected[index] = highest
    return corrected


def _over_speakers(table: Int[np.ndarray, "speakers 4"], confidence: float) -> PairedDifference:
    """Test and enclose the difference by the t distribution, as the interval of a rate is."""
    difference, freedom = _difference(table), _freedom(table)
    deviation = _deviation(table) * math.sqrt(1 + 1 / freedom)
    half = quantile(confidence, freedom) * deviation
    certain = math.inf if difference else 0.0
    t = difference / deviation if deviation else certain
    return PairedDifference(
        difference=difference,
        low=difference - half,
        high=difference + half,
        confidence=confidence,
        p=two_tailed(t, freedom),
        detectable=detectable_difference(deviation, confidence),
        method=f"paired t test over {len(table)} speakers",
    )


def _freedom(table: Int[np.ndarray, "speakers 4"]) -> float:
    """Return the degrees of freedom: speakers of unequal length count for less."""
    share = table[:, 1] / table[:, 1].sum()
    return max(float(1 / (share**2).sum()) - 1, 1.0)


def _widening(table: Int[np.ndarray, "speakers 4"]) -> float:
    """Return how many times less resamples vary than other speakers would, as for a rate."""
    errors, lengths = table[:, (0, 2)], table[:, (1, 3)]
    residuals = (errors - errors.sum(0) / lengths.sum(0) * lengths) / lengths.sum(0)
    drawn = float(np.sqrt(((residuals[:, 0] - residuals[:, 1]) ** 2).sum()))
    freedom, others = _freedom(table), _deviation(table)
    if not drawn or not math.isfinite(others):
        return 1.0
    points = quantile(0.95, freedom) / quantile(0.95, 2 * MANY)
    return points * others * math.sqrt(1 + 1 / freedom) / drawn


def _difference(table: Int[np.ndarray, "rows 4"]) -> float:
    """Return the difference of the error rates."""
    return float(_differences(table.sum(0)[None])[0])


def _differences(sums: Int[np.ndarray, "resamples 4"]) -> Float[np.ndarray, " resamples"]:
    """Return the difference of the error rates of each row; without any reference, 0."""
    first, second = rates(sums[:, 0], sums[:, 1]), rates(sums[:, 2], sums[:, 3])
    both = np.isfinite(first) & np.isfinite(second)
    found: Float[np.ndarray, " resamples"] = np.where(both, first, 0) - np.where(both, second, 0)
    return found


def _deviation(table: Int[np.ndarray, "rows 4"]) -> float:
    """Return the standard deviation of the difference, by leaving out one row after the other.

    Infinity if that leaves no words.
    """
    left = table.sum(0) - table
    if len(table) < 2 or not left[:, (1, 3)].all():
        return math.inf
    without = left[:, 0] / left[:, 1] - left[:, 2] / left[:, 3]
    number = len(table)
    squares = ((without - _difference(table)) ** 2).sum()
    return float(np.sqrt((number - 1) / number * squares))
