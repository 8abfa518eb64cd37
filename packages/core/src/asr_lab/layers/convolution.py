"""Convolutions over the steps of padded sequences."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers.masking import clear_padding
from asr_lab.layers.norms import NormKind, make_norm
from asr_lab.layers.taps import by_taps, depthwise_by_taps


class ConvolutionModule(nn.Module):
    """Gated pointwise, depthwise, normalisation, SiLU, pointwise.

    Gulati et al. 2020 (arXiv 2005.08100, section 2.2), with a choice of norm. If `causal`, a step
    sees the `kernel - 1` steps before it, instead of as many on either side as fit.
    """

    def __init__(
        self,
        dim: int,
        kernel: int,
        *,
        norm: NormKind,
        frozen: bool = False,
        causal: bool = False,
        bias: bool = True,
    ) -> None:
        """Build for an odd `kernel`, in steps; `frozen` keeps the statistics of batch norm."""
        super().__init__()
        self.inner = nn.Linear(dim, 2 * dim, bias=bias)
        self.before = kernel - 1 if causal else 0
        around = 0 if causal else kernel // 2
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=around, groups=dim, bias=bias)
        self.norm = make_norm(norm, dim, frozen=frozen)
        self.outer = nn.Linear(dim, dim, bias=bias)

    def forward(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Mix neighbouring steps; those that `mask` leaves out are taken as zeros."""
        gated = clear_padding(F.glu(self.inner(values), -1), mask)
        return self._mix(F.pad(gated, (0, 0, self.before, 0)) if self.before else gated, mask)

    def stream(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        tail: Float[Tensor, "batch before dim"],
    ) -> tuple[Float[Tensor, "batch steps dim"], Float[Tensor, "batch before dim"]]:
        """Mix new steps with the gated ones before them, `tail`; return the next tail."""
        gated = clear_padding(F.glu(self.inner(values), -1), mask)
        joined = torch.cat([tail, gated], 1)
        return self._mix(joined, mask), joined[:, values.shape[1] :].contiguous()

    def _mix(
        self, gated: Float[Tensor, "batch window dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Apply all that follows the gate."""
        result: Tensor = self.outer(F.silu(self.norm(self._neighbours(gated), mask)))
        return result

    def _neighbours(
        self, gated: Float[Tensor, "batch window dim"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Apply the depthwise convolution."""
        if by_taps():
            around = self.depthwise.padding[0]
            assert isinstance(around, int)
            return depthwise_by_taps(
                gated, self.depthwise.weight, self.depthwise.bias, padding=around
            )
        mixed = self.depthwise(rearrange(gated, "batch steps dim -> batch dim steps"))
        steps_first: Tensor = rearrange(mixed, "batch dim steps -> batch steps dim")
        return steps_first
