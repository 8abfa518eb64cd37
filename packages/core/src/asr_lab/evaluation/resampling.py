"""Draw rows of a table with replacement, and add them up: what every bootstrap does."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from asr_lab.utils.metrics import ErrorCounts

DRAWN_AT_ONCE = 1 << 22
"""Numbers drawn at once, which bounds the memory to some 100 MB."""


def error_table(counts: Sequence[ErrorCounts]) -> Int[np.ndarray, "rows 2"]:
    """Return errors and reference length of each utterance."""
    rows = [(one.errors, one.reference_length) for one in counts]
    return np.array(rows, dtype=np.int64).reshape(-1, 2)


def sum_by(
    labels: Sequence[str], table: Int[np.ndarray, "rows columns"]
) -> Int[np.ndarray, "sums columns"]:
    """Add up the rows of each label, in the order of the labels' names."""
    names, index = np.unique(np.array(labels), return_inverse=True)
    sums = np.zeros((len(names), table.shape[1]), dtype=np.int64)
    np.add.at(sums, index, table)
    return sums


def resampled(
    table: Int[np.ndarray, "rows columns"], resamples: int, seed: int
) -> Int[np.ndarray, "resamples columns"]:
    """Return the sums of as many rows as there are, drawn with replacement, for each resample.

    The order of the rows does not matter.
    """
    table = table[np.lexsort(table.T)]
    rows, sums = len(table), []
    bits = np.random.Philox(key=seed)
    for start in range(0, resamples, chunk := max(1, DRAWN_AT_ONCE // rows)):
        drawn = _positions(bits, rows, min(chunk, resamples - start))
        sums.append(np.stack([column[drawn].sum(1) for column in table.T], 1))
    return np.concatenate(sums)


def rates(
    errors: Int[np.ndarray, " resamples"], lengths: Int[np.ndarray, " resamples"]
) -> Float[np.ndarray, " resamples"]:
    """Divide as `ErrorCounts.rate` does: no reference makes 0 without errors, else infinity."""
    empty = np.where(errors > 0, np.inf, 0.0)
    divided: NDArray[np.float64] = np.where(lengths > 0, errors / np.maximum(lengths, 1), empty)
    return divided


def percentiles(values: Float[np.ndarray, " resamples"], confidence: float) -> tuple[float, float]:
    """Return the smallest and the largest of the middle share of some values."""
    ordered, tail = np.sort(values), (1 - confidence) / 2
    first = int(np.floor(tail * len(ordered)))
    last = int(np.ceil((1 - tail) * len(ordered))) - 1
    return float(ordered[first]), float(ordered[last])


def _positions(bits: np.random.Philox, rows: int, times: int) -> NDArray[np.uint64]:
    """Draw `times` rows of positions from raw bits, the same in every release of numpy."""
    raw = bits.random_raw(times * rows).reshape(times, rows) >> np.uint64(32)
    positions: NDArray[np.uint64] = (raw * np.uint64(rows)) >> np.uint64(32)
    return positions
