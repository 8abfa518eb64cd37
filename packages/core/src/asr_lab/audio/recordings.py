"""Recordings of different lengths in one tensor: noises, or the impulse responses of rooms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from asr_lab.utils.errors import UserError


@dataclass(frozen=True)
class Recordings:
    """Several recordings end to end; build it once, because building copies them."""

    values: Float32[Tensor, " total"]
    starts: Int64[Tensor, " recordings"]
    lengths: Int64[Tensor, " recordings"]
    longest: int
    """Most samples of a recording."""

    @classmethod
    def of(cls, recordings: Sequence[Float[Tensor, " _"]]) -> "Recordings":
        """Put the recordings end to end, on the device of the first.

        Raises UserError where there are none, or one is empty.
        """
        counts = [len(recording) for recording in recordings]
        if not counts or min(counts) == 0:
            raise UserError(f"recordings must hold samples; got {counts or 'no recordings'}")
        values = torch.cat([recording.float() for recording in recordings])
        lengths = torch.tensor(counts, device=values.device)
        return cls(values, lengths.cumsum(0) - lengths, lengths, max(counts))

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.lengths)

    def repeated(
        self, chosen: Int64[Tensor, " batch"], first: Int64[Tensor, " batch"], count: int
    ) -> Float32[Tensor, "batch count"]:
        """Return `count` samples from sample `first` of each chosen recording, over and over."""
        places = first[:, None] + torch.arange(count, device=chosen.device)
        return self.values[self.starts[chosen, None] + places % self.lengths[chosen, None]]

    def padded(self, chosen: Int64[Tensor, " batch"]) -> Float32[Tensor, "batch longest"]:
        """Return each chosen recording, with zeros behind it up to the longest of all."""
        places = torch.arange(self.longest, device=chosen.device)
        inside = places < self.lengths[chosen, None]
        found = self.values[(self.starts[chosen, None] + places).clamp(max=len(self.values) - 1)]
        return found.masked_fill(~inside, 0)
