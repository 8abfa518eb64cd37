"""Masks from lengths: padding is known by lengths, never by a magic value."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def length_mask(lengths: Int[Tensor, " batch"], steps: int) -> Bool[Tensor, "batch steps"]:
    """Return True for the steps of each sequence that are not padding."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def clear_padding(
    values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
) -> Float[Tensor, "batch steps dim"]:
    """Return `values` with zeros where `mask` is False, whatever stood there (even NaN)."""
    return values.masked_fill(~mask[..., None], 0)


def subsampled_lengths(lengths: Int[Tensor, " batch"], factor: int) -> Int[Tensor, " batch"]:
    """Return `asr_lab.layers.lengths.subsampled` of every length."""
    return torch.div(lengths + (factor - 1), factor, rounding_mode="floor")


def causally_subsampled_lengths(
    lengths: Int[Tensor, " batch"], factor: int
) -> Int[Tensor, " batch"]:
    """Return `asr_lab.layers.lengths.causally_subsampled` of every length."""
    while factor > 1:
        halved = torch.div(lengths, 2, rounding_mode="floor") + 1
        lengths, factor = torch.where(lengths > 0, halved, 0), factor // 2
    return lengths


def key_mask(mask: Bool[Tensor, "batch steps"]) -> Bool[Tensor, "batch 1 1 steps"]:
    """Return the mask of keys for attention, in which every query sees at least the first key.

    An utterance without any step would otherwise make the softmax of nothing, which is NaN.
    """
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return (mask | first)[:, None, None]
