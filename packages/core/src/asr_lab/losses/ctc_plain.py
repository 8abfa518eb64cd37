"""CTC by torch's own functions: for any device, deterministic, and tested.

Torch's gradient scatters with atomics on a GPU, its forward pass does not. In FP64 that gives the
sums over paths to each state, and on reversed utterances those from each state to the end. On the
CPU torch's gradient is deterministic, too, and is taken as it is: in FP32, four times as fast.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor
from torch.nn import functional as F

from asr_lab.losses.ctc_lattice import lattice

LogProbs = Float64[Tensor, "batch steps scores"]
Sums = Float64[Tensor, "batch steps states"]
Lengths = Int64[Tensor, " batch"]
Tokens = Int64[Tensor, "batch tokens"]


def paths(
    log_probs: Float[Tensor, "batch steps scores"],
    lengths: Lengths,
    tokens: Tokens,
    token_lengths: Lengths,
    blank_id: int,
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch steps states"]]:
    """Return losses, and the log probability of all paths to each state, its emission included."""
    by_step = log_probs.transpose(0, 1)
    found: tuple[Tensor, Tensor] = torch.ops.aten._ctc_loss.Tensor(
        by_step, tokens, lengths, token_lengths, blank_id, False
    )
    return found


def reversal(size: int, lengths: Lengths) -> Int64[Tensor, "batch size"]:
    """Return indices that reverse the first places of each row and keep those behind."""
    index = torch.arange(size, device=lengths.device)
    return torch.where(index < lengths[:, None], lengths[:, None] - 1 - index, index)


def paths_onward(
    log_probs: LogProbs, lengths: Lengths, tokens: Tokens, token_lengths: Lengths, blank_id: int
) -> Sums:
    """Return the log probability of all paths from each state to the end, it included."""
    _, steps, scores = log_probs.shape
    time = reversal(steps, lengths)[:, :, None]
    turned = log_probs.gather(1, time.expand(-1, -1, scores))
    spoken = tokens.gather(1, reversal(tokens.shape[1], token_lengths))
    _, sums = paths(turned, lengths, spoken, token_lengths, blank_id)
    states = sums.shape[2]
    place = reversal(states, 2 * token_lengths + 1)[:, None]
    return sums.gather(1, time.expand(-1, -1, states)).gather(2, place.expand(-1, steps, -1))


def occupancy(
    log_probs: LogProbs,
    lengths: Lengths,
    tokens: Tokens,
    token_lengths: Lengths,
    blank_id: int,
    sums: Sums,
) -> Float64[Tensor, "batch steps scores"]:
    """Return how probable each score is at each step, in paths that say the text."""
    steps, scores = log_probs.shape[1:]
    labels, _ = lattice(tokens, token_lengths, blank_id)
    onward = paths_onward(log_probs, lengths, tokens, token_lengths, blank_id)
    # Torch drops tokens that no text of the batch has.
    labels = labels[:, : sums.shape[2]]
    emitted = log_probs.gather(2, labels[:, None].expand(-1, steps, -1))
    state = torch.arange(labels.shape[1], device=labels.device)
    possible = (state <= 2 * token_lengths[:, None])[:, None] & ~emitted.isneginf()
    # Both contain the step's emission. Normalised here, errors of the whole path cancel.
    within = torch.where(possible, sums + onward - emitted, -torch.inf).softmax(2)
    found = within[:, :, 1::2] @ F.one_hot(labels[:, 1::2], scores).double()
    found[:, :, blank_id] += within[:, :, ::2].sum(2)
    return found


class PlainCTC(torch.autograd.Function):
    """The losses by two forward passes in FP64; infinite without a path, without a gradient."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,  # noqa: ANN401
        scores: Float[Tensor, "batch steps scores"],
        lengths: Lengths,
        tokens: Tokens,
        token_lengths: Lengths,
        blank_id: int,
    ) -> Float[Tensor, " batch"]:
        log_probs = scores.detach().double().log_softmax(-1)
        text = (lengths, tokens, token_lengths, blank_id)
        losses, sums = paths(log_probs, *text)
        if ctx.needs_input_grad[0]:
            index = torch.arange(scores.shape[1], device=scores.device)
            wanted = (index < lengths[:, None]) & ~losses.isposinf()[:, None]
            gradient = log_probs.exp() - occupancy(log_probs, *text, sums)
            gradient = torch.where(wanted[:, :, None], gradient, 0)
            ctx.save_for_backward(gradient.to(precise(scores)))
            ctx.dtype = scores.dtype
        return losses.to(precise(scores))

    @staticmethod
    def backward(ctx: Any, of_losses: Float[Tensor, " batch"]) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        refuse_second_derivative()
        (gradient,) = ctx.saved_tensors
        scale = of_losses[:, None, None]
        # What does not count may hold anything, NaN too.
        found = torch.where(scale == 0, 0, gradient * scale)
        return found.to(ctx.dtype), None, None, None, None


