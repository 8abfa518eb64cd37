"""Self-attention of encoders over padded sequences."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers.local import Blocks, Chunks, Context
from asr_lab.layers.masking import key_mask
from asr_lab.layers.positions import distance_table, relative_table, rotary_table, rotate

SPLIT = "batch steps (heads dim) -> batch heads steps dim"
JOIN = "batch heads steps dim -> batch steps (heads dim)"
WRITTEN_OUT = 512
"""Keys up to which compiled attention is written out: 41 s of Fast Conformer's steps."""


class AttentionCache(NamedTuple):
    """Keys and values of the steps before those of a stream that come next, without positions."""

    keys: Float[Tensor, "batch heads steps dim"]
    values: Float[Tensor, "batch heads steps dim"]

    def followed_by(
        self, key: Float[Tensor, "batch heads new dim"], value: Float[Tensor, "batch heads new dim"]
    ) -> tuple[Tensor, Tensor, "AttentionCache"]:
        """Return keys and values with new ones behind, and the cache of as many steps after it."""
        joined = torch.cat([self.keys, key], 2), torch.cat([self.values, value], 2)
        kept = AttentionCache(*(part[:, :, key.shape[2] :].contiguous() for part in joined))
        return *joined, kept


class RotaryAttention(nn.Module):
    """Multi-head attention whose queries and keys are rotated by their position."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        dropout: float,
        context: Context | Chunks | None = None,
        bias: bool = True,
    ) -> None:
        """Build for `dim / heads` channels a head, an even number; no `context` is all steps."""
        super().__init__()
        self.heads, self.dropout, self.context = heads, dropout, context
        self.inputs = nn.Linear(dim, 3 * dim, bias=bias)
        self.out = nn.Linear(dim, dim, bias=bias)

    def table(
        self, steps: int, device: torch.device, context: Context | Chunks | None = None
    ) -> Float[Tensor, "two steps pairs"]:
        """Return the table of positions that `forward` wants; one serves all layers."""
        return rotary_table(steps, self.out.in_features // self.heads, device)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        table: Float[Tensor, "two steps pairs"],
        context: Context | Chunks | None = None,
    ) -> Float[Tensor, "batch steps dim"]:
        """Let every step attend the steps that `mask` and the context admit.

        `context` takes the place of the one that the layer was built for.
        """
        query, key, value = self._split(values)
        query, key, visible, blocks = rotate(query, table), rotate(key, table), key_mask(mask), None
        if (context := context or self.context) is not None:
            blocks = Blocks.of(values.shape[1], context)
            query, key, value = blocks.queries(query), blocks.windows(key), blocks.windows(value)
            visible = blocks.mask(mask)
        dropout = self.dropout if self.training else 0.0
        attend = _attend if written_out(key.shape[2]) else F.scaled_dot_product_attention
        mixed = attend(query, key, value, attn_mask=visible, dropout_p=dropout)
        if blocks is not None:
            mixed = blocks.join(mixed)
        result: Tensor = self.out(rearrange(mixed, JOIN))
        return result

    def stream_table(
        self, left: int, steps: int, device: torch.device
    ) -> Float[Tensor, "two window pairs"]:
        """Return the table that `stream` wants for so many new steps behind `left` cached ones."""
        return self.table(left + steps, device)

    def stream(
        self,
        values: Float[Tensor, "batch steps dim"],
        visible: Bool[Tensor, "batch 1 steps window"],
        table: Float[Tensor, "two window pairs"],
        cache: AttentionCache,
    ) -> tuple[Float[Tensor, "batch steps dim"], AttentionCache]:
        """Let new steps attend the cached ones and each other, where `visible`.

        Positions count from the cache's start, so that a stream may last for ever.
        """
        query, key, value = self._split(values)
        key, value, cache = cache.followed_by(key, value)
        query, key = rotate(query, table[:, -values.shape[1] :]), rotate(key, table)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        result: Tensor = self.out(rearrange(mixed, JOIN))
        return result, cache

    def _split(
        self, values: Float[Tensor, "batch steps dim"]
    ) -> tuple[Float[Tensor, "batch heads steps channels"], ...]:
        """Return queries, keys and values, without positions."""
        parts = self.inputs(values).chunk(3, -1)
        return tuple(rearrange(part, SPLIT, heads=self.heads) for part in parts)


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
        context: Context | Chunks | None = None,
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

    def table(
        self, steps: int, device: torch.device, context: Context | Chunks | None = None
    ) -> Float[Tensor, "distances dim"]:
        """Return the table of positions that `forward` wants; one serves all layers."""
        if (context := context or self.context) is None:
            return relative_table(steps, self.out.in_features, device)
        blocks = Blocks.of(steps, context)
        return distance_table(blocks.left, blocks.right, self.out.in_features, device)

    def forward(
        self,
        values: Float[Tensor, "batch steps dim"],
        mask: Bool[Tensor, "batch steps"],
        table: Float[Tensor, "distances dim"],
        context: Context | Chunks | None = None,
    ) -> Float[Tensor, "batch steps dim"]:
        """Let every step attend the steps that `mask` and the context admit.

        `context` takes the place of the one that the layer was built for.
        """
        query, key, value = self._split(values)
        if (context := context or self.context) is None:
            distance = shift(self._distances(query, table, before=1))
            mixed = self._mix(query, key, value, distance, key_mask(mask))
        else:
            blocks = Blocks.of(values.shape[1], context)
            query, key, value = blocks.queries(query), blocks.windows(key), blocks.windows(value)
            distance = blocks.shift(self._distances(query, table))
            mixed = blocks.join(self._mix(query, key, value, distance, blocks.mask(mask)))
        result: Tensor = self.out(rearrange(mixed, JOIN))
        return result

    def stream_table(
        self, left: int, steps: int, device: torch.device
    ) -> Float[Tensor, "distances dim"]:
        """Return the table that `stream` wants for so many new steps behind `left` cached ones."""
        return distance_table(left + steps - 1, steps - 1, self.out.in_features, device)

    def stream(
        self,
        values: Float[Tensor, "batch steps dim"],
        visible: Bool[Tensor, "batch 1 steps window"],
        table: Float[Tensor, "distances dim"],
        cache: AttentionCache,
    ) -> tuple[Float[Tensor, "batch steps dim"], AttentionCache]:
        """Let new steps attend the cached ones and each other, where `visible`."""
        query, key, value = self._split(values)
        key, value, cache = cache.followed_by(key, value)
        steps, window = query.shape[2], key.shape[2]
        query_step = torch.arange(steps, device=values.device)[:, None]
        rows = torch.arange(window, device=values.device) + (steps - 1) - query_step
        distance = self._distances(query, table)
        distance = distance.gather(-1, rows.expand(*distance.shape[:2], steps, window))
        mixed = self._mix(query, key, value, distance, visible)
        result: Tensor = self.out(rearrange(mixed, JOIN))
        return result, cache

    def _split(
        self, values: Float[Tensor, "batch steps dim"]
    ) -> tuple[Float[Tensor, "batch heads steps channels"], ...]:
        """Return queries, keys and values."""
        parts = self.query(values), self.key(values), self.value(values)
        return tuple(rearrange(part, SPLIT, heads=self.heads) for part in parts)

    def _distances(
        self,
        query: Float[Tensor, "batch heads steps channels"],
        table: Float[Tensor, "distances dim"],
        before: int = 0,
    ) -> Float[Tensor, "batch heads steps scores"]:
        """Return the scores of all distances, with so many zeros before them."""
        position = F.pad(self.position(table.to(query.dtype)), (0, 0, before, 0))
        position = rearrange(position, "steps (heads dim) -> heads steps dim", heads=self.heads)
        scores: Tensor = (query + self.position_bias[:, None]) @ position.transpose(-2, -1)
        return scores

    def _mix(
        self,
        query: Float[Tensor, "batch heads steps channels"],
        key: Float[Tensor, "batch heads window channels"],
        value: Float[Tensor, "batch heads window channels"],
        distance: Float[Tensor, "batch heads steps window"],
        visible: Bool[Tensor, "..."],
    ) -> Float[Tensor, "batch heads steps channels"]:
        """Weigh the values by the scores of content and distance."""
        content = (query + self.content_bias[:, None]) @ key.transpose(-2, -1)
        scores = (content + distance) * query.shape[-1] ** -0.5
        return _weigh(scores, value, visible, self.dropout.p if self.training else 0.0)


def written_out(window: int) -> bool:
    """Say whether attention to so many keys is the faster as matrix products that are compiled.

    The compiler makes one pass of scale, mask, softmax and dropout; the libraries' fused attention
    is built for long sequences, and the one that takes masks is the slowest of them.
    """
    return torch.compiler.is_compiling() and window <= WRITTEN_OUT


def _attend(
    query: Float[Tensor, "batch heads steps channels"],
    key: Float[Tensor, "batch heads window channels"],
    value: Float[Tensor, "batch heads window channels"],
    attn_mask: Bool[Tensor, "..."],
    dropout_p: float,
) -> Float[Tensor, "batch heads steps channels"]:
    """Do what `F.scaled_dot_product_attention` does, in steps that a compiler can join."""
    scores = (query @ key.mT) * query.shape[-1] ** -0.5
    return _weigh(scores, value, attn_mask, dropout_p)


def _weigh(
    scores: Float[Tensor, "batch heads steps window"],
    value: Float[Tensor, "batch heads window channels"],
    visible: Bool[Tensor, "..."],
    dropout: float,
) -> Float[Tensor, "batch heads steps channels"]:
    """Weigh the values by the softmax of the scores of visible keys."""
    precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
    weights = precise.masked_fill(~visible, -torch.inf).softmax(-1).to(value.dtype)
    mixed: Tensor = F.dropout(weights, dropout, dropout > 0) @ value
    return mixed


def shift(
    scores: Float[Tensor, "batch heads steps distances_and_1"],
) -> Float[Tensor, "batch heads steps steps"]:
    """Turn a zero and scores by distance into scores by key: `[i, j]` becomes `[i, steps - i + j]`.

    The zero makes each row start one distance later when the rows are read as columns (Dai et al.
    2019, appendix B). With it there are `2 * steps`, which suits fast kernels better than one less.
    """
    batch, heads, steps, columns = scores.shape
    read = scores.reshape(batch, heads, columns, steps)[:, :, 1:]
    return read.reshape(batch, heads, steps, columns - 1)[..., :steps]
