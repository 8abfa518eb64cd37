"""A kernel that sums the gradient in the joint's activation over positions and over steps."""

from typing import no_type_check

import triton
import triton.language as tl

from asr_lab.losses.transducer_joint_triton import activation_of


@triton.jit
@no_type_check
def slope_of(value, TANH: tl.constexpr):
    """Return the derivative of the activation."""
    if TANH:
        active = activation_of(value, TANH)
        found = 1.0 - active * active
    else:
        found = tl.where(value > 0, 1.0, 0.0)
    return found


@triton.jit
@no_type_check
def gradient_at(
    of_active, kept, rows, first, inside, mask, columns, PITCH: tl.constexpr, SPARSE: tl.constexpr
):
    """Return the gradient in the activations of some rows, in FP32.

    If SPARSE, `kept` says where each row is among those that are computed, -1 for nowhere.
    """
    if SPARSE:
        rows = tl.load(kept + rows, mask=inside, other=-1) - first
        mask = mask & (rows >= 0)[:, None]
    values = of_active + rows[:, None] * PITCH + columns[None, :]
    return tl.load(values, mask=mask, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=["first_start", "first_row", "first_step", "span", "first", "groups"])
@no_type_check
def sum_gradients(
    first_start,
    first_row,
    first_step,
    span,
    first,
    of_active,
    projected,
    predicted,
    starts,
    lengths,
    widths,
    scale,
    kept,
    of_projected,
    of_predicted,
    batch,
    steps,
    positions,
    hidden,
    groups,
    PITCH: tl.constexpr,
    TANH: tl.constexpr,
    SPARSE: tl.constexpr,
    PLACES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Sum a chunk's gradient in the activations, which is read once, for some of its columns.

    Sums over positions are gradients in projected steps, times `scale`; those over steps are added,
    in order, to FP32 gradients in predicted positions, one sum for each of `groups` shares of them.
    """
    blocks = tl.cdiv(hidden, COLUMNS)  # neighbours have the same rows, which are read whole
    row = first_row + tl.program_id(0) // blocks // groups
    group = tl.program_id(0) // blocks % groups
    share = (span + groups - 1) // groups
    offset = group * share
    end = tl.minimum(tl.minimum(tl.load(lengths + row) - first_step, span), offset + share)
    if offset < end:
        width = tl.load(widths + row)
        start = tl.load(starts + first_start + row) - (0 if SPARSE else first)
        places = tl.arange(0, PLACES)
        columns = tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS)
        known = columns < hidden
        mask = (places < width)[:, None] & known[None, :]
        cells = (row.to(tl.int64) * positions + places)[:, None] * hidden + columns[None, :]
        other = tl.load(predicted + cells, mask=mask, other=0.0).to(tl.float32)
        sums = of_predicted + group.to(tl.int64) * batch * positions * hidden + cells
        total = tl.load(sums, mask=mask, other=0.0)
        while offset < end:
            target = (row.to(tl.int64) * steps + first_step + offset) * hidden + columns
            one = tl.load(projected + target, mask=known, other=0.0).to(tl.float32)
            rows, inside = start + offset * width + places, places < width
            value = gradient_at(of_active, kept, rows, first, inside, mask, columns, PITCH, SPARSE)
            value *= slope_of(one[None, :] + other, TANH)
            total += value
            result = (tl.sum(value, 0) * tl.load(scale)).to(of_projected.dtype.element_ty)
            tl.store(of_projected + target, result, mask=known)
            offset += 1
        tl.store(sums, total, mask=mask)
