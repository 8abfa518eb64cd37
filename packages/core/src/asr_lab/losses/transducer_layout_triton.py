"""Where the cells of a ragged lattice stand in its chunks, on the GPU: one transfer, one launch."""

from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Int
from torch import Tensor

from asr_lab.losses.transducer_chunks import Chunk, Sizes, plan


class Layout(NamedTuple):
    """All chunks, and the cell of every row."""

    chunks: tuple[Chunk, ...]
    starts: Int[Tensor, "chunks batch"]
    """Row of each utterance's first cell in a chunk; -1 where it has none."""
    cells: Int[Tensor, " rows"]
    """Index of each row's cell, were the lattice of the batch a tensor."""
    labels: Int[Tensor, " rows"]
    """Token that leads on from each row's cell; -1 at the last position."""
    lengths: Int[Tensor, " batch"]
    """Steps of each utterance."""
    widths: Int[Tensor, " batch"]
    """Positions of each utterance."""


def layout(
    tokens: Int[Tensor, "batch tokens"], sizes: Sizes, steps: int, positions: int, most: int
) -> Layout:
    """Return the layout of a batch, in chunks of up to `most` rows, on the device of `tokens`."""
    widths = [count + 1 for count in sizes.token_lengths]
    chunks, starts = plan(sizes.lengths, widths, most)
    total, batch = sum(chunk.rows for chunk in chunks), len(widths)
    spans = [value for chunk in chunks for value in (chunk.first_step, chunk.span)]
    parts = (sizes.lengths, widths, spans, [start for row in starts for start in row])
    # Whole blocks of 16 bytes, so that kernels are compiled for no other alignment.
    padded = [part + [0] * (-len(part) % 4) for part in parts]
    table = torch.tensor([value for part in padded for value in part], dtype=torch.int32)
    pieces = table.to(tokens.device).split([len(part) for part in padded])
    of_lengths, of_widths, of_spans, of_starts = (
        piece[: len(part)] for piece, part in zip(pieces, parts, strict=True)
    )
    cells, labels = (tokens.new_empty(total, dtype=torch.int32) for _ in range(2))
    if chunks:
        blocks = triton.cdiv(max(chunk.span for chunk in chunks) * max(widths), 1024)
        locate[(len(chunks) * batch, blocks)](
            of_lengths, of_widths, of_spans, of_starts, tokens, cells, labels, batch, steps,
            positions, *tokens.stride(), ROWS=1024,
        )  # fmt: skip
    return Layout(tuple(chunks), of_starts.view(-1, batch), cells, labels, of_lengths, of_widths)


@triton.jit(do_not_specialize=["batch", "steps", "positions", "tokens_of_row"])
@no_type_check
def locate(
    lengths,
    widths,
    spans,
    starts,
    tokens,
    cells,
    labels,
    batch,
    steps,
    positions,
    tokens_of_row,
    tokens_of_place,
    ROWS: tl.constexpr,
):
    """Write the cells and labels of an utterance's rows in a chunk."""
    chunk, row = tl.program_id(0) // batch, tl.program_id(0) % batch
    first_step, span = tl.load(spans + 2 * chunk), tl.load(spans + 2 * chunk + 1)
    start = tl.load(starts + tl.program_id(0))
    width = tl.load(widths + row)
    count = tl.minimum(tl.load(lengths + row) - first_step, span) * width
    index = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    inside = (index < count) & (start >= 0)
    place = index % width
    cell = (row * steps + first_step + index // width) * positions + place
    source = tokens + row.to(tl.int64) * tokens_of_row + place * tokens_of_place
    label = tl.load(source, mask=inside & (place < width - 1), other=-1)
    tl.store(cells + start + index, cell, mask=inside)
    tl.store(labels + start + index, label.to(tl.int32), mask=inside)
