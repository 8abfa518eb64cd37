"""Alignments by the rule `sclite`, for many utterances at once (Wagner and Fischer 1974).

The least weight comes first (4 for a substitution, 3 for a deletion or an insertion), then the
fewest errors. What is still equal is settled as NIST's sclite does on its way back from the end of
the texts: both texts go back if they can, then the hypothesis, then the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr_lab.utils.counting import WEIGHTS

BOTH, INSERT, DELETE = 0, 1, 2
CELLS = 1 << 18
"""Cells of tables that are filled at once: they should fit the caches of a processor."""


@dataclass(frozen=True)
class Marks:
    """What an alignment says about each word of a reference."""

    correct: NDArray[np.bool_]
    """True for each word that was recognised."""
    inserted: NDArray[np.int64]
    """Words inserted before each word, and at the end."""


def path(
    reference: Sequence[str], hypothesis: Sequence[str]
) -> list[tuple[int | None, int | None]]:
    """Return the columns of the alignment: a position in each text, or None."""
    ours, theirs = numbered([reference], [hypothesis])
    moves = table(ours, theirs)[:, 0].tolist()
    columns: list[tuple[int | None, int | None]] = []
    row, column = len(reference), len(hypothesis)
    while row or column:
        move = moves[row][column]
        row -= move != INSERT
        column -= move != DELETE
        columns.append((None if move == INSERT else row, None if move == DELETE else column))
    return columns[::-1]


def marks(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[Marks]:
    """Align pairs of texts, and mark the words of each reference."""
    sizes = [
        (len(one) + 1) * (len(other) + 1) for one, other in zip(references, hypotheses, strict=True)
    ]
    found: list[Marks] = [Marks(np.zeros(0, bool), np.zeros(1, np.int64))] * len(sizes)
    waiting = sorted(range(len(sizes)), key=lambda index: (len(references[index]), sizes[index]))
    while waiting:
        some = waiting[-max(1, CELLS // max(sizes[waiting[-1]], 1)) :]
        del waiting[-len(some) :]
        ours, theirs = [references[index] for index in some], [hypotheses[index] for index in some]
        for index, one in zip(some, _marks(ours, theirs), strict=True):
            found[index] = one
    return found


def _marks(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[Marks]:
    """Fill one table for all pairs, and walk back through it."""
    ours, theirs = numbered(references, hypotheses)
    moves = table(ours, theirs)
    rows = np.array([len(one) for one in references])
    columns = np.array([len(one) for one in hypotheses])
    correct = np.zeros(ours.shape, bool)
    inserted = np.zeros((ours.shape[0], ours.shape[1] + 1), np.int64)
    while len(pairs := np.flatnonzero(rows + columns)):
        move = moves[rows[pairs], pairs, columns[pairs]]
        rows[pairs] -= move != INSERT
        columns[pairs] -= move != DELETE
        both = pairs[move == BOTH]
        correct[both, rows[both]] = ours[both, rows[both]] == theirs[both, columns[both]]
        extra = pairs[move == INSERT]
        inserted[extra, rows[extra]] += 1
    return [
        Marks(correct[index, : len(one)], inserted[index, : len(one) + 1])
        for index, one in enumerate(references)
    ]


def numbered(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return texts as rows of numbers, one for each word, padded with zeros."""
    numbers: dict[str, int] = {}
    found = []
    for texts in (references, hypotheses):
        rows = np.zeros((len(texts), max(map(len, texts))), np.int32)
        for row, text in zip(rows, texts, strict=True):
            row[: len(text)] = [numbers.setdefault(word, len(numbers) + 1) for word in text]
        found.append(rows)
    return found[0], found[1]


def table(references: NDArray[np.int32], hypotheses: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the last move to each cell: reference position, pair, hypothesis position.

    Both texts are [pairs, words]. What stands right of or below a cell does not change it, so
    padding needs no care.
    """
    (pairs, height), width = references.shape, hypotheses.shape[1]
    room = height + width + 1
    substitute, delete, insert = (
        WEIGHTS[kind] * room + 1 for kind in ("substitution", "deletion", "insertion")
    )
    moves = np.empty((height + 1, pairs, width + 1), np.uint8)
    moves[0], moves[:, :, 0], moves[0, :, 0] = INSERT, DELETE, BOTH
    small = np.int32 if 4 * room * room < 2**31 else np.int64
    slope = np.arange(width + 1, dtype=small) * small(insert)
    above = np.broadcast_to(slope, (pairs, width + 1))
    for row in range(height):
        differ = references[:, row, None] != hypotheses
        both = above[:, :-1] + differ * small(substitute)
        here = above + delete
        down = here[:, 1:]
        np.minimum(down, both, out=down)
        here = np.minimum.accumulate(here - slope, axis=1) + slope
        across = here[:, :-1] + insert == here[:, 1:]
        moves[row + 1, :, 1:] = np.where(
            both == here[:, 1:], BOTH, np.where(across, INSERT, DELETE)
        )
        above = here
    return moves
