"""Kernels that sum the gradient in the joint's activation over positions and over steps."""

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
def sum_over_positions(
    of_active,
    projected,
    predicted,
    starts,
    lengths,
    widths,
    scale,
    found,
    first_row,
    first_step,
    span,
    steps,
    positions,
    hidden,
    first,
    PITCH: tl.constexpr,
    TANH: tl.constexpr,
    PLACES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write the gradient in one projected step: its row's sum over all positions, in order."""
    row = first_row + tl.program_id(0) // span
    offset = tl.program_id(0) % span
    step = first_step + offset
    if step < tl.load(lengths + row):
        width = tl.load(widths + row)
        start = tl.load(starts + row) - first + offset * width
        columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        known = columns < hidden
        target = (row.to(tl.int64) * steps + step) * hidden + columns
        one = tl.load(projected + target, mask=known, other=0.0).to(tl.float32)
        total = tl.zeros([PLACES, COLUMNS], tl.float32)
        begin = 0
        while begin < width:
            places = begin + tl.arange(0, PLACES)
            mask = (places < width)[:, None] & known[None, :]
            source = predicted + (row.to(tl.int64) * positions + places)[:, None] * hidden
            other = tl.load(source + columns[None, :], mask=mask, other=0.0).to(tl.float32)
            slope = slope_of(one[None, :] + other, TANH)
            values = of_active + (start + places)[:, None] * PITCH + columns[None, :]
            total += tl.load(values, mask=mask, other=0.0).to(tl.float32) * slope
            begin += PLACES
        result = tl.sum(total, 0) * tl.load(scale)
        tl.store(found + target, result.to(found.dtype.element_ty), mask=known)


@triton.jit
@no_type_check
def sum_over_steps(
    of_active,
    projected,
    predicted,
    starts,
    lengths,
    widths,
    found,
    first_row,
    first_step,
    span,
    steps,
    positions,
    hidden,
    first,
    PITCH: tl.constexpr,
    TANH: tl.constexpr,
    PLACES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Add the chunk's steps, in order, to the FP32 gradient in some predicted positions."""
    row = first_row + tl.program_id(0)
    width = tl.load(widths + row)
    here = tl.minimum(tl.load(lengths + row) - first_step, span)
    places = tl.program_id(1) * PLACES + tl.arange(0, PLACES)
    if (here > 0) & (tl.program_id(1) * PLACES < width):
        columns = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
        known = columns < hidden
        mask = (places < width)[:, None] & known[None, :]
        target = (row.to(tl.int64) * positions + places)[:, None] * hidden + columns[None, :]
        other = tl.load(predicted + target, mask=mask, other=0.0).to(tl.float32)
        total = tl.load(found + target, mask=mask, other=0.0)
        start = tl.load(starts + row) - first
        source = projected + (row.to(tl.int64) * steps + first_step) * hidden + columns
        offset = 0
        while offset < here:
            one = tl.load(source + offset * hidden, mask=known, other=0.0).to(tl.float32)
            slope = slope_of(one[None, :] + other, TANH)
            cells = start + offset * width + places
            values = of_active + cells[:, None] * PITCH + columns[None, :]
            total += tl.load(values, mask=mask, other=0.0).to(tl.float32) * slope
            offset += 1
        tl.store(found + target, total, mask=mask)