class NativeCTC(torch.autograd.Function):
    """The same by torch's gradient, which is that in the scores, not in their logarithms."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,  # noqa: ANN401
        scores: Float[Tensor, "batch steps scores"],
        lengths: Lengths,
        tokens: Tokens,
        token_lengths: Lengths,
        blank_id: int,
    ) -> Float[Tensor, " batch"]:
        log_probs = scores.detach().to(precise(scores)).log_softmax(-1)
        losses, sums = paths(log_probs, lengths, tokens, token_lengths, blank_id)
        ctx.save_for_backward(log_probs, tokens, lengths, token_lengths, losses, sums)
        ctx.blank_id, ctx.dtype = blank_id, scores.dtype
        return losses

    @staticmethod
    def backward(ctx: Any, of_losses: Float[Tensor, " batch"]) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        refuse_second_derivative()
        log_probs, *others = ctx.saved_tensors
        log_probs = log_probs.transpose(0, 1)
        found = torch.ops.aten._ctc_loss_backward.Tensor(
            of_losses, log_probs, *others, ctx.blank_id, True
        )
        # Torch's is NaN at scores of minus infinity, and where NaN does not count. Both are rare.
        if not log_probs.min() > -torch.inf:
            found.masked_fill_(log_probs.isneginf(), 0)
        if (nothing := of_losses == 0).any():
            found.masked_fill_(nothing[:, None], 0)
        return found.transpose(0, 1).to(ctx.dtype), None, None, None, None


def refuse_second_derivative() -> None:
    """Raise RuntimeError in a backward pass that is to be differentiated itself."""
    if torch.is_grad_enabled():
        raise RuntimeError("the CTC loss has no second derivative; found create_graph=True")


def precise(scores: Float[Tensor, "batch steps scores"]) -> torch.dtype:
    """Return the precision of losses of these scores."""
    return torch.promote_types(scores.dtype, torch.float32)


def plain_ctc(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    blank_id: int,
) -> Float[Tensor, " batch"]:
    """Return each utterance's loss in nats; infinite without a path, and then without gradient."""
    apply: Callable[..., Tensor] = PlainCTC.apply
    spoken = within(tokens, token_lengths)
    return apply(scores, lengths.long(), spoken, token_lengths.long(), blank_id)


def native_ctc(
    scores: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    blank_id: int,
) -> Float[Tensor, " batch"]:
    """Return the same, deterministic on the CPU alone."""
    apply: Callable[..., Tensor] = NativeCTC.apply
    spoken = within(tokens, token_lengths)
    return apply(scores, lengths.long(), spoken, token_lengths.long(), blank_id)


def within(tokens: Int[Tensor, "batch tokens"], token_lengths: Int[Tensor, " batch"]) -> Tokens:
    """Return the tokens with 0 in place of padding, which torch would look up as well."""
    index = torch.arange(tokens.shape[1], device=tokens.device)
    return tokens.long().masked_fill(index >= token_lengths[:, None], 0)
