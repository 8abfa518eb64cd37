"""The conformer block."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from asr_lab.layers.attention import RelativeAttention, RotaryAttention
from asr_lab.layers.convolution import ConvolutionModule
from asr_lab.layers.feedforward import FeedForward
from asr_lab.layers.norms import LayerNorm
from asr_lab.models.conformer.config import ConformerConfig


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, half a feed-forward, and a norm.

    Gulati et al. 2020 (arXiv 2005.08100, section 2.4).
    """

    def __init__(self, config: ConformerConfig) -> None:
        """Build one block."""
        super().__init__()
        dim, dropout = config.dim, config.dropout
        attention = RotaryAttention if config.positions == "rotary" else RelativeAttention
        self.before_norm = LayerNorm(dim)
        self.before = FeedForward(dim, config.feedforward, dropout=dropout)
        self.attention_norm = LayerNorm(dim)
        self.attention = attention(dim, config.heads, dropout=dropout, context=config.context)
        self.convolution_norm = LayerNorm(dim)
        self.convolution = ConvolutionModule(
            dim, config.kernel, norm=config.norm, frozen=config.freeze_statistics
        )
        self.after_norm = LayerNorm(dim)
        self.after = FeedForward(dim, config.feedforward, dropout=dropout)
        self.norm = LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        table: Float[Tensor, "..."],
    ) -> Float[Tensor, "batch steps dim"]:
        """Transform the steps; `table` holds the positions that the attention wants."""
        values = values + 0.5 * self.dropout(self.before(self.before_norm(values)))
        attended = self.attention(self.attention_norm(values), mask, table)
        values = values + self.dropout(attended)
        convolved = self.convolution(self.convolution_norm(values), mask)
        values = values + self.dropout(convolved)
        values = values + 0.5 * self.dropout(self.after(self.after_norm(values)))
        result: Tensor = self.norm(values)
        return result
