"""The transducer losses on a GPU: tiles of logits that are never stored, and no atomics.

Every chunk of the lattice's cells (`transducer_chunks`) has its activations written once; tiles of
its logits are reduced in registers to what the lattice needs. Backward, logits are computed once
more, their gradients written in the operands' type for the chunk, and multiplied by the library.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from asr_lab.losses import transducer_joint_triton as joint
from asr_lab.losses import transducer_lattice_triton as lattice
from asr_lab.losses import transducer_sums_triton as sums
from asr_lab.losses.transducer_chunks import ROWS, Chunk, Layout, layout
from asr_lab.losses.transducer_plain import Operands, Texts
from asr_lab.losses.transducer_settings import TransducerSettings

TAIL = 16
"""Scores behind the tiles that are cheap: the least width of a matrix product."""
SCORES = 1088
"""Scores up to which a chunk has `ROWS` rows; with more it has fewer."""
ACTIVATE = 64
"""Rows of a program that writes activations."""


class Tiles(NamedTuple):
    """Sizes of a tile of logits, pinned: the order of sums depends on them."""

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int


# 128 x 128 in FP32 is 64 registers a thread of 8 warps, and three stages of two 16 KiB operands
# are 96 KiB: two programs share a multiprocessor of Hopper, one's sums behind the other's products.
HALF = Tiles(128, 128, 64, 8, 3)
# FP32 operands are split in three TF32 products, which takes registers.
SINGLE = Tiles(64, 128, 32, 4, 2)


@dataclass(frozen=True)
class Joint:
    """The joint's weight in tiles and tail, padded, and what the kernels are told about it."""

    weight: Float[Tensor, "padded pitch"]
    """Rows of whole tiles, then those of the tail."""
    bias: Float[Tensor, " padded"]
    main: int
    """Scores in tiles; those of padding have a bias of -1e30."""
    tail: int
    """0 or `TAIL`."""
    scores: Int[Tensor, " scores"]
    """Place of every true score."""
    tiles: Tiles
    tanh: bool
    precision: str

    @property
    def shape(self) -> dict[str, Any]:
        """Return what fixes a tile of logits."""
        return {
            "PITCH": self.weight.shape[1],
            "PRECISION": self.precision,
            "ROWS": self.tiles.rows,
            "COLUMNS": self.tiles.columns,
            "INNER": self.tiles.inner,
            "num_warps": self.tiles.warps,
            "num_stages": self.tiles.stages,
        }


def prepare(
    weight: Float[Tensor, "scores hidden"],
    bias: Float[Tensor, " scores"],
    settings: TransducerSettings,
    dtype: torch.dtype,
) -> Joint:
    """Arrange the weight: durations and a few last tokens in the tail, all else in whole tiles."""
    tiles = SINGLE if dtype == torch.float32 else HALF
    tokens, durations = settings.blank_id + 1, len(settings.durations)
    main = tokens // tiles.columns * tiles.columns
    if not main or tokens - main + durations > TAIL:
        main = triton.cdiv(tokens, tiles.columns) * tiles.columns
    tail = TAIL if tokens > main or durations else 0
    pitch = triton.cdiv(weight.shape[1], 64) * 64
    in_tail = main - min(tokens, main)
    places = torch.arange(len(weight), device=weight.device)
    places = torch.where(places < tokens, places, places + in_tail)
    padded = weight.new_zeros((main + tail, pitch), dtype=dtype)
    padded[places, : weight.shape[1]] = weight.to(dtype)
    padded_bias = torch.full((main + tail,), -1e30, device=weight.device, dtype=torch.float32)
    padded_bias[places] = bias.float()
    precision = "tf32x3" if dtype == torch.float32 else "tf32"
    tanh = settings.activation == "tanh"
    return Joint(padded, padded_bias, main, tail, places, tiles, tanh, precision)


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


