"""Which cells of a ragged lattice are computed together: chunks of steps across the batch.

A cell is a step of an utterance with a position of its text. Cells beyond an utterance's lengths
have no row. Chunks depend on the lengths alone, so all sums have a fixed order.
"""

from typing import NamedTuple

ROWS = 354 * 128
"""Rows of a chunk at most: 58 MB of activations and 93 of gradients in BF16, 640 by 1024."""
SCORED_ROWS = 792 * 128
"""Rows at a time where there are no gradients: 130 MB of activations in BF16, 640 wide.

Eight tiles of logits a row make 24 whole waves of an H100 then, two programs a multiprocessor.
"""


class Chunk(NamedTuple):
    """Some steps of neighbouring utterances; rows are ordered by utterance, step and position."""

    utterances: range
    first_step: int
    span: int
    first: int
    """Its first row among those of the batch."""
    rows: int


class Sizes(NamedTuple):
    """What the host knows of a batch's utterances."""

    lengths: list[int]
    token_lengths: list[int]


def plan(lengths: list[int], widths: list[int], most: int) -> tuple[list[Chunk], list[list[int]]]:
    """Return chunks of up to `most` rows and each utterance's first row in them.

    `widths` are positions: one more than tokens. An utterance without rows in a chunk has -1.
    A single step may exceed `most` only where one utterance alone does.
    """
    chunks: list[Chunk] = []
    starts: list[list[int]] = []
    first = low = 0
    while low < len(lengths):
        high, together = low + 1, widths[low]
        while high < len(lengths) and together + widths[high] <= most:
            together += widths[high]
            high += 1
        step, rows = 0, range(low, high)
        while left := [row for row in rows if lengths[row] > step]:
            span = max(most // sum(widths[row] for row in left), 1)
            span = min(span, max(lengths[row] for row in left) - step)
            begin, places = first, [-1] * len(lengths)
            for row in left:
                places[row] = first
                first += min(lengths[row] - step, span) * widths[row]
            chunks.append(Chunk(rows, step, span, begin, first - begin))
            starts.append(places)
            step += span
        low = high
    return chunks, starts
