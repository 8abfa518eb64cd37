"""Connectionist temporal classification (Graves et al. 2006)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from asr_lab.models.base.outputs import LossPart


def ctc_loss(
    log_probs: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    blank_id: int,
    valid: Bool[Tensor, " batch"],
    weight: float = 1.0,
) -> LossPart:
    """Return the negative log likelihood of the tokens, in nats, and the number of utterances.

    Computed in FP32 or better. An utterance whose text does not fit in its steps adds 0 here: the
    plan refuses such utterances, and an infinite loss would spoil the others' gradients. So does
    one that is not `valid`. Deterministic on the CPU.
    """
    precise = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32))
    behind = torch.arange(tokens.shape[1], device=tokens.device) >= token_lengths[:, None]
    losses = F.ctc_loss(
        precise.transpose(0, 1),
        tokens.masked_fill(behind, 0).long(),
        torch.where(valid, lengths, log_probs.shape[1]).long(),
        torch.where(valid, token_lengths, 0).long(),
        blank=blank_id,
        reduction="none",
        zero_infinity=True,
    )
    total = torch.where(valid, losses, 0).sum()
    return LossPart(sum=total, count=int(valid.sum()), weight=weight)
