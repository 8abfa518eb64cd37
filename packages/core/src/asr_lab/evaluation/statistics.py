"""How far an error rate would move with other utterances of the same kind: the bootstrap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import ErrorCounts

ENOUGH_SPEAKERS = 40
"""Speakers from which on they are what is drawn; with fewer, the interval would be too narrow."""
DRAWN_AT_ONCE = 1 << 22
"""Numbers drawn at once, which bounds the memory to some 100 MB."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval of an error rate, and how it was found."""

    low: float
    high: float
    confidence: float
    method: str


def bootstrap_interval(
    counts: Sequence[ErrorCounts],
    speakers: Sequence[str] = (),
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a corpus error rate (Bisani and Ney, 2004).

    As many utterances as there are, drawn with replacement, make one resample. Where all speakers
    are known, and 40 or more, whole speakers are drawn, because the errors of one are alike. The
    order of the utterances does not matter. Raises UserError for none.
    """
    if not counts:
        raise UserError("an interval needs at least 1 utterance; got 0")
    if speakers and len(speakers) != len(counts):
        raise ValueError(f"every utterance needs a speaker; got {len(speakers)} for {len(counts)}")
    table = np.array([(one.errors, one.reference_length) for one in counts], dtype=np.int64)
    by_speaker = len(set(speakers)) >= ENOUGH_SPEAKERS and all(speakers)
    if by_speaker:
        table = _sum_by(speakers, table)
    table = table[np.lexsort(table.T)]
    rates = np.sort(_resampled_rates(table, resamples, seed))
    tail = (1 - confidence) / 2
    first, last = math.floor(tail * resamples), math.ceil((1 - tail) * resamples) - 1
    return Interval(
        low=float(rates[first]),
        high=float(rates[last]),
        confidence=confidence,
        method=f"bootstrap by {'speaker' if by_speaker else 'utterance'}, {resamples} resamples",
    )


def _sum_by(labels: Sequence[str], table: Int[np.ndarray, "rows 2"]) -> Int[np.ndarray, "sums 2"]:
    """Add up the rows of each label."""
    names, index = np.unique(np.array(labels), return_inverse=True)
    sums = np.zeros((len(names), 2), dtype=np.int64)
    np.add.at(sums, index, table)
    return sums


def _resampled_rates(
    table: Int[np.ndarray, "rows 2"], resamples: int, seed: int
) -> Float[np.ndarray, " resamples"]:
    """Return the error rate of each resample of the rows (errors, reference length)."""
    rows, rates = len(table), []
    bits = np.random.Philox(key=seed)
    for start in range(0, resamples, chunk := max(1, DRAWN_AT_ONCE // rows)):
        drawn = _positions(bits, rows, min(chunk, resamples - start))
        rates.append(_rates(table[:, 0][drawn].sum(1), table[:, 1][drawn].sum(1)))
    return np.concatenate(rates)


def _positions(bits: np.random.Philox, rows: int, times: int) -> NDArray[np.uint64]:
    """Draw `times` rows of positions from raw bits, the same in every release of numpy."""
    raw = bits.random_raw(times * rows).reshape(times, rows) >> np.uint64(32)
    positions: NDArray[np.uint64] = (raw * np.uint64(rows)) >> np.uint64(32)
    return positions


def _rates(errors: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide as `ErrorCounts.rate` does: no reference makes 0 without errors, else infinity."""
    empty = np.where(errors > 0, np.inf, 0.0)
    divided: NDArray[np.float64] = np.where(lengths > 0, errors / np.maximum(lengths, 1), empty)
    return divided
