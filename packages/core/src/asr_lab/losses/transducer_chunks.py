"""Which cells of a ragged lattice are computed together: chunks of steps across the batch.

A cell is a step of an utterance with a position of its text. Cells beyond an utterance's lengths
have no row. Chunks depend on the lengths alone, so all sums have a fixed order.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

ROWS = 32768
"""Rows of a chunk at most: 40 MiB of activations and 64 of gradients in BF16, 640 by 1024."""


class Chunk(NamedTuple):
    """Some steps of neighbouring utterances; rows are ordered by utterance, step and position."""

    utterances: range
    first_step: int
    span: int
    first: int
    """Its first row among those of the batch."""
    rows: int


class Layout(NamedTuple):
    """All chunks, and the cell of every row."""

    chunks: tuple[Chunk, ...]
    starts: Int[Tensor, "chunks batch"]
    """Row of each utterance's first cell in a chunk."""
    cells: Int[Tensor, " rows"]
    """Index of each row's cell, were the lattice of the batch a tensor."""
    labels: Int[Tensor, " rows"]
    """Token that leads on from each row's cell; -1 at the last position."""
    widths: Int[Tensor, " batch"]
    """Positions of each utterance."""


def plan(lengths: list[int], widths: list[int], most: int) -> tuple[list[Chunk], list[list[int]]]:
    """Return chunks of up to `most` rows and each utterance's first row in them.

    `widths` are positions: one more than tokens. A single step may exceed `most` only where one
    utterance alone does.
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
            begin, places = first, [0] * len(lengths)
            for row in left:
                places[row] = first
                first += min(lengths[row] - step, span) * widths[row]
            chunks.append(Chunk(rows, step, span, begin, first - begin))
            starts.append(places)
            step += span
        low = high
    return chunks, starts


def layout(
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    steps: int,
    positions: int,
    most: int = ROWS,
) -> Layout:
    """Return the layout of a batch, in chunks of up to `most` rows, on the device of `tokens`."""
    device = tokens.device
    sizes = torch.stack([lengths, token_lengths]).cpu()
    known_lengths, known_widths = sizes[0].tolist(), (sizes[1] + 1).tolist()
    chunks, starts = plan(known_lengths, known_widths, most)
    segments = [
        (row, chunk.first_step, places[row], min(known_lengths[row] - chunk.first_step, chunk.span))
        for chunk, places in zip(chunks, starts, strict=True)
        for row in chunk.utterances
        if known_lengths[row] > chunk.first_step
    ]
    total = sum(chunk.rows for chunk in chunks)
    table = torch.tensor(segments, dtype=torch.int64).reshape(-1, 4).to(device)
    widths = (token_lengths + 1).to(torch.int32)
    counts = table[:, 3] * widths[table[:, 0]]
    segment = torch.repeat_interleave(
        torch.arange(len(segments), device=device), counts, output_size=total
    )
    row, width = table[segment, 0], widths[table[segment, 0]]
    inside = torch.arange(total, device=device) - table[segment, 2]
    place = inside % width
    cells = (row * steps + table[segment, 1] + inside // width) * positions + place
    padded = torch.nn.functional.pad(tokens, (0, 1))
    labels = torch.where(place < width - 1, padded[row, place], -1)
    return Layout(
        tuple(chunks),
        torch.tensor(starts, dtype=torch.int32).reshape(-1, len(known_lengths)).to(device),
        cells.to(torch.int32),
        labels.to(torch.int32),
        widths,
    )
