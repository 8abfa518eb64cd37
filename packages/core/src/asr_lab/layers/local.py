"""Attention to the steps nearby: queries in blocks, each against the window of keys it may see."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

Context: TypeAlias = tuple[int, int]
"""How many steps to the left and to the right a step may attend."""


class Chunks(NamedTuple):
    """Attention by chunks: a step sees the whole of its chunk, and the steps before the chunk.

    The look-ahead does not add up over layers, as that of a sliding window does (Noroozi et al.
    2024, arXiv 2312.17279, section 3.1).
    """

    left: int
    """Steps before the chunk that are seen."""
    size: int
    """Steps of a chunk; the first starts at step 0."""

    @property
    def band(self) -> Context:
        """Return the furthest that any step of a chunk sees to the left and to the right."""
        return self.left + self.size - 1, self.size - 1


LEAST_BLOCK = 32
"""Smallest block of queries, so that a small context makes no tiny matrices."""


@dataclass(frozen=True)
class Blocks:
    """The cutting of `steps` into `count` blocks, whose windows reach `left` and `right` beyond.

    Work and memory grow with steps * (left + right), not with the square of the steps: as the
    sliding window of Longformer (Beltagy et al. 2020, arXiv 2004.05150, section 3.1).
    """

    steps: int
    left: int
    right: int
    size: int
    count: int
    chunks: Chunks | None = None

    @classmethod
    def of(cls, steps: int, context: Context | Chunks) -> "Blocks":
        """Return blocks about as wide as the context, so that a window is twice a block."""
        chunks = context if isinstance(context, Chunks) else None
        band = context if chunks is None else chunks.band
        left, right = (min(side, max(steps - 1, 0)) for side in band)
        size = max(1, min(max(left + right, LEAST_BLOCK), steps))
        return cls(steps, left, right, size, -(-steps // size), chunks)

    def queries(
        self, values: Float[Tensor, "batch heads steps dim"]
    ) -> Float[Tensor, "entries heads block dim"]:
        """Return the blocks, each an entry of its own; zeros fill the last."""
        padded = F.pad(values, (0, 0, 0, self.count * self.size - self.steps))
        shape = "batch heads (blocks block) dim -> (batch blocks) heads block dim"
        return rearrange(padded, shape, block=self.size)

    def windows(
        self, values: Float[Tensor, "batch heads steps dim"]
    ) -> Float[Tensor, "entries heads window dim"]:
        """Return what each block may see; zeros stand for steps that there are not."""
        shape = "batch heads blocks dim window -> (batch blocks) heads window dim"
        return rearrange(self._unfold(values, 2), shape)

    def mask(self, mask: Bool[Tensor, "batch steps"]) -> Bool[Tensor, "entries 1 block window"]:
        """Return True where a query may see a key: both in reach, and the key admitted by `mask`.

        Every query sees itself, even in the padding: a softmax of nothing would be NaN.
        """
        query = torch.arange(self.size, device=mask.device)[:, None]
        offset = torch.arange(self.size + self.left + self.right, device=mask.device) - query
        near = (offset >= 0) & (offset <= self.left + self.right)
        keys = rearrange(self._unfold(mask, 1), "batch blocks window -> (batch blocks) 1 1 window")
        visible = near & (keys | (offset == self.left))
        if self.chunks is None:
            return visible
        return visible & self._in_chunks(self.chunks, mask.device).repeat(len(mask), 1, 1)[:, None]

    def shift(
        self, scores: Float[Tensor, "entries heads block distances"]
    ) -> Float[Tensor, "entries heads block window"]:
        """Turn scores by distance into scores by key: `[i, j]` becomes `[i, j - i]`.

        A row and its padding are one longer than a window, so that each row of the result starts
        one distance later. Where there is no such distance stands what `mask` leaves out.
        """
        rows = F.pad(scores, (0, self.size)).flatten(-2)[..., : -self.size]
        return rows.reshape(*scores.shape[:-1], scores.shape[-1] + self.size - 1)

    def join(
        self, values: Float[Tensor, "entries heads block dim"]
    ) -> Float[Tensor, "batch heads steps dim"]:
        """Undo `queries`."""
        shape = "(batch blocks) heads block dim -> batch heads (blocks block) dim"
        return rearrange(values, shape, blocks=self.count)[:, :, : self.steps]

    def _in_chunks(
        self, chunks: Chunks, device: torch.device
    ) -> Bool[Tensor, "blocks block window"]:
        """Return True where a key lies in its query's chunk or in what is seen before that."""
        block = torch.arange(self.count, device=device)[:, None, None] * self.size
        query = block + torch.arange(self.size, device=device)[:, None]
        window = torch.arange(self.left + self.size + self.right, device=device)
        from_chunk = block - self.left + window - query // chunks.size * chunks.size
        return (from_chunk >= -chunks.left) & (from_chunk < chunks.size)

    def _unfold(self, values: Tensor, axis: int) -> Tensor:
        """Return windows of an axis in place of it, what is in them on a new last axis."""
        missing = self.count * self.size - self.steps
        sides = (0, 0) * (values.ndim - 1 - axis) + (self.left, self.right + missing)
        return F.pad(values, sides).unfold(axis, self.left + self.size + self.right, self.size)
