"""The bidirectional state-space mixer and the block around it."""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers.feedforward import FeedForward
from asr_lab.layers.masking import clear_padding
from asr_lab.layers.norms import RMSNorm
from asr_lab.models.ssm.config import SSMConfig
from asr_lab.models.ssm.scan import scan

SHORTEST_STEP, LONGEST_STEP = 1e-3, 1e-1
SLOWEST_RATE, FASTEST_RATE = 1.0, 16.0


class Direction(nn.Module):
    """A causal convolution and a scan, from the first step to the last.

    Mamba-2's (Dao and Gu 2024, section 7), with its initialisation of step sizes and rates.
    """

    def __init__(self, config: SSMConfig) -> None:
        """Build for the mixer's width and its heads."""
        super().__init__()
        self.inner, self.state = config.expand * config.dim, config.state
        self.chunk, self.kernel = config.chunk, config.kernel
        heads, width = self.inner // config.head_dim, self.inner + 2 * config.state
        self.convolution = nn.Conv1d(width, width, config.kernel, groups=width)
        rates = torch.empty(heads).uniform_(SLOWEST_RATE, FASTEST_RATE)
        bounds = math.log(SHORTEST_STEP), math.log(LONGEST_STEP)
        sizes = torch.empty(heads).uniform_(*bounds).exp()
        self.log_rate = nn.Parameter(rates.log())
        # The inverse of softplus, so that softplus(bias) is the size drawn.
        self.size_bias = nn.Parameter(sizes + torch.log(-torch.expm1(-sizes)))
        self.skip = nn.Parameter(torch.ones(heads))

    def forward(
        self,
        mixed: Float[Tensor, "batch steps width"],
        sizes: Float[Tensor, "batch steps heads"],
        mask: Bool[Tensor, "batch steps"],
    ) -> Float[Tensor, "batch steps inner"]:
        """Scan; `mixed` must be zero where `mask` is False.

        There the step size is 0, which neither adds to a state nor lets it decay, so that padding
        may stand behind an utterance or before it.
        """
        causal = F.pad(mixed, (0, 0, self.kernel - 1, 0)).transpose(1, 2)
        active = F.silu(self.convolution(causal)).transpose(1, 2)
        values, keys, queries = active.split([self.inner, self.state, self.state], -1)
        values = rearrange(
            values, "batch steps (heads dim) -> batch steps heads dim", heads=sizes.shape[-1]
        )
        precise = sizes.to(torch.promote_types(sizes.dtype, torch.float32))
        sizes = clear_padding(F.softplus(precise + self.size_bias), mask)
        scanned = scan(
            values * sizes[..., None],
            -sizes * self.log_rate.exp(),
            keys,
            queries,
            chunk=self.chunk,
        )
        heard: Tensor = scanned + values * self.skip[:, None]
        return heard.flatten(2)


class BidirectionalMixer(nn.Module):
    """Two directions that share the projections before and after them."""

    def __init__(self, config: SSMConfig) -> None:
        """Build both directions."""
        super().__init__()
        inner = config.expand * config.dim
        heads = inner // config.head_dim
        self.sizes = [inner, inner + 2 * config.state, heads, heads]
        self.inputs = nn.Linear(config.dim, sum(self.sizes), bias=False)
        self.ahead = Direction(config)
        self.back = Direction(config)
        self.norm = RMSNorm(inner)
        self.out = nn.Linear(inner, config.dim, bias=False)

    def forward(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Let every step hear all steps that `mask` admits, before it and behind it."""
        gate, mixed, ahead, back = self.inputs(values).split(self.sizes, -1)
        mixed = clear_padding(mixed, mask)
        from_start = self.ahead(mixed, ahead, mask)
        from_end = self.back(mixed.flip(1), back.flip(1), mask.flip(1)).flip(1)
        heard = (from_start + from_end).to(gate.dtype)
        result: Tensor = self.out(self.norm(heard * F.silu(gate)))
        return result


class SSMBlock(nn.Module):
    """A mixer and a feed-forward, each behind a norm and beside a residual connection."""

    def __init__(self, config: SSMConfig) -> None:
        """Build one block."""
        super().__init__()
        self.mixer_norm = RMSNorm(config.dim)
        self.mixer = BidirectionalMixer(config)
        self.feedforward_norm = RMSNorm(config.dim)
        self.feedforward = FeedForward(config.dim, config.feedforward, dropout=config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Transform the steps."""
        values = values + self.dropout(self.mixer(self.mixer_norm(values), mask))
        changed: Tensor = self.dropout(self.feedforward(self.feedforward_norm(values)))
        return values + changed
