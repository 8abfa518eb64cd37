"""Cross-entropy of an attention decoder's scores."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from asr_lab.models.base.outputs import LossPart

IGNORED = -100


def cross_entropy_loss(
    logits: Float[Tensor, "batch tokens scores"],
    targets: Int[Tensor, "batch tokens"],
    counted: Bool[Tensor, "batch tokens"],
    *,
    smoothing: float = 0.0,
    weight: float = 1.0,
) -> LossPart:
    """Return the negative log likelihood of the counted targets, in nats, and their number.

    `smoothing` is the probability, from 0 to 1, that the target spreads evenly over all scores
    (Szegedy et al. 2016, section 7). Computed in FP32 or better.
    """
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    total = F.cross_entropy(
        precise.flatten(0, 1),
        targets.masked_fill(~counted, IGNORED).flatten().long(),
        ignore_index=IGNORED,
        label_smoothing=smoothing,
        reduction="sum",
    )
    return LossPart(sum=total, count=counted.sum(), weight=weight)


def teacher_forcing(
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    start_id: int,
    end_id: int,
) -> tuple[
    Int[Tensor, "batch positions"], Int[Tensor, "batch positions"], Bool[Tensor, "batch positions"]
]:
    """Return what a decoder is fed, what it must say, and which of these count.

    Fed are the start and the tokens; to be said are the tokens and the end: one position more than
    there are tokens. Behind an utterance's end, both hold `end_id`.
    """
    batch, width = tokens.shape
    places = torch.arange(width + 1, device=tokens.device)
    ends = tokens.new_full((batch, 1), end_id)
    targets = torch.cat([tokens, ends], 1).masked_fill(places >= token_lengths[:, None], end_id)
    inputs = torch.cat([tokens.new_full((batch, 1), start_id), targets[:, :-1]], 1)
    return inputs, targets, places <= token_lengths[:, None]
