"""The state-space recurrence written as it is defined: slow, obvious, for tests."""

import torch
from jaxtyping import Float
from torch import Tensor


def scan_step_by_step(
    inputs: Float[Tensor, "batch steps heads dim"],
    log_decay: Float[Tensor, "batch steps heads"],
    keys: Float[Tensor, "batch steps state"],
    queries: Float[Tensor, "batch steps state"],
) -> Float[Tensor, "batch steps heads dim"]:
    """Return what `scan` returns, one step after the other, in FP64."""
    inputs, log_decay = inputs.double(), log_decay.double()
    keys, queries = keys.double(), queries.double()
    batch, steps, heads, dim = inputs.shape
    state = inputs.new_zeros(batch, heads, keys.shape[-1], dim)
    outputs = []
    for step in range(steps):
        added = torch.einsum("bn,bhd->bhnd", keys[:, step], inputs[:, step])
        state = state * log_decay[:, step].exp()[..., None, None] + added
        outputs.append(torch.einsum("bn,bhnd->bhd", queries[:, step], state))
    return torch.stack(outputs, 1)
