"""The state-space recurrence, computed by matrix products instead of step by step.

The state h of a head starts at 0; at each step `h = exp(log_decay) * h + key (x) input`, and the
output is `query . h` (Dao and Gu 2024, arXiv 2405.21060, section 3: the recurrence is a product
with a semiseparable matrix). `reference.py` computes the same the slow way.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def scan(
    inputs: Float[Tensor, "batch steps heads dim"],
    log_decay: Float[Tensor, "batch steps heads"],
    keys: Float[Tensor, "batch steps state"],
    queries: Float[Tensor, "batch steps state"],
    *,
    chunk: int,
) -> Float[Tensor, "batch steps heads dim"]:
    """Return the outputs of all steps, in FP32 or better.

    `log_decay` is 0 or below. Up to `chunk` steps are one product with a decay mask, quadratic in
    the steps; longer sequences are split, and states carry over from chunk to chunk (section 6).
    """
    with torch.autocast(inputs.device.type, enabled=False):
        inputs, log_decay, keys, queries = (
            part.to(torch.promote_types(part.dtype, torch.float32))
            for part in (inputs, log_decay, keys, queries)
        )
        steps = inputs.shape[1]
        if steps <= chunk:
            return _within(inputs, running_sum(log_decay), keys, queries)
        parts = [_split(part, chunk) for part in (inputs, log_decay, keys, queries)]
        return _chunked(*parts)[:, :steps]


def running_sum(values: Float[Tensor, "*batch steps heads"]) -> Float[Tensor, "*batch steps heads"]:
    """Return the sum up to and with each step.

    CUDA has no deterministic kernel for it: in deterministic mode it is there a matrix product, in
    FP64, because TF32 would be too coarse.
    """
    if values.is_cuda and torch.are_deterministic_algorithms_enabled():
        return product_sum(values)
    return values.cumsum(-2)


def product_sum(values: Float[Tensor, "*batch steps heads"]) -> Float[Tensor, "*batch steps heads"]:
    """Return the sum up to and with each step, by a product with a triangle of ones."""
    steps = values.shape[-2]
    ones = torch.ones(steps, steps, dtype=torch.float64, device=values.device).tril()
    return (ones @ values.double()).to(values.dtype)


def _split(
    values: Float[Tensor, "batch steps *rest"], chunk: int
) -> Float[Tensor, "batch chunks chunk *rest"]:
    """Cut the steps into chunks; the last is filled with zeros, which change no state."""
    missing = -values.shape[1] % chunk
    filled = F.pad(values, (0, 0) * (values.ndim - 2) + (0, missing))
    chunks: Tensor = filled.unflatten(1, (-1, chunk))
    return chunks


def _within(
    inputs: Float[Tensor, "batch steps heads dim"],
    decayed: Float[Tensor, "batch steps heads"],
    keys: Float[Tensor, "batch steps state"],
    queries: Float[Tensor, "batch steps state"],
) -> Float[Tensor, "batch steps heads dim"]:
    """Return what each step gets from the steps of its own chunk.

    `decayed` is the sum of the log decays up to and with each step.
    """
    steps = inputs.shape[1]
    total = rearrange(decayed, "batch steps heads -> batch heads steps")
    # Masked before exp: above the diagonal the difference is positive and might overflow.
    past = torch.ones(steps, steps, dtype=torch.bool, device=inputs.device).tril()
    between = (total[..., :, None] - total[..., None, :]).masked_fill(~past, -torch.inf)
    mixing = (queries @ keys.mT)[:, None] * between.exp()
    return (mixing @ inputs.transpose(1, 2)).transpose(1, 2)


def _chunked(
    inputs: Float[Tensor, "batch chunks steps heads dim"],
    log_decay: Float[Tensor, "batch chunks steps heads"],
    keys: Float[Tensor, "batch chunks steps state"],
    queries: Float[Tensor, "batch chunks steps state"],
) -> Float[Tensor, "batch together heads dim"]:
    """Return the outputs of all chunks, joined."""
    batch = len(inputs)
    decayed = running_sum(log_decay)
    until_end = (decayed[:, :, -1:] - decayed).exp()
    added = torch.einsum("bcsn,bcsh,bcshd->bchnd", keys, until_end, inputs)
    before = _carried(added, decayed[:, :, -1].exp())
    late = torch.einsum("bcsn,bcsh,bchnd->bcshd", queries, decayed.exp(), before)
    early = _within(*(part.flatten(0, 1) for part in (inputs, decayed, keys, queries)))
    together: Tensor = early.unflatten(0, (batch, -1)) + late
    return together.flatten(1, 2)


def _carried(
    added: Float[Tensor, "batch chunks heads state dim"],
    decay: Float[Tensor, "batch chunks heads"],
) -> Float[Tensor, "batch chunks heads state dim"]:
    """Return the state before each chunk, from what each chunk adds and how much it forgets."""
    state = torch.zeros_like(added[:, 0])
    states = []
    for new, kept in zip(added.unbind(1), decay.unbind(1), strict=True):
        states.append(state)
        state = state * kept[..., None, None] + new
    return torch.stack(states, 1)
