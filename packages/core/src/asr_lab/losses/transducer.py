"""Transducer losses (RNN-T and TDT) from both sides of the joint, which is never held whole."""

from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from asr_lab.losses.transducer_chunks import Sizes
from asr_lab.losses.transducer_plain import Operands, Texts, plain_transducer
from asr_lab.losses.transducer_settings import TransducerSettings
from asr_lab.models.base.outputs import LossPart


def transducer_loss(
    projected: Float[Tensor, "batch steps hidden"],
    predicted: Float[Tensor, "batch positions hidden"],
    weight: Float[Tensor, "scores hidden"],
    bias: Float[Tensor, " scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    blank_id: int,
    valid: Bool[Tensor, " batch"],
    activation: Literal["relu", "tanh"] = "relu",
    durations: tuple[int, ...] = (),
    sigma: float = 0.0,
    fast_emit: float = 0.0,
    gradient_bound: float = 0.0,
    part_weight: float = 1.0,
) -> LossPart:
    """Return the negative log likelihood of the tokens, in nats, and the number of utterances.

    The joint is `activation(projected + predicted) @ weight.T + bias` for every step and every
    position: one more than there are tokens. It has a score for each token, one for the blank at
    `blank_id` behind them, then one for each of `durations`, in encoder steps. Without durations
    the loss is that of an RNN-T (Graves 2012, arXiv 1211.3711), with them that of a TDT (Xu et al.
    2023, arXiv 2304.06795), where `sigma` is taken off every emission's log probability.

    `fast_emit` (Yu et al. 2021, arXiv 2010.11148) multiplies the gradient through tokens by
    1 + `fast_emit`; the loss stays as it is.

    `gradient_bound` lets the gradient leave out cells of the lattice that together hold less than
    that part of what bounds it (`transducer_sparse`), which the kernels then do not compute again.
    It is off, 0, unless asked for; then the kernels wait for the device once, and the order of sums
    depends on the values as well.

    Operands and activations have the precision of `projected` and `predicted`, or that of autocast;
    everything else is FP32 or better. An utterance that is not `valid`, has no steps or a text that
    cannot be emitted adds 0. Memory grows with batch * steps * positions, never times scores. The
    order of all sums depends on the shapes alone, so results repeat bit by bit.
    """
    settings = TransducerSettings(
        blank_id=blank_id,
        activation=activation,
        durations=durations,
        sigma=sigma,
        fast_emit=fast_emit,
        gradient_bound=gradient_bound,
    )
    inputs = Operands(projected, predicted, weight, bias)
    texts = Texts(torch.where(valid, lengths, 0), tokens, torch.where(valid, token_lengths, 0))
    count, sizes = check(inputs, texts, valid, settings)
    rounding = operand_type(projected, predicted)
    if why_not_fused(projected, predicted, settings, rounding):
        total = plain_transducer(inputs, texts, settings, rounding)
    else:
        from asr_lab.losses.transducer_triton import fused_transducer

        total = fused_transducer(inputs, texts, settings, rounding, sizes)
    return LossPart(sum=total, count=count, weight=part_weight)


def why_not_fused(
    projected: Float[Tensor, "batch steps hidden"],
    predicted: Float[Tensor, "batch positions hidden"],
    settings: TransducerSettings,
    rounding: torch.dtype,
) -> str:
    """Return why the fused kernels cannot take these, or nothing if they can.

    What they cannot take is computed in plain torch, with the same result.
    """
    batch, steps, positions = *projected.shape[:2], predicted.shape[1]
    cells = batch * (steps + positions) * positions * max(len(settings.durations), 1)
    if not cells or not steps:
        return f"the kernels need cells; a batch of {batch} x {steps} x {positions} has none"
    if not projected.is_cuda:
        return f"the kernels need CUDA; the operands are on {projected.device.type}"
    if find_spec("triton") is None:
        return "the kernels need triton, which is not installed"
    if "dtype" not in torch.ops.aten.addmm.overloads():
        return f"the kernels need torch 2.8 for FP32 sums of products; this is {torch.__version__}"
    if (found := torch.cuda.get_device_capability(projected.device)) < (8, 0):
        return f"the kernels need compute capability 8.0; this GPU has {found[0]}.{found[1]}"
    if rounding not in (torch.float32, torch.bfloat16, torch.float16):
        return f"the kernels take FP32, BF16 and FP16; found {rounding}"
    if positions > 2048 or len(settings.durations) > 16 or cells >= 2**31:
        sizes = f"{batch} x {steps} x {positions}, {len(settings.durations)} durations"
        return f"the kernels take 2048 positions, 16 durations and 2^31 cells; found {sizes}"
    return ""


def operand_type(
    projected: Float[Tensor, "batch steps hidden"],
    predicted: Float[Tensor, "batch positions hidden"],
) -> torch.dtype:
    """Return the type that operands are rounded to."""
    if torch.is_autocast_enabled(projected.device.type):
        return torch.get_autocast_dtype(projected.device.type)
    return torch.promote_types(projected.dtype, predicted.dtype)


def check(
    inputs: Operands, texts: Texts, valid: Bool[Tensor, " batch"], settings: TransducerSettings
) -> tuple[int, Sizes]:
    """Return how many utterances count and their sizes; raise where a shape or value is wrong."""
    scores, steps = len(inputs.bias), inputs.projected.shape[1]
    if scores != settings.scores:
        parts = f"{settings.blank_id} tokens, a blank and {len(settings.durations)} durations"
        raise ValueError(f"{parts} need {settings.scores} scores; the joint has {scores}")
    places = torch.arange(texts.tokens.shape[1], device=texts.tokens.device)
    spoken = texts.tokens.masked_fill(places >= texts.token_lengths[:, None], 0)
    edges = torch.stack(spoken.aminmax()) if spoken.numel() else spoken.new_zeros(2)
    # One transfer tells all, and the sizes of the lattice with it.
    told = (valid.sum().reshape(1), edges, texts.lengths, texts.token_lengths)
    count, *facts = torch.cat(told).tolist()
    sizes = Sizes(facts[2 : 2 + len(valid)], facts[2 + len(valid) :])
    room = min(texts.tokens.shape[1], inputs.predicted.shape[1] - 1)
    bounds = (("length", sizes.lengths, steps), ("token length", sizes.token_lengths, room))
    for name, found, bound in (*bounds, ("token", facts[:2], settings.blank_id - 1)):
        if wrong := [value for value in found if not 0 <= value <= bound]:
            raise ValueError(f"a {name} must be from 0 to {bound}; found {min(wrong)}")
    return count, sizes