@dataclass(frozen=True)
class Pass:
    """What both passes over the chunks need."""

    projected: Float[Tensor, "batch steps hidden"]
    predicted: Float[Tensor, "batch positions hidden"]
    joint: Joint
    places: Layout
    lengths: Int[Tensor, " batch"]
    settings: TransducerSettings

    @property
    def capacity(self) -> int:
        """Return how many rows the buffers of a chunk have: whole tiles."""
        most = max((chunk.rows for chunk in self.places.chunks), default=0)
        return -(-most // 128) * 128

    @property
    def steps(self) -> int:
        """Return the steps of the padded batch."""
        return self.projected.shape[1]

    @property
    def positions(self) -> int:
        """Return the positions of the padded batch."""
        return self.predicted.shape[1]

    def new(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return an uninitialised tensor on the device."""
        return self.projected.new_empty(shape, dtype=dtype)

    def activations(self) -> tuple[Tensor, Tensor]:
        """Return buffers for a chunk's activations and its logits in the tail."""
        active = self.new(self.capacity, self.joint.weight.shape[1], dtype=self.joint.weight.dtype)
        return active, self.new(self.capacity, TAIL)

    def activate(self, chunk: Chunk, active: Tensor, tail_logits: Tensor) -> None:
        """Fill these buffers."""
        joint.activate[(triton.cdiv(chunk.rows, ACTIVATE),)](
            self.projected,
            self.predicted,
            self.places.cells,
            active,
            self.joint.weight[self.joint.main :],
            tail_logits,
            chunk.first,
            chunk.rows,
            self.steps,
            self.positions,
            self.projected.shape[2],
            PITCH=self.joint.weight.shape[1],
            TANH=self.joint.tanh,
            TAIL=self.joint.tail,
            PRECISION=self.joint.precision,
            ROWS=ACTIVATE,
            COLUMNS=64,
            num_warps=4,
        )


def score(work: Pass) -> Lattice:
    """Return what the lattice needs of all logits."""
    one, settings, places = work.joint, work.settings, work.places
    batch, rows = len(work.projected), len(places.cells)
    plane = batch * (work.steps + work.positions - 1) * work.positions
    durations = len(settings.durations)
    found = Lattice(work.new(plane), work.new(plane), work.new(durations * plane), work.new(rows))
    active, tail_logits = work.activations()
    tiles, capacity = one.main // one.tiles.columns, work.capacity
    maxima, totals = work.new(tiles, capacity), work.new(tiles, capacity)
    blanks, tokens = work.new(capacity), work.new(capacity)
    for chunk in places.chunks:
        work.activate(chunk, active, tail_logits)
        joint.score_tiles[(triton.cdiv(chunk.rows, one.tiles.rows) * tiles,)](
            active, one.weight, one.bias, places.labels, maxima, totals, blanks, tokens,
            chunk.first, chunk.rows, capacity, tiles, settings.blank_id, **one.shape,
        )  # fmt: skip
        joint.normalise[(triton.cdiv(chunk.rows, 128),)](
            places.cells, places.labels, maxima, totals, blanks, tokens, tail_logits,
            one.bias[one.main :], found.normaliser, found.blank, found.token, found.duration,
            chunk.first, chunk.rows, capacity, work.steps, work.positions, plane, one.main,
            settings.blank_id, TILES=tiles, TAIL=one.tail, DURATIONS=durations, ROWS=128,
        )  # fmt: skip
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
        found.blank, found.token, found.duration, alpha, beta, likelihood, work.lengths,
        places.widths, work.steps, work.positions, plane, settings.sigma, DURATIONS=durations,
        CHOICE=choice, PLACES=width, num_warps=min(max(width // 32, 1), 16), num_stages=1,
    )  # fmt: skip
    if not backward:
        return likelihood, None
    rows = len(places.cells)
    taken = Occupancy(work.new(rows), work.new(rows), work.new(rows, len(settings.durations)))
    lattice.occupy[(triton.cdiv(rows, 256),)](
        found.blank, found.token, found.duration, alpha, beta, likelihood, work.lengths,
        places.widths, places.cells, *taken, rows, work.steps, work.positions, plane,
        settings.sigma, 1.0 + settings.fast_emit, DURATIONS=durations, CHOICE=choice, ROWS=256,
    )  # fmt: skip
    return likelihood, taken


def gradients(work: Pass, normaliser: Tensor, taken: Occupancy, scale: Tensor) -> Operands:
    """Return the gradients in the operands, times `scale`; FP32 but for that in `projected`."""
    one, places = work.joint, work.places
    pitch = one.main + one.tail
    active, tail_logits = work.activations()
    gradient = work.new(work.capacity, pitch, dtype=active.dtype)
    of_active = torch.empty_like(active)
    of_projected = torch.zeros_like(work.projected)
    of_predicted = torch.zeros_like(work.predicted, dtype=torch.float32)
    of_weight = torch.zeros_like(one.weight, dtype=torch.float32)
    of_bias = torch.zeros_like(one.bias)
    parts = work.new(max(work.capacity // min(one.tiles.rows, 128), 1), pitch)
    for number, chunk in enumerate(places.chunks):
        work.activate(chunk, active, tail_logits)
        differentiate(work, chunk, (active, tail_logits), normaliser, taken, (gradient, parts))
        known = gradient[: chunk.rows]
        with exact_products(active.dtype):
            torch.mm(known, one.weight, out=of_active[: chunk.rows])
            of_weight = add_product(of_weight, known.T, active[: chunk.rows])
        of_bias += parts[: triton.cdiv(chunk.rows, one.tiles.rows)].sum(0)
        add_sums(work, chunk, number, of_active, (of_projected, of_predicted), scale)
    hidden = work.projected.shape[2]
    of_weight = of_weight[one.scores, :hidden] * scale
    return Operands(of_projected, of_predicted * scale, of_weight, of_bias[one.scores] * scale)


def differentiate(
    work: Pass,
    chunk: Chunk,
    logits: tuple[Tensor, Tensor],
    normaliser: Tensor,
    taken: Occupancy,
    found: tuple[Tensor, Tensor],
) -> None:
    """Fill a chunk's gradient in its logits, and the sums of its rows tile by tile."""
    one, places, settings = work.joint, work.places, work.settings
    active, tail_logits = logits
    pitch = one.main + one.tail
    tiles = one.main // one.tiles.columns
    parts = triton.cdiv(chunk.rows, one.tiles.rows)
    joint.differentiate[(parts * tiles,)](
        active, one.weight, one.bias, places.labels, normaliser, taken.blank, taken.token,
        *found, chunk.first, chunk.rows, pitch, tiles, settings.blank_id, **one.shape,
    )  # fmt: skip
    if one.tail:
        joint.differentiate_tail[(parts,)](
            tail_logits, one.bias[one.main :], places.labels, normaliser, *taken, *found,
            chunk.first, chunk.rows, pitch, one.main, settings.blank_id, TAIL=one.tail,
            DURATIONS=len(settings.durations), ROWS=one.tiles.rows,
        )  # fmt: skip


def add_sums(
    work: Pass,
    chunk: Chunk,
    number: int,
    of_active: Tensor,
    found: tuple[Tensor, Tensor],
    scale: Tensor,
) -> None:
    """Sum a chunk's gradient in the activations over positions, and over steps."""
    places, pitch = work.places, of_active.shape[1]
    inputs = (of_active, work.projected, work.predicted, places.starts[number], work.lengths)
    sizes = (chunk.utterances.start, chunk.first_step, chunk.span, work.steps, work.positions)
    hidden = work.projected.shape[2]
    columns, rows = triton.cdiv(hidden, 128), len(chunk.utterances)
    sums.sum_over_positions[(rows * chunk.span, columns)](
        *inputs, places.widths, scale, found[0], *sizes, hidden, chunk.first,
        PITCH=pitch, TANH=work.joint.tanh, PLACES=32, COLUMNS=128,
    )  # fmt: skip
    sums.sum_over_steps[(rows, triton.cdiv(work.positions, 16), columns)](
        *inputs, places.widths, found[1], *sizes, hidden, chunk.first,
        PITCH=pitch, TANH=work.joint.tanh, PLACES=16, COLUMNS=128,
    )  # fmt: skip


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
    ) -> Float[Tensor, ""]:
        one = prepare(weight.detach(), bias.detach(), settings, rounding)
        most = max(min(ROWS, ROWS * SCORES // len(one.weight)), 16)
        places = layout(*texts, projected.shape[1], predicted.shape[1], most)
        work = Pass(
            projected.detach().to(rounding).contiguous(),
            predicted.detach().to(rounding).contiguous(),
            one,
            places,
            texts.lengths.to(torch.int32),
            settings,
        )
        if not places.chunks:
            ctx.empty = (projected, predicted, weight, bias)
            return projected.new_zeros((), dtype=torch.float32)
        with torch.cuda.device_of(projected):
            found = score(work)
            likelihood, taken = walk(work, found, backward=any(ctx.needs_input_grad[:4]))
        if taken is not None:
            ctx.save_for_backward(projected, predicted, weight, bias, found.normaliser, *taken)
            ctx.work = work
        losses = torch.where(likelihood < -1e29, 0, -likelihood)
        return losses.sum().float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_sum: Float[Tensor, ""]) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        if hasattr(ctx, "empty"):
            return (*(torch.zeros_like(one) for one in ctx.empty), None, None, None)
        *inputs, normaliser, blank, token, duration = ctx.saved_tensors
        with torch.autocast(of_sum.device.type, enabled=False):
            found = gradients(ctx.work, normaliser, Occupancy(blank, token, duration), of_sum)
        return (
            *(one.to(to.dtype) for one, to in zip(found, inputs, strict=True)),
            None,
            None,
            None,
        )


def fused_transducer(
    inputs: Operands, texts: Texts, settings: TransducerSettings, rounding: torch.dtype
) -> Float[Tensor, ""]:
    """Return the sum of the utterances' losses in nats; an impossible text adds 0."""
    apply: Callable[..., Tensor] = FusedTransducer.apply
    return apply(*inputs, texts, settings, rounding)
