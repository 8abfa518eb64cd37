"""The joint's weight and bias as the kernels want them: in whole tiles, and a small tail."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from asr_lab.losses.transducer_settings import TransducerSettings

TAIL = 16
"""Scores behind the tiles that are cheap: the least width of a matrix product."""


class Tiles(NamedTuple):
    """Sizes of a tile of logits, pinned: the order of sums depends on them."""

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int
    registers: int
    """Of a thread at most."""


# 128 x 128 in FP32 is 64 registers a thread of 8 warps, and three stages of two 16 KiB operands
# are 96 KiB: two programs share a multiprocessor of Hopper, one's sums behind the other's products,
# for which a thread has 128 registers.
HALF = Tiles(128, 128, 64, 8, 3, 128)
# FP32 operands are split in three TF32 products, which takes registers.
SINGLE = Tiles(64, 128, 32, 4, 2, 255)


@dataclass(frozen=True)
class Joint:
    """The joint's weight in tiles and tail, padded, and what the kernels are told about it."""

    weight: Float[Tensor, "padded pitch"]
    """Rows of whole tiles, then those of the tail."""
    bias: Float[Tensor, " padded"]
    main: int
    """Scores in tiles; those of padding have a bias of -1e30."""
    tail: int
    """0 or `TAIL`."""
    tokens: int
    """Scores of tokens and blank, which come first."""
    durations: int
    """Scores of durations, which follow the tiles and the tokens."""
    tiles: Tiles
    tanh: bool
    precision: str

    @property
    def shape(self) -> dict[str, Any]:
        """Return what fixes a tile of logits."""
        return {
            "PITCH": self.weight.shape[1],
            "PRECISION": self.precision,
            "ROWS": self.tiles.rows,
            "COLUMNS": self.tiles.columns,
            "INNER": self.tiles.inner,
            "num_warps": self.tiles.warps,
            "num_stages": self.tiles.stages,
            "maxnreg": self.tiles.registers,
        }

    def of_scores(self, padded: Tensor) -> Tensor:
        """Return the rows of true scores."""
        if self.tokens >= self.main:
            return padded[: self.tokens + self.durations]
        behind = padded[self.main : self.main + self.durations]
        return torch.cat([padded[: self.tokens], behind])


def prepare(
    weight: Float[Tensor, "scores hidden"],
    bias: Float[Tensor, " scores"],
    settings: TransducerSettings,
    dtype: torch.dtype,
) -> Joint:
    """Arrange the weight: durations and a few last tokens in the tail, all else in whole tiles."""
    tiles = SINGLE if dtype == torch.float32 else HALF
    tokens, durations = settings.blank_id + 1, len(settings.durations)
    main = tokens // tiles.columns * tiles.columns
    if not main or tokens - main + durations > TAIL:
        main = -(-tokens // tiles.columns) * tiles.columns
    tail = TAIL if tokens > main or durations else 0
    padded = weight.new_zeros((main + tail, -(-weight.shape[1] // 64) * 64), dtype=dtype)
    padded_bias = torch.full((main + tail,), -1e30, device=weight.device, dtype=torch.float32)
    for place, source in ((0, slice(tokens)), (max(tokens, main), slice(tokens, None))):
        if source.start is None or durations:
            known = slice(place, place + len(bias[source]))
            padded[known, : weight.shape[1]] = weight[source]
            padded_bias[known] = bias[source]
    precision = "tf32x3" if dtype == torch.float32 else "tf32"
    tanh = settings.activation == "tanh"
    return Joint(padded, padded_bias, main, tail, tokens, durations, tiles, tanh, precision)
