"""Conformers on a stream: the same weights and masks, a chunk of steps at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from asr_lab.layers.local import Chunks
from asr_lab.layers.masking import clear_padding, length_mask
from asr_lab.layers.subsampling import ConvSubsampling
from asr_lab.models.base import EncoderOutput, Sequences, put_state, select_state
from asr_lab.models.conformer.layers import BlockState, ConformerBlock


class StreamState(NamedTuple):
    """Where each stream of a batch stands; its size does not change (Noroozi et al. 2024).

    arXiv 2312.17279, section 3.2. The frames that the subsampling of the next chunk needs are kept
    themselves: that costs no more than `2 * subsampling - 2` frames again a chunk.
    """

    frames: Float[Tensor, "batch frames mels"]
    """Feature frames from the first that the next chunk needs; what has not come means nothing."""
    arrived: Int64[Tensor, " batch"]
    """Feature frames that have come since the start."""
    steps: Int64[Tensor, " batch"]
    """Encoder steps that have been given out."""
    ended: Bool[Tensor, " batch"]
    """True where no more frames will come."""
    blocks: tuple[BlockState, ...]


def start(
    subsampling: ConvSubsampling, blocks: Sequence[ConformerBlock], chunks: Chunks, batch: int
) -> StreamState:
    """Return the state of `batch` streams of which nothing has come."""
    weight = subsampling.out.weight
    behind, ahead = subsampling.reach
    frames = (chunks.size - 1) * subsampling.factor + behind + 1 + ahead
    counts = torch.zeros(batch, dtype=torch.int64, device=weight.device)
    return StreamState(
        frames=weight.new_zeros(batch, frames, subsampling.mels),
        arrived=counts,
        steps=counts.clone(),
        ended=counts.bool(),
        blocks=tuple(block.initial_state(batch, chunks.left) for block in blocks),
    )


def stream(
    subsampling: ConvSubsampling,
    scale: float,
    blocks: Sequence[ConformerBlock],
    chunks: Chunks,
    features: Sequences,
    state: StreamState,
) -> EncoderOutput:
    """Take the next frames of each stream, and return the steps of all chunks that are complete.

    The last chunk of a stream that has ended need not be.
    """
    frames, width = _join(subsampling, features, state), state.frames.shape[1]
    state = state._replace(arrived=state.arrived + features.lengths.to(state.arrived.device))
    counts = _new_steps(subsampling, chunks, state)
    rounds = torch.div(counts + (chunks.size - 1), chunks.size, rounding_mode="floor")
    shift, most = chunks.size * subsampling.factor, max(rounds.tolist(), default=0)
    frames = torch.nn.functional.pad(frames, (0, 0, 0, most * shift + width))
    dim, device = subsampling.out.out_features, state.frames.device
    table = blocks[0].attention.stream_table(chunks.left, chunks.size, device)
    result = state.frames.new_zeros(len(counts), most * chunks.size, dim)
    for number in range(most):
        active = (rounds > number).nonzero()[:, 0]
        everyone = len(active) == len(counts)
        chosen = state if everyone else select_state(state, active)
        assert isinstance(chosen, StreamState)
        window = frames[active, number * shift : number * shift + width]
        lengths = (counts[active] - number * chunks.size).clamp(max=chunks.size)
        values, chosen = encode_chunk(subsampling, scale, blocks, table, window, lengths, chosen)
        result[active, number * chunks.size : (number + 1) * chunks.size] = values.to(result.dtype)
        after = chosen if everyone else put_state(state, active, chosen)
        assert isinstance(after, StreamState)
        state = after
    kept = (rounds * shift)[:, None] + torch.arange(width, device=rounds.device)
    state = state._replace(frames=torch.take_along_dim(frames, kept[..., None], 1))
    longest = int(counts.max()) if len(counts) else 0
    return EncoderOutput(Sequences(result[:, :longest], counts), state)


def _join(
    subsampling: ConvSubsampling, features: Sequences, state: StreamState
) -> Float[Tensor, "batch joined mels"]:
    """Put each stream's new frames behind those that are kept."""
    fresh, width = features.values.to(state.frames), features.values.shape[1]
    there = state.arrived - state.steps * subsampling.factor + subsampling.reach[0]
    joined = torch.nn.functional.pad(state.frames, (0, 0, 0, width))
    places = there[:, None] + torch.arange(width, device=there.device)
    return joined.scatter(1, places[..., None].expand_as(fresh), fresh)


def _new_steps(
    subsampling: ConvSubsampling, chunks: Chunks, state: StreamState
) -> Int64[Tensor, " batch"]:
    """Return how many steps can be given out now: whole chunks, or all that are left."""
    seen = state.arrived - 1 - subsampling.reach[1]
    seen = torch.div(seen, subsampling.factor, rounding_mode="floor") + 1
    whole = torch.div(seen.clamp(min=0), chunks.size, rounding_mode="floor") * chunks.size
    total = subsampling.lengths(state.arrived, subsampling.factor)
    return (torch.where(state.ended, total, whole) - state.steps).clamp(min=0)


def encode_chunk(
    subsampling: ConvSubsampling,
    scale: float,
    blocks: Sequence[ConformerBlock],
    table: Float[Tensor, "..."],
    frames: Float[Tensor, "batch frames mels"],
    lengths: Int64[Tensor, " batch"],
    state: StreamState,
) -> tuple[Float[Tensor, "batch steps dim"], StreamState]:
    """Encode one chunk of each stream, of which `lengths` steps count.

    `table` is the attention's of its cached steps and the chunk's. Of the state, `frames` and
    `ended` are not looked at, and `arrived` says where the audio ends that has come.
    """
    values = subsampling.window(frames, state.steps, state.arrived) * scale
    steps, left = values.shape[1], state.blocks[0].attention.keys.shape[2]
    mask = length_mask(lengths, steps)
    past = torch.arange(-left, 0, device=mask.device) >= -state.steps[:, None]
    keys = torch.cat([past, mask], 1)[:, None, None]
    # Every step sees itself, even in the padding: a softmax of nothing would be NaN.
    window = torch.arange(left + steps, device=mask.device)
    itself = window == window[left:, None]
    after = []
    for block, before in zip(blocks, state.blocks, strict=True):
        values, block_state = block.stream(values, mask, keys | itself, table, before)
        after.append(block_state)
    state = state._replace(steps=state.steps + lengths, blocks=tuple(after))
    return clear_padding(values, mask), state
