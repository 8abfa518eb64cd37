"""Decoded audio kept in memory, shared by all loader processes."""

import mmap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SLACK = 1.02
"""Room beyond the nominal length, since headers and resampling round."""


class AudioCache:
    """Samples of every utterance, filled as they are first decoded.

    The memory is anonymous and shared: processes forked from this one see what the others filled.
    Two that decode the same utterance write the same samples, so no lock is needed; the length is
    written after them.
    """

    def __init__(self, durations: Sequence[int] | NDArray[np.int64], sample_rate: int) -> None:
        """Make room for utterances of the given durations in milliseconds."""
        room = np.ceil(np.asarray(durations) * (sample_rate / 1000 * SLACK)).astype(np.int64) + 64
        self._ends = np.cumsum(room)
        self._starts = self._ends - room
        total = int(self._ends[-1]) if len(room) else 0
        self._samples = np.frombuffer(mmap.mmap(-1, max(2 * total, 2)), np.int16)[:total]
        self._lengths = np.frombuffer(mmap.mmap(-1, max(8 * len(room), 8)), np.int64)

    def get(self, index: int) -> NDArray[np.int16] | None:
        """Return the samples of an utterance, or None if it was not decoded yet."""
        if not (length := int(self._lengths[index])):
            return None
        start = int(self._starts[index])
        return self._samples[start : start + length]

    def put(self, index: int, samples: NDArray[np.int16]) -> None:
        """Keep the samples of an utterance, unless it is longer than its duration says."""
        start = int(self._starts[index])
        if len(samples) <= int(self._ends[index]) - start:
            self._samples[start : start + len(samples)] = samples
            self._lengths[index] = len(samples)
