"""Self-attention of encoders over padded sequences."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers.local import Blocks, Context
from asr_lab.layers.masking import key_mask
from asr_lab.layers.positions import distance_table, relative_table, rotary_table, rotate

SPLIT = "batch steps (heads dim) -> batch heads steps dim"
JOIN = "batch heads steps dim -> batch steps (heads dim)"


class RotaryAttention(nn.Module):
    """Multi-head attention whose queries and keys are rotated by their position."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        dropout: float,
        context: Context | None = None,
        bias: bool = True,
    ) -> None:
        """Build for `dim / heads` channels a head, an even number; no `context` is all steps."""
        super().__init__()
        self.heads, self.dropout, self.context = heads, dropout, context
        self.inputs = nn.Linear(dim, 3 * dim, bias=bias)
        self.out = nn.Linear(dim, dim, bias=bias)

    def table(self, steps: int, device: torch.device) -> Float[Tensor, "two steps pairs"]:
        """Return the table of positions that `forward` wants; one serves all layers."""
        return rotary_table(steps, self.out.in_features // self.heads, device)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        table: Float[Tensor, "two steps pairs"],
    ) -> Float[Tensor, "batch steps dim"]:
        """Let every step attend the steps that `mask` admits."""
        query, key, value = (
            rearrange(part, SPLIT, heads=self.heads) for part in self.inputs(values).chunk(3, -1)
        )
        query, key, visible, blocks = rotate(query, table), rotate(key, table), key_mask(mask), None
        if self.context is not None:
            blocks = Blocks.of(values.shape[1], self.context)
            query, key, value = blocks.queries(query), blocks.windows(key), blocks.windows(value)
            visible = blocks.mask(mask)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=dropout
        )
        if blocks is not None:
            mixed = blocks.join(mixed)
        result: Tensor = self.out(rearrange(mixed, JOIN))
        return result


class RelativeAttention(nn.Module):
    """Multi-head attention with relative positions (Dai et al. 2019, arXiv 1901.02860).

    Written out, because the positions' part of the scores is a term that fused attention takes as
    a mask only, for which its gradient is slow or missing.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        dropout: float,
        context: Context | None = None,
        bias: bool = True,
    ) -> None:
        """Build with u and v of the paper, whatever `bias` says; no `context` is all steps."""
        super().__init__()
        self.heads, self.context = heads, context
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key = nn.Linear(dim, dim, bias=bias)
        self.value = nn.Linear(dim, dim, bias=bias)
        self.position = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=bias)
        self.content_bias = nn.Parameter(torch.zeros(heads, dim // heads))
        self.position_bias = nn.Parameter(torch.zeros(heads, dim // heads))
        self.dropout = nn.Dropout(dropout)

    def table(self, steps: int, device: torch.device) -> Float[Tensor, "distances dim"]:
        """Return the table of positions that `forward` wants; one serves all layers."""
        if self.context is None:
            return relative_table(steps, self.out.in_features, device)
        blocks = Blocks.of(steps, self.context)
        return distance_table(blocks.left, blocks.right, self.out.in_features, device)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        table: Float[Tensor, "distances dim"],
    ) -> Float[Tensor, "batch steps dim"]:
        """Let every step attend the steps that `mask` admits."""
        query = rearrange(self.query(values), SPLIT, heads=self.heads)
        key = rearrange(self.key(values), SPLIT, heads=self.heads)
        value = rearrange(self.value(values), SPLIT, heads=self.heads)
        position = self.position(table.to(values.dtype))
        position = rearrange(position, "steps (heads dim) -> heads steps dim", heads=self.heads)
        visible, by_key, blocks = key_mask(mask), shift, None
        if self.context is not None:
            blocks = Blocks.of(values.shape[1], self.context)
            query, key, value = blocks.queries(query), blocks.windows(key), blocks.windows(value)
            visible, by_key = blocks.mask(mask), blocks.shift
        content = (query + self.content_bias[:, None]) @ key.mT
        distance = by_key((query + self.position_bias[:, None]) @ position.mT)
        scores = (content + distance) * query.shape[-1] ** -0.5
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1)
        mixed = self.dropout(weights).to(value.dtype) @ value
        if blocks is not None:
            mixed = blocks.join(mixed)
        result: Tensor = self.out(rearrange(mixed, JOIN))
        return result


def shift(
    scores: Float[Tensor, "batch heads steps distances"],
) -> Float[Tensor, "batch heads steps steps"]:
    """Turn scores by distance into scores by key: `[i, j]` becomes `[i, steps - 1 - i + j]`.

    One column of padding makes each row start one distance later (Dai et al. 2019, appendix B).
    """
    batch, heads, steps, distances = scores.shape
    padded = F.pad(scores, (1, 0)).reshape(batch, heads, distances + 1, steps)
    return padded[:, :, 1:].reshape(batch, heads, steps, distances)[..., :steps]
