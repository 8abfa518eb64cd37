"""CTC on a GPU in three kernels: no atomics, nothing read by the host, fit for CUDA graphs.

The first reads the scores once and keeps of them what the texts need; the second walks the lattice
forward and backward at the same time, and the third reads the scores again to write the gradient.
Sizes of blocks follow from the numbers of scores and tokens alone, so that results repeat bit by
bit, and kernels are compiled for no number of steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Float, Int, Int32
from torch import Tensor

from asr_lab.losses import ctc_gradient_triton, ctc_lattice_triton
from asr_lab.losses.ctc_plain import refuse_second_derivative

ROWS = 4
"""Steps of a program that reads scores."""
SPAN = 2048
"""Scores that a program holds at a time, of each of its steps."""
CHUNK = 128
"""Steps whose normalisers are summed at a time."""
WARPS = 4
"""Of a program that reads scores or writes their gradients."""
WALKING = {32: 1, 64: 1, 128: 4, 256: 8, 512: 8, 1024: 16, 2048: 16}
"""Warps of a walk, by places. More do a step sooner, but must wait for each other; one need not."""


class Texts(NamedTuple):
    """Lengths, in steps, and tokens with theirs."""

    lengths: Int[Tensor, " batch"]
    tokens: Int[Tensor, "batch tokens"]
    counts: Int[Tensor, " batch"]


class Steps(NamedTuple):
    """What is kept of a step's scores: for softmax, and of blank and tokens by themselves."""

    maxima: Float[Tensor, "batch steps"]
    totals: Float[Tensor, "batch steps"]
    """Sums of exponentials of scores less the maximum."""
    mantissas: Float[Tensor, "batch steps places"]
    exponents: Int32[Tensor, "batch steps places"]


class Walks(NamedTuple):
    """Sums over paths to each state and from it on, and the order of the tokens by id."""

    forward: Float[Tensor, "batch steps states"]
    forward_powers: Int32[Tensor, "batch steps states"]
    backward: Float[Tensor, "batch steps states"]
    backward_powers: Int32[Tensor, "batch steps states"]
    order: Int32[Tensor, "batch tokens"]


def places(tokens: int) -> int:
    """Return how many places a program has for blanks, of which there is one more than tokens."""
    return max(int(triton.next_power_of_2(tokens + 1)), 32)


def read(scores: Float[Tensor, "batch steps scores"], texts: Texts, blank_id: int) -> Steps:
    """Reduce every step's scores to what the lattice needs."""
    batch, steps, width = *scores.shape[:2], texts.tokens.shape[1]
    shapes = [(batch, steps)] * 2 + [(batch, steps, width + 1)]
    maxima, totals, mantissas = (scores.new_empty(one, dtype=torch.float32) for one in shapes)
    found = Steps(maxima, totals, mantissas, torch.empty_like(mantissas, dtype=torch.int32))
    # Long texts leave registers for one step at a time.
    rows = ROWS if width < 512 else 1
    ctc_lattice_triton.emit[triton.cdiv(steps, rows), batch](
        scores, *texts, *found, steps, width, *scores.stride()[:2], blank_id,
        SCORES=scores.shape[2], SPAN=min(SPAN, triton.next_power_of_2(scores.shape[2])),
        PLACES=places(width), ROWS=rows, num_warps=WARPS,
    )  # fmt: skip
    return found


def walk(kept: Steps, texts: Texts, both: bool) -> tuple[Float[Tensor, " batch"], Walks]:
    """Return each utterance's loss in nats and the sums over paths, `both` ways or forward only."""
    batch, steps, width = *kept.maxima.shape, texts.tokens.shape[1]
    losses = kept.maxima.new_empty(batch)
    forward = kept.maxima.new_empty(batch, steps, 2 * width + 1)
    powers = torch.empty_like(forward, dtype=torch.int32)
    backward, order = (forward, powers), powers.new_empty(batch, width)
    if both:
        backward = (torch.empty_like(forward), torch.empty_like(powers))
    found = Walks(forward, powers, *backward, order)
    ctc_lattice_triton.walk[batch, 3 if both else 1](
        kept.mantissas, kept.exponents, kept.totals, *texts, *found, losses, steps, width,
        PLACES=places(width), CHUNK=CHUNK, num_warps=WALKING[places(width)],
    )  # fmt: skip
    return losses, found


class FusedCTC(torch.autograd.Function):
    """The losses of the utterances; infinite without a path, and then without a gradient."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,  # noqa: ANN401
        scores: Float[Tensor, "batch steps scores"],
        lengths: Int[Tensor, " batch"],
        tokens: Int[Tensor, "batch tokens"],
        counts: Int[Tensor, " batch"],
        blank_id: int,
    ) -> Float[Tensor, " batch"]:
        scores = scores if scores.stride(-1) == 1 else scores.contiguous()
        texts = Texts(lengths.contiguous(), tokens.contiguous(), counts.contiguous())
        with torch.cuda.device_of(scores):
            kept = read(scores, texts, blank_id)
            losses, walks = walk(kept, texts, both=ctx.needs_input_grad[0])
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(scores, losses, *texts, kept.maxima, kept.totals, *walks)
            ctx.blank_id = blank_id
        return losses

    @staticmethod
    def backward(ctx: Any, of_losses: Float[Tensor, " batch"]) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        refuse_second_derivative()
        scores, losses, *others = ctx.saved_tensors
        batch, steps, count = scores.shape
        width = others[1].shape[1]
        gradient = scores.new_empty(scores.shape)
        with torch.cuda.device_of(scores):
            ctc_gradient_triton.differentiate[steps, batch](
                scores, gradient, of_losses.contiguous(), losses, *others, steps, width,
                *scores.stride()[:2], ctx.blank_id, SCORES=count,
                SPAN=min(SPAN, triton.next_power_of_2(count)), PLACES=places(width),
                num_warps=WARPS,
            )  # fmt: skip
        return gradient, None, None, None, None


def fused_ctc(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    blank_id: int,
) -> Float[Tensor, " batch"]:
    """Return each utterance's loss in nats; infinite without a path, and then without gradient."""
    apply: Callable[..., Tensor] = FusedCTC.apply
    losses = apply(scores, lengths, tokens, token_lengths, blank_id)
    return losses
