"""Connectionist temporal classification (Graves et al. 2006), with a deterministic gradient."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch
from jaxtyping import Bool, Float, Int
from packaging.version import Version
from torch import Tensor

from asr_lab.losses.ctc_plain import native_ctc, plain_ctc, precise
from asr_lab.models.base.outputs import LossPart

STEPS, TOKENS = 8192, 2047
"""What an utterance may have at most for the kernels."""


def ctc_loss(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    blank_id: int,
    valid: Bool[Tensor, " batch"],
    weight: float = 1.0,
    zero_infinity: bool = True,
) -> LossPart:
    """Return the negative log likelihood of the tokens, in nats, and the number of utterances.

    `ctc_losses` says what scores may be and what is promised. An utterance whose text does not fit
    in its steps adds 0 here: the plan refuses such utterances, and an infinite loss would spoil the
    others' gradients. So does one that is not `valid`.
    """
    spoken = [torch.where(valid, one, 0) for one in (lengths, token_lengths)]
    losses = ctc_losses(
        scores, spoken[0], tokens, spoken[1], blank_id=blank_id, zero_infinity=zero_infinity
    )
    total = torch.where(valid, losses, 0).sum()
    return LossPart(sum=total, count=valid.sum(), weight=weight)


def ctc_losses(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    *,
    blank_id: int,
    zero_infinity: bool = True,
) -> Float[Tensor, " batch"]:
    """Return the negative log likelihood of each utterance's tokens, in nats.

    Scores are logits of tokens and blank: they are normalised here. Log probabilities do as well,
    and stay as they are. A text that does not fit in its steps has a loss of 0, or of infinity if
    not `zero_infinity`, and no gradient either way.

    Computed in FP32 or better, and deterministic. On the CPU and with the kernels
    (`why_not_fused`) an utterance's bits depend neither on the others nor on steps of padding. With
    the kernels nothing waits for the device, and a CUDA graph may hold it; a token or length that
    no text has makes a loss NaN there, and raises ValueError elsewhere. The gradient has none.
    """
    apart = infinite_losses
    if torch.compiler.is_compiling():
        # It has nothing to gain here, and would trace a gradient that must not be differentiated.
        apart = torch.compiler.disable(infinite_losses)
    losses = apart(scores, lengths, tokens, token_lengths, blank_id)
    return losses.masked_fill(losses.isposinf(), 0) if zero_infinity else losses


def infinite_losses(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    blank_id: int,
) -> Float[Tensor, " batch"]:
    """Return the losses, infinite where a text does not fit, by what is quickest on the device."""
    if not scores.numel():
        empty = scores.to(precise(scores)).flatten(1).sum(1)
        return empty.masked_fill(token_lengths > 0, torch.inf)
    if not why_not_fused(scores, tokens):
        from asr_lab.losses.ctc_triton import fused_ctc

        return fused_ctc(scores, lengths, tokens, token_lengths, blank_id)
    check(scores, lengths, tokens, token_lengths, blank_id)
    # Torch's own gradient is deterministic on the CPU, and four times as fast there.
    alike = native_ctc if scores.device.type == "cpu" else plain_ctc
    return alike(scores, lengths, tokens, token_lengths, blank_id)


def why_not_fused(
    scores: Float[Tensor, "batch steps scores"], tokens: Int[Tensor, "batch tokens"]
) -> str:
    """Return why the kernels cannot take these, or nothing if they can.

    What they cannot take is computed in plain torch, with the same result.
    """
    batch, steps, _ = scores.shape
    if not scores.is_cuda:
        return f"the kernels need CUDA; the scores are on {scores.device.type}"
    if reason := why_no_triton():
        return reason
    if (found := torch.cuda.get_device_capability(scores.device)) < (8, 0):
        return f"the kernels need compute capability 8.0; this GPU has {found[0]}.{found[1]}"
    if scores.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"the kernels take FP32, BF16 and FP16; found {scores.dtype}"
    if steps > STEPS or tokens.shape[1] > TOKENS or batch >= 2**16:
        sizes = f"{batch} x {steps}, {tokens.shape[1]} tokens"
        return f"the kernels take {STEPS} steps, {TOKENS} tokens, 65535 utterances; found {sizes}"
    return ""


@cache
def why_no_triton() -> str:
    """Return why the kernels cannot be compiled, or nothing if they can."""
    try:
        found = version("triton")
    except PackageNotFoundError:
        return "the kernels need triton, which is not installed"
    return "" if Version(found) >= Version("3.4") else f"the kernels need triton 3.4; found {found}"


def check(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    blank_id: int,
) -> None:
    """Raise ValueError where a length or a token is none."""
    for name, found, most in (
        ("length", lengths, scores.shape[1]),
        ("token length", token_lengths, tokens.shape[1]),
    ):
        if len(found) and not 0 <= int(found.min()) <= int(found.max()) <= most:
            message = f"a {name} must be from 0 to {most}; found {found.tolist()}"
            raise ValueError(message)
    inside = torch.arange(tokens.shape[1], device=tokens.device) < token_lengths[:, None]
    wrong = inside & ((tokens < 0) | (tokens >= scores.shape[2]) | (tokens == blank_id))
    if bool(wrong.any()):
        bound, token = scores.shape[2] - 1, int(tokens[wrong][0])
        message = f"a token must be from 0 to {bound} and not the blank {blank_id}; found {token}"
        raise ValueError(message)
