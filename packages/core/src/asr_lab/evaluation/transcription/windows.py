"""Cut long audio into overlapping windows of equal length."""

from dataclasses import dataclass

OVERLAP_SECONDS = 5.0
"""How far neighbouring windows overlap: enough for the words that an end cuts, on either side."""
OVERLAP_SHARE = 3
"""Short windows overlap by at most one part in so many."""


@dataclass(frozen=True)
class Window:
    """A stretch of a recording, in samples."""

    start: int
    length: int

    @property
    def end(self) -> int:
        """The sample behind the last."""
        return self.start + self.length


def overlap_seconds(chunk_seconds: float) -> float:
    """Return how far windows of that length overlap, in seconds."""
    return min(OVERLAP_SECONDS, chunk_seconds / OVERLAP_SHARE)


def cut(samples: int, longest: int, overlap: int, grid: int) -> list[Window]:
    """Return windows that cover audio of so many samples, none of them longer than `longest`.

    Audio that fits is one window. Else all have the same length, but for the last, which may be
    shorter and is longer than the `overlap` of neighbours. Windows start at multiples of `grid`:
    a grid of one encoder step keeps the steps of neighbours in line.
    """
    if samples <= longest:
        return [Window(0, samples)]
    most = max((longest - overlap) // grid, 1) * grid
    count = -(-(samples - overlap) // most)
    stride = -(-(samples - overlap) // (count * grid)) * grid
    starts = range(0, samples - overlap, stride)
    return [Window(start, min(stride + overlap, samples - start)) for start in starts]
