"""The transducer losses on a GPU: tiles of logits that are never stored, and no atomics.

Every chunk of the lattice's cells (`transducer_chunks`) has its activations written once; tiles of
its logits are reduced in registers to what the lattice needs. Backward, logits are computed once
more, their gradients written in the operands' type for the chunk, and multiplied by the library.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr_lab.losses import transducer_joint_triton as joint
from asr_lab.losses import transducer_lattice_triton as lattice
from asr_lab.losses import transducer_sums_triton as sums
from asr_lab.losses.transducer_chunks import ROWS, SCORED_ROWS, Sizes
from asr_lab.losses.transducer_layout_triton import Layout, layout
from asr_lab.losses.transducer_plain import Operands, Texts
from asr_lab.losses.transducer_rows import Kept, all_rows, keep
from asr_lab.losses.transducer_settings import TransducerSettings
from asr_lab.losses.transducer_weight import TAIL, Joint, prepare
from asr_lab.losses.triton_launch import Repeated

SCORES = 1088
"""Scores up to which a chunk has `ROWS` rows; with more it has fewer."""
ACTIVATE = 64
"""Rows of a program that writes activations."""
SUMMED = 4096
"""Utterances times positions up to which their sums over steps are split, for more programs."""


class Lattice(NamedTuple):
    """Log probabilities by anti-diagonal, and each row's normaliser."""

    blank: Tensor
    token: Tensor
    duration: Tensor
    normaliser: Float[Tensor, " rows"]


class Occupancy(NamedTuple):
    """How probable each row's emissions are in a path."""

    blank: Float[Tensor, " rows"]
    token: Float[Tensor, " rows"]
    duration: Float[Tensor, "rows durations"]
    bounds: Float[Tensor, " rows"]
    """What the gradient in a row's logits cannot exceed; empty where nobody asks."""


