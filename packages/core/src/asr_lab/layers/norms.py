"""Normalisation that padding cannot disturb."""

from typing import Literal, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

NormKind: TypeAlias = Literal["layer", "batch"]


class LayerNorm(nn.LayerNorm):
    """Layer normalisation (Ba et al. 2016); it takes a mask and has no use for it."""

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"] | None = None,
    ) -> Float[Tensor, "batch steps dim"]:
        """Normalise every step on its own."""
        return super().forward(values)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy 2015) with statistics over the steps that count.

    In train mode an utterance's output depends on its batch mates, though not on padding; not if
    `frozen`, which keeps the running statistics and uses them in train mode too.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, dim: int, *, momentum: float = 0.1, eps: float = 1e-5, frozen: bool = False
    ) -> None:
        """Start with statistics of mean 0 and variance 1."""
        super().__init__()
        self.momentum, self.eps, self.frozen = momentum, eps, frozen
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Normalise every channel, in FP32 or better; what stands in the padding means nothing."""
        precise = values.to(torch.promote_types(values.dtype, torch.float32))
        mean, var = self.running_mean, self.running_var
        if self.training and not self.frozen:
            mean, var = self._measure(precise, mask)
        scale = torch.rsqrt(var + self.eps) * self.weight
        return ((precise - mean) * scale + self.bias).to(values.dtype)

    def _measure(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> tuple[Float[Tensor, " dim"], Float[Tensor, " dim"]]:
        """Return mean and biased variance of the batch, and move the running ones towards them."""
        outside = ~mask[..., None]
        count = mask.sum().clamp(min=1)
        mean = values.masked_fill(outside, 0).sum((0, 1)) / count
        var = (values - mean).masked_fill(outside, 0).square().sum((0, 1)) / count
        with torch.no_grad():
            unbiased = var * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        return mean, var


def make_norm(kind: NormKind, dim: int, *, frozen: bool = False) -> LayerNorm | MaskedBatchNorm:
    """Return the normalisation of that name, the statistics of batch norm `frozen` or not."""
    return LayerNorm(dim) if kind == "layer" else MaskedBatchNorm(dim, frozen=frozen)


class RMSNorm(nn.Module):
    """Division by the root mean square (Zhang and Sennrich 2019), in FP32 or better."""

    def __init__(self, dim: int, *, eps: float = 1e-5) -> None:
        """Start with a scale of 1."""
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, values: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Normalise the last axis."""
        precise = values.to(torch.promote_types(values.dtype, torch.float32))
        scale = torch.rsqrt(precise.square().mean(-1, keepdim=True) + self.eps)
        return (precise * scale * self.weight).to(values.dtype)
