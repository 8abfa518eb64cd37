"""A batch of sequences of different lengths, in one of two layouts."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Sequences:
    """Vectors of several sequences: padded, or packed end to end."""

    values: Float[Tensor, "batch frames dim"] | Float[Tensor, "frames dim"]
    """`[batch, frames, dim]` padded, or `[frames, dim]` packed."""
    lengths: Int[Tensor, " batch"]
    """Number of frames of each sequence that are not padding."""
    offsets: Int[Tensor, " ends"] | None = None
    """`[batch + 1]`: where each packed sequence starts, and where the last ends; None if padded."""

    @property
    def packed(self) -> bool:
        """True for the packed layout."""
        return self.offsets is not None

    def mask(self) -> Bool[Tensor, "batch frames"] | Bool[Tensor, " frames"]:
        """Return True where a frame belongs to a sequence, in the shape of the layout."""
        if self.offsets is not None:
            return torch.ones(len(self.values), dtype=torch.bool, device=self.values.device)
        frames = torch.arange(self.values.shape[1], device=self.values.device)
        return frames[None] < self.lengths[:, None]

    def pad(self) -> "Sequences":
        """Return the padded layout, with zeros as padding."""
        if self.offsets is None:
            return self
        frames = int(self.lengths.max()) if len(self.lengths) else 0
        batch, dim = len(self.lengths), self.values.shape[-1]
        padded = type(self)(self.values.new_zeros(batch, frames, dim), self.lengths)
        padded.values[padded.mask()] = self.values
        return padded

    def pack(self) -> "Sequences":
        """Return the packed layout."""
        if self.offsets is not None:
            return self
        ends = torch.cumsum(self.lengths, 0)
        offsets = torch.cat([ends.new_zeros(1), ends])
        return type(self)(self.values[self.mask()], self.lengths, offsets)

    def to(self, device: torch.device | str) -> "Sequences":
        """Return a copy on `device`."""
        offsets = None if self.offsets is None else self.offsets.to(device, non_blocking=True)
        values = self.values.to(device, non_blocking=True)
        return type(self)(values, self.lengths.to(device, non_blocking=True), offsets)