@dataclass(frozen=True)
class Pass:
    """What both passes over the rows need."""

    projected: Float[Tensor, "batch steps hidden"]
    predicted: Float[Tensor, "batch positions hidden"]
    joint: Joint
    places: Layout
    settings: TransducerSettings
    kept: Kept | None = None
    """The rows that are computed backward; None for all."""

    @property
    def steps(self) -> int:
        """Return the steps of the padded batch."""
        return self.projected.shape[1]

    @property
    def positions(self) -> int:
        """Return the positions of the padded batch."""
        return self.predicted.shape[1]

    @property
    def hidden(self) -> int:
        """Return the width of the joint."""
        return self.projected.shape[2]

    def new(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return an uninitialised tensor on the device."""
        return self.projected.new_empty(shape, dtype=dtype)

    def buffers(self, capacity: int) -> tuple[Tensor, Tensor]:
        """Return room for the activations of some rows and their logits in the tail."""
        weight = self.joint.weight
        active = self.new(capacity, weight.shape[1], dtype=weight.dtype)
        return active, self.new(capacity if self.joint.tail else 0, TAIL)

    def activate(self, active: Tensor, tail_logits: Tensor) -> Callable[[int, int], None]:
        """Return what fills these buffers, given the first row and how many."""
        one = self.joint
        pitch = active.shape[1]
        # Logits in the tail want a row's every column; else there are more programs, of 64 each.
        span = pitch if one.tail else 64
        kernel = Repeated(
            joint.activate, self.projected, self.predicted, self.places.cells, active,
            one.weight[one.main :], tail_logits, self.steps, self.positions, self.hidden,
            PITCH=pitch, TANH=one.tanh, TAIL=one.tail, PRECISION=one.precision, SPAN=span,
            ROWS=ACTIVATE, COLUMNS=64, num_warps=4,
        )  # fmt: skip

        def fill(first: int, count: int) -> None:
            kernel(triton.cdiv(count, ACTIVATE) * (pitch // span), first, count)

        return fill


def whole(rows: int) -> int:
    """Return the rows of a buffer for these: whole tiles."""
    return -(-rows // 128) * 128


def score(work: Pass) -> Lattice:
    """Return what the lattice needs of all logits."""
    one, settings, places = work.joint, work.settings, work.places
    batch, rows = len(work.projected), len(places.cells)
    plane = batch * (work.steps + work.positions - 1) * work.positions
    durations = len(settings.durations)
    found = Lattice(work.new(plane), work.new(plane), work.new(durations * plane), work.new(rows))
    capacity = whole(min(rows, SCORED_ROWS))
    active, tail_logits = work.buffers(capacity)
    tiles = one.main // one.tiles.columns
    maxima, totals = work.new(tiles, capacity), work.new(tiles, capacity)
    blanks, tokens = work.new(capacity), work.new(capacity)
    activate = work.activate(active, tail_logits)
    score_tiles = Repeated(
        joint.score_tiles, active, one.weight, one.bias, places.labels, maxima, totals, blanks,
        tokens, capacity, tiles, settings.blank_id, **one.shape,
    )  # fmt: skip
    normalise = Repeated(
        joint.normalise, places.cells, places.labels, maxima, totals, blanks, tokens, tail_logits,
        one.bias[one.main :], found.normaliser, found.blank, found.token, found.duration, capacity,
        work.steps, work.positions, plane, one.main, settings.blank_id, TILES=tiles, TAIL=one.tail,
        DURATIONS=durations, ROWS=128,
    )  # fmt: skip
    for first in range(0, rows, SCORED_ROWS):
        count = min(rows - first, SCORED_ROWS)
        activate(first, count)
        score_tiles(triton.cdiv(count, one.tiles.rows) * tiles, first, count)
        normalise(triton.cdiv(count, 128), first, count)
    return found


def walk(work: Pass, found: Lattice, *, backward: bool) -> tuple[Tensor, Occupancy | None]:
    """Return the utterances' log likelihoods, -1e30 at the least, and what the gradient needs."""
    settings, places, batch = work.settings, work.places, len(work.projected)
    durations, choice = settings.durations or (0, 1), bool(settings.durations)
    plane = found.blank.numel()
    alpha = work.new(plane, dtype=torch.float64)
    beta = work.new(plane if backward else 0, dtype=torch.float64)
    likelihood = work.new(batch, dtype=torch.float64)
    width = triton.next_power_of_2(work.positions)
    lattice.walk[(batch, 1 + backward)](
        found.blank, found.token, found.duration, alpha, beta, likelihood, places.lengths,
        places.widths, work.steps, work.positions, plane, settings.sigma, DURATIONS=durations,
        CHOICE=choice, PLACES=width, num_warps=min(max(width // 32, 1), 16), num_stages=1,
    )  # fmt: skip
    if not backward:
        return likelihood, None
    rows, bound = len(places.cells), bool(settings.gradient_bound)
    taken = Occupancy(
        work.new(rows), work.new(rows), work.new(rows, len(settings.durations)),
        work.new(rows if bound else 0),
    )  # fmt: skip
    lattice.occupy[(triton.cdiv(rows, 256),)](
        found.blank, found.token, found.duration, alpha, beta, likelihood, places.lengths,
        places.widths, places.cells, *taken, rows, work.steps, work.positions, plane,
        settings.sigma, 1.0 + settings.fast_emit, DURATIONS=durations, CHOICE=choice,
        BOUND=bound, ROWS=256,
    )  # fmt: skip
    return likelihood, taken


def thinned(
    work: Pass, normaliser: Tensor, taken: Occupancy, most: int
) -> tuple[Pass, Tensor, Occupancy]:
    """Leave the rows out that the settings let; groups have up to `most` rows."""
    places, part = work.places, work.settings.gradient_bound
    if not part:
        return work, normaliser, taken
    kept = keep(taken.bounds, places.chunks, part, most)
    rows = kept.numbers
    fewer = places._replace(cells=places.cells[rows], labels=places.labels[rows])
    of_rows = Occupancy(*(one[rows] for one in taken))
    return replace(work, places=fewer, kept=kept), normaliser[rows], of_rows


def gradients(work: Pass, normaliser: Tensor, taken: Occupancy, scale: Tensor) -> Operands:
    """Return the gradients in the operands, times `scale`; FP32 but for that in `projected`."""
    one, places = work.joint, work.places
    groups_of_rows = work.kept.groups if work.kept else all_rows(places.chunks)
    capacity = whole(max(group.rows for group in groups_of_rows))
    active, tail_logits = work.buffers(capacity)
    gradient = work.new(capacity, one.main + one.tail, dtype=active.dtype)
    groups = max(min(SUMMED // (len(work.predicted) * work.positions), 8), 1)
    of_projected = torch.zeros_like(work.projected)
    of_predicted = work.new(groups, *work.predicted.shape).zero_()
    of_weight = torch.zeros_like(one.weight, dtype=torch.float32)
    bias_parts = torch.zeros_like(gradient[: capacity // one.tiles.rows], dtype=torch.float32)
    activate = work.activate(active, tail_logits)
    differentiate = differentiation(
        work, (active, tail_logits), normaliser, taken, (gradient, bias_parts)
    )
    add_sums, blocks = summation(work, active, (of_projected, of_predicted), scale)
    with exact_products(active.dtype):
        for first, count, numbers in groups_of_rows:
            activate(first, count)
            for kernel, tiles in differentiate:
                kernel(triton.cdiv(count, one.tiles.rows) * tiles, first, count)
            known, used = gradient[:count], active[:count]
            of_weight = add_product(of_weight, known.T, used)
            # The gradient in the activations takes their place: they are no longer needed.
            torch.mm(known, one.weight, out=used)
            for number in numbers:
                chunk = places.chunks[number]
                add_sums(
                    len(chunk.utterances) * groups * blocks, number * len(work.projected),
                    chunk.utterances.start, chunk.first_step, chunk.span, first,
                )  # fmt: skip
    return Operands(
        of_projected,
        of_predicted.sum(0).mul_(scale) if groups > 1 else of_predicted[0].mul_(scale),
        one.of_scores(of_weight)[:, : work.hidden] * scale,
        one.of_scores(bias_parts.sum(0)) * scale,
    )


def differentiation(
    work: Pass,
    logits: tuple[Tensor, Tensor],
    normaliser: Tensor,
    taken: Occupancy,
    found: tuple[Tensor, Tensor],
) -> list[tuple[Repeated, int]]:
    """Return the kernels that fill a chunk's gradient in its logits, and their tiles a row."""
    one, places, settings = work.joint, work.places, work.settings
    active, tail_logits = logits
    pitch, tiles = one.main + one.tail, one.main // one.tiles.columns
    in_tiles = Repeated(
        joint.differentiate, active, one.weight, one.bias, places.labels, normaliser, taken.blank,
        taken.token, *found, pitch, tiles, settings.blank_id, **one.shape,
    )  # fmt: skip
    in_tail = Repeated(
        joint.differentiate_tail, tail_logits, one.bias[one.main :], places.labels, normaliser,
        *taken[:3], *found, pitch, one.main, settings.blank_id, TAIL=one.tail,
        DURATIONS=len(settings.durations), ROWS=one.tiles.rows,
    )  # fmt: skip
    return [(in_tiles, tiles), (in_tail, 1)] if one.tail else [(in_tiles, tiles)]


def summation(
    work: Pass, of_active: Tensor, found: tuple[Tensor, Tensor], scale: Tensor
) -> tuple[Repeated, int]:
    """Return the kernel that sums a chunk's gradient in the activations, and its column blocks."""
    of_projected, of_predicted = found
    groups, batch = of_predicted.shape[:2]
    positions = triton.next_power_of_2(work.positions)
    # 32 values a thread, of 512 at most, that more would not leave registers for.
    columns = min(max(32768 // (positions * of_active.element_size()), 4), 32)
    warps = min(max(positions * columns // 1024, 1), 16)
    kernel = Repeated(
        sums.sum_gradients, of_active, work.projected, work.predicted, work.places.starts,
        work.places.lengths, work.places.widths, scale,
        work.kept.place if work.kept else work.places.cells, of_projected, of_predicted, batch,
        work.steps, work.positions, work.hidden, groups, PITCH=of_active.shape[1],
        TANH=work.joint.tanh, SPARSE=work.kept is not None, PLACES=positions,
        COLUMNS=columns, num_warps=warps,
    )  # fmt: skip
    return kernel, triton.cdiv(work.hidden, columns)


def add_product(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return total + left @ right, summed in FP32."""
    if left.is_cuda and left.dtype != torch.float32:
        return torch.addmm(total, left, right, out_dtype=torch.float32)
    return total.addmm_(left.float(), right.float())


@contextmanager
def exact_products(dtype: torch.dtype) -> Iterator[None]:
    """Keep FP32 products from being shortened to TF32: a loss is FP32 or better."""
    if dtype != torch.float32:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


NOTHING = (None,) * 4
"""The gradients in what has none."""


class FusedTransducer(torch.autograd.Function):
    """The sum of the losses; keeps four numbers a cell for its backward pass."""

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
        sizes: Sizes,
    ) -> Float[Tensor, ""]:
        one = prepare(weight.detach(), bias.detach(), settings, rounding)
        most = max(min(ROWS, ROWS * SCORES // len(one.weight)), 16)
        places = layout(texts.tokens, sizes, projected.shape[1], predicted.shape[1], most)
        work = Pass(
            projected.detach().to(rounding).contiguous(),
            predicted.detach().to(rounding).contiguous(),
            one,
            places,
            settings,
        )
        if not places.chunks:
            ctx.empty = (projected, predicted, weight, bias)
            return projected.new_zeros((), dtype=torch.float32)
        with torch.cuda.device_of(projected):
            found = score(work)
            likelihood, taken = walk(work, found, backward=any(ctx.needs_input_grad[:4]))
            if taken is not None:
                work, normaliser, taken = thinned(work, found.normaliser, taken, most)
                inputs = (projected, predicted, weight, bias)
                ctx.save_for_backward(*inputs, normaliser, *taken[:3])
                ctx.work = work
        losses = torch.where(likelihood < -1e29, 0, -likelihood)
        return losses.sum().float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sum: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        if hasattr(ctx, "empty"):
            return (*(torch.zeros_like(one) for one in ctx.empty), *NOTHING)
        *inputs, normaliser, blank, token, duration = ctx.saved_tensors
        with torch.autocast(of_sum.device.type, enabled=False):
            found = gradients(
                ctx.work, normaliser, Occupancy(blank, token, duration, duration), of_sum
            )
        return (
            *(one.to(to.dtype) for one, to in zip(found, inputs, strict=True)),
            *NOTHING,
        )


def fused_transducer(
    inputs: Operands,
    texts: Texts,
    settings: TransducerSettings,
    rounding: torch.dtype,
    sizes: Sizes,
) -> Float[Tensor, ""]:
    """Return the sum of the utterances' losses in nats; an impossible text adds 0.

    `sizes` are the lengths of `texts`, known to the host.
    """
    apply: Callable[..., Tensor] = FusedTransducer.apply
    return apply(*inputs, texts, settings, rounding, sizes)
