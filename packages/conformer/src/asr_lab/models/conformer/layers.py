"""The conformer block."""

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from asr_lab.layers.attention import AttentionCache, RelativeAttention, RotaryAttention
from asr_lab.layers.convolution import ConvolutionModule
from asr_lab.layers.feedforward import FeedForward
from asr_lab.layers.local import Chunks, Context
from asr_lab.layers.norms import LayerNorm
from asr_lab.models.conformer.config import ConformerConfig


class BlockState(NamedTuple):
    """What a block keeps of the steps before those of a stream that come next."""

    attention: AttentionCache
    convolution: Float[Tensor, "batch before dim"]


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, and a norm.

    Gulati et al. 2020 (arXiv 2005.08100, section 2.4).
    """

    def __init__(self, config: ConformerConfig) -> None:
        """Build one block."""
        super().__init__()
        dim, dropout, bias = config.dim, config.dropout, config.bias
        attention = RotaryAttention if config.positions == "rotary" else RelativeAttention
        self.before_norm = LayerNorm(dim)
        self.before = FeedForward(dim, config.feedforward, dropout=dropout, bias=bias)
        self.attention_norm = LayerNorm(dim)
        self.attention = attention(
            dim, config.heads, dropout=dropout, context=context_of(config), bias=bias
        )
        self.convolution_norm = LayerNorm(dim)
        self.convolution = ConvolutionModule(
            dim,
            config.kernel,
            norm=config.norm,
            frozen=config.freeze_statistics,
            causal=config.causal_convolution,
            bias=bias,
        )
        self.after_norm = LayerNorm(dim)
        self.after = FeedForward(dim, config.feedforward, dropout=dropout, bias=bias)
        self.norm = LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        table: Float[Tensor, "..."],
        context: Context | Chunks | None = None,
    ) -> Float[Tensor, "batch steps dim"]:
        """Transform the steps; `table` holds the positions that the attention wants.

        `context` takes the place of the configuration's.
        """
        values = values + 0.5 * self.dropout(self.before(self.before_norm(values)))
        attended = self.attention(self.attention_norm(values), mask, table, context)
        values = values + self.dropout(attended)
        convolved = self.convolution(self.convolution_norm(values), mask)
        values = values + self.dropout(convolved)
        values = values + 0.5 * self.dropout(self.after(self.after_norm(values)))
        result: Tensor = self.norm(values)
        return result

    def initial_state(self, batch: int, left: int) -> BlockState:
        """Return the state of streams that have no step yet; `left` are kept for attention."""
        weight, heads = self.attention.out.weight, self.attention.heads
        dim = weight.shape[0]
        cached = weight.new_zeros(batch, heads, left, dim // heads)
        tail = weight.new_zeros(batch, self.convolution.before, dim)
        return BlockState(AttentionCache(cached, cached.clone()), tail)

    def stream(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        visible: Bool[Tensor, "batch 1 steps window"],
        table: Float[Tensor, "..."],
        state: BlockState,
    ) -> tuple[Float[Tensor, "batch steps dim"], BlockState]:
        """Transform the next steps of streams as `forward` does the whole; return the new state.

        `visible` are the cached steps and the new ones that each new step may attend.
        """
        values = values + 0.5 * self.before(self.before_norm(values))
        attended, cache = self.attention.stream(
            self.attention_norm(values), visible, table, state.attention
        )
        values = values + attended
        convolved, tail = self.convolution.stream(
            self.convolution_norm(values), mask, state.convolution
        )
        values = values + convolved
        values = values + 0.5 * self.after(self.after_norm(values))
        return self.norm(values), BlockState(cache, tail)


def context_of(config: ConformerConfig) -> Context | Chunks | None:
    """Return what a step attends; None for the whole utterance."""
    if config.attention == "chunked":
        return Chunks(config.left_context, config.chunk)
    return config.context
