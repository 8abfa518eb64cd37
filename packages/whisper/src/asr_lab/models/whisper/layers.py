"""Attention and the transformer blocks of encoder and decoder."""

from typing import TypeAlias

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers.feedforward import FeedForward
from asr_lab.layers.masking import key_mask
from asr_lab.layers.norms import LayerNorm
from asr_lab.models.whisper.config import WhisperConfig

Memory: TypeAlias = tuple[
    Float[Tensor, "batch heads _ channels"], Float[Tensor, "batch heads _ channels"]
]
"""Keys and values that can be attended."""

SPLIT = "batch steps (heads dim) -> batch heads steps dim"
JOIN = "batch heads steps dim -> batch steps (heads dim)"


class Attention(nn.Module):
    """Multi-head attention; the keys have no bias."""

    def __init__(self, config: WhisperConfig) -> None:
        """Build the four projections."""
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query = nn.Linear(config.dim, config.dim)
        self.key = nn.Linear(config.dim, config.dim, bias=False)
        self.value = nn.Linear(config.dim, config.dim)
        self.out = nn.Linear(config.dim, config.dim)

    def remember(self, values: Float[Tensor, "batch steps dim"]) -> Memory:
        """Return keys and values of `values`."""
        keys = rearrange(self.key(values), SPLIT, heads=self.heads)
        return keys, rearrange(self.value(values), SPLIT, heads=self.heads)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        memory: Memory,
        mask: Bool[Tensor, "batch 1 1 memory"] | None = None,
        *,
        causal: bool = False,
    ) -> Float[Tensor, "batch steps dim"]:
        """Let every step attend what `mask` admits of `memory`, or nothing later than itself."""
        mixed = F.scaled_dot_product_attention(
            rearrange(self.query(values), SPLIT, heads=self.heads),
            *memory,
            attn_mask=mask,
            is_causal=causal,
            dropout_p=self.dropout if self.training else 0.0,
        )
        result: Tensor = self.out(rearrange(mixed, JOIN))
        return result


def _feedforward(config: WhisperConfig) -> FeedForward:
    # Whisper has no dropout inside its feed-forward layers.
    return FeedForward(config.dim, config.feedforward, dropout=0.0, activation=F.gelu)


class EncoderBlock(nn.Module):
    """Attention over the utterance, then a feed-forward, each behind a norm."""

    def __init__(self, config: WhisperConfig) -> None:
        """Build one block."""
        super().__init__()
        self.attention_norm = LayerNorm(config.dim)
        self.attention = Attention(config)
        self.feedforward_norm = LayerNorm(config.dim)
        self.feedforward = _feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, values: Float[Tensor, "batch steps dim"], mask: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps dim"]:
        """Transform the steps."""
        normal = self.attention_norm(values)
        attended = self.attention(normal, self.attention.remember(normal), key_mask(mask))
        values = values + self.dropout(attended)
        changed: Tensor = self.dropout(self.feedforward(self.feedforward_norm(values)))
        return values + changed


class DecoderBlock(nn.Module):
    """Attention over the tokens so far, over the utterance, then a feed-forward."""

    def __init__(self, config: WhisperConfig) -> None:
        """Build one block."""
        super().__init__()
        self.own_norm = LayerNorm(config.dim)
        self.own = Attention(config)
        self.cross_norm = LayerNorm(config.dim)
        self.cross = Attention(config)
        self.feedforward_norm = LayerNorm(config.dim)
        self.feedforward = _feedforward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        values: Float[Tensor, "batch tokens dim"],
        past: Memory | None,
        encoded: Memory,
        mask: Bool[Tensor, "batch 1 1 steps"],
    ) -> tuple[Float[Tensor, "batch tokens dim"], Memory]:
        """Transform the tokens after `past`; return them and the memory with them added.

        With a `past`, there is one token, which sees all of it.
        """
        normal = self.own_norm(values)
        own = self.own.remember(normal)
        if past is not None:
            own = torch.cat([past[0], own[0]], 2), torch.cat([past[1], own[1]], 2)
        values = values + self.dropout(self.own(normal, own, causal=past is None))
        values = values + self.dropout(self.cross(self.cross_norm(values), encoded, mask))
        return values + self.dropout(self.feedforward(self.feedforward_norm(values))), own
