"""The transducer losses in plain torch, a block of steps at a time: for any device, and tested."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr_lab.losses.transducer_lattice import edge_scores, log_likelihood, posteriors
from asr_lab.losses.transducer_settings import TransducerSettings
from asr_lab.losses.transducer_sparse import cell_bounds, kept_cells

CELLS = 4096
"""Cells of the lattice whose logits are held at a time: 16 MiB in FP32 at 1024 scores."""


class Operands(NamedTuple):
    """What the joint is computed of, detached and in the precision of the computation."""

    projected: Float[Tensor, "batch steps hidden"]
    predicted: Float[Tensor, "batch positions hidden"]
    weight: Float[Tensor, "scores hidden"]
    bias: Float[Tensor, " scores"]


class Texts(NamedTuple):
    """Lengths and tokens; an utterance that does not count has no steps."""

    lengths: Int[Tensor, " batch"]
    tokens: Int[Tensor, "batch tokens"]
    token_lengths: Int[Tensor, " batch"]


class Block(NamedTuple):
    """Some steps of one utterance."""

    row: int
    steps: slice
    positions: int
    before: Float[Tensor, "steps positions hidden"]
    """What the activation is taken of."""
    active: Float[Tensor, "steps positions hidden"]
    logits: Float[Tensor, "steps positions scores"]


class Planes(NamedTuple):
    """Log probabilities of what every cell may emit."""

    blank: Float[Tensor, "batch steps positions"]
    token: Float[Tensor, "batch steps positions"]
    duration: Float[Tensor, "durations batch steps positions"]


def blocks(
    operands: Operands, texts: Texts, settings: TransducerSettings, rounding: torch.dtype
) -> Iterator[Block]:
    """Yield the joint of each utterance within its lengths; activations rounded to `rounding`."""
    lengths, token_lengths = texts.lengths.tolist(), texts.token_lengths.tolist()
    for row, (steps, count) in enumerate(zip(lengths, token_lengths, strict=True)):
        width = max(CELLS // (count + 1), 1)
        for start in range(0, steps, width):
            chosen = slice(start, min(start + width, steps))
            one = operands.projected[row, chosen, None]
            before = one + operands.predicted[row, None, : count + 1]
            active = before.relu() if settings.activation == "relu" else before.tanh()
            active = active.to(rounding).to(before.dtype)
            logits = active @ operands.weight.T + operands.bias
            yield Block(row, chosen, count + 1, before, active, logits)


def score(
    operands: Operands, texts: Texts, settings: TransducerSettings, rounding: torch.dtype
) -> Planes:
    """Return the log probabilities of all cells; 0 outside an utterance."""
    shape = (*operands.projected.shape[:2], operands.predicted.shape[1])
    durations = len(settings.durations)
    blank = operands.projected.new_zeros(shape)
    token, duration = torch.zeros_like(blank), blank.new_zeros((durations, *shape))
    for block in blocks(operands, texts, settings, rounding):
        place = (block.row, block.steps, slice(block.positions))
        log_probs = block.logits[..., : settings.blank_id + 1].log_softmax(-1)
        blank[place] = log_probs[..., settings.blank_id]
        spoken = texts.tokens[block.row, : block.positions - 1].long()
        chosen = spoken.expand(len(log_probs), -1)[..., None]
        token[place][:, :-1] = log_probs[:, :-1].gather(-1, chosen)[..., 0]
        if durations:
            of_durations = block.logits[..., settings.blank_id + 1 :].log_softmax(-1)
            duration[:, block.row, block.steps, : block.positions] = of_durations.movedim(-1, 0)
    return Planes(blank, token, duration)


def logit_gradients(
    block: Block,
    spoken: Int[Tensor, " tokens"],
    taken: Float64[Tensor, "edges steps positions"],
    settings: TransducerSettings,
) -> Float[Tensor, "steps positions scores"]:
    """Return the gradient of the loss in the block's logits: what was expected less what is wanted.

    `taken` are the probabilities of the edges; those of tokens are hastened here.
    """
    found = block.logits
    kinds = torch.tensor([edge.tokens for edge in settings.edges], device=found.device)
    hastened = (
        taken.to(found.dtype) * (1 + settings.fast_emit * kinds.to(found.dtype))[:, None, None]
    )
    tokens = settings.blank_id + 1
    parts = found.split([tokens, len(settings.durations)], -1)
    gradient = torch.cat([part.softmax(-1) for part in parts], -1)
    gradient *= hastened.sum(0)[..., None]
    gradient[..., settings.blank_id] -= hastened[kinds == 0].sum(0)
    chosen = spoken.long().expand(len(found), -1)[..., None]
    # One token per position: an addition without collisions.
    gradient[:, :-1].scatter_add_(-1, chosen, -hastened[kinds == 1].sum(0)[:, :-1, None])
    for one, edge in zip(hastened, settings.edges, strict=True):
        if edge.duration >= 0:
            gradient[..., tokens + edge.duration] -= one
    return gradient


def gradients(
    operands: Operands,
    texts: Texts,
    taken: Float64[Tensor, "edges batch steps positions"],
    settings: TransducerSettings,
    rounding: torch.dtype,
) -> Operands:
    """Return the gradients of the summed loss in all operands; logits are computed once more."""
    found = Operands(*(torch.zeros_like(one) for one in operands))
    for block in blocks(operands, texts, settings, rounding):
        spoken = texts.tokens[block.row, : block.positions - 1]
        edges = taken[:, block.row, block.steps, : block.positions]
        of_logits = logit_gradients(block, spoken, edges, settings)
        of_active = of_logits @ operands.weight
        if settings.activation == "relu":
            of_active *= block.before > 0
        else:
            of_active *= 1 - block.before.tanh() ** 2
        found.projected[block.row, block.steps] = of_active.sum(1)
        found.predicted[block.row, : block.positions] += of_active.sum(0)
        flat = of_logits.flatten(0, 1)
        found.weight.addmm_(flat.T, block.active.flatten(0, 1))
        found.bias.add_(flat.sum(0))
    return found


class PlainTransducer(torch.autograd.Function):
    """The sum of the losses; holds the lattice of the batch, and the logits of one block."""

    @staticmethod
    def forward(  # noqa: D102
        ctx: Any,  # noqa: ANN401
        projected: Float[Tensor, "batch steps hidden"],
        predicted: Float[Tensor, "batch positions hidden"],
        weight: Float[Tensor, "scores hidden"],
        bias: Float[Tensor, " scores"],
        texts: Texts,
        settings: TransducerSettings,
        rounding: torch.dtype,
    ) -> Float[Tensor, ""]:
        inputs = Operands(projected, predicted, weight, bias)
        operands = _precise(inputs, rounding)
        with torch.autocast(projected.device.type, enabled=False):
            planes = score(operands, texts, settings, rounding)
            edges = edge_scores(*planes, texts.lengths, texts.token_lengths, settings)
            if any(ctx.needs_input_grad[:4]):
                total, taken = posteriors(edges, texts.lengths, texts.token_lengths, settings)
                if settings.gradient_bound:
                    bounds = cell_bounds(*planes, taken, settings)
                    taken *= kept_cells(bounds, texts.lengths, texts.token_lengths, settings)
                ctx.save_for_backward(*inputs, *texts, taken)
                ctx.settings, ctx.rounding = settings, rounding
            else:
                total = log_likelihood(edges, texts.lengths, texts.token_lengths, settings)
        losses = torch.where(total.isneginf(), 0, -total)
        return losses.sum().to(operands.projected.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sum: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        *saved, taken = ctx.saved_tensors
        inputs, texts = Operands(*saved[:4]), Texts(*saved[4:])
        with torch.autocast(of_sum.device.type, enabled=False):
            operands = _precise(inputs, ctx.rounding)
            found = gradients(operands, texts, taken, ctx.settings, ctx.rounding)
        scaled = ((of_sum * one).to(to.dtype) for one, to in zip(found, inputs, strict=True))
        return (*scaled, None, None, None)


def _precise(inputs: Operands, rounding: torch.dtype) -> Operands:
    """Return the operands as the joint sees them: rounded, then in FP32 or better."""
    precise = torch.promote_types(inputs.projected.dtype, torch.float32)
    rounded = (one.detach().to(rounding).to(precise) for one in inputs[:3])
    projected, predicted, weight = rounded
    return Operands(projected, predicted, weight, inputs.bias.detach().to(precise))


def plain_transducer(
    inputs: Operands, texts: Texts, settings: TransducerSettings, rounding: torch.dtype
) -> Float[Tensor, ""]:
    """Return the sum of the utterances' losses in nats; an impossible text adds 0.

    Operands and activations are rounded to `rounding`, and multiplied in FP32 or better.
    """
    apply: Callable[..., Tensor] = PlainTransducer.apply
    total = apply(*inputs, texts, settings, rounding)
    return total
