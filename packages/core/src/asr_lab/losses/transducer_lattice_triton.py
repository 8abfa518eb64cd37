"""Kernels of a transducer's lattice: one program per utterance and direction, and posteriors.

Planes hold anti-diagonals: cell (step, position) stands at (step + position, position). Sums are
FP64, of which only logarithms and exponentials are FP32: their errors do not grow with the sum.
Loops that end at a loaded length are `while` loops, which Triton's interpreter can run.
An RNN-T is the case of durations 0 and 1 without a choice: tokens take 0 steps, blanks 1.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def log_add(one, other):
    """Return log(exp(one) + exp(other)) in FP64; -1e30 stands for nothing."""
    more = tl.maximum(one, other)
    gap = (tl.minimum(one, other) - more).to(tl.float32)
    return more + tl.log(1.0 + tl.exp(gap)).to(tl.float64)


@triton.jit
@no_type_check
def edge_score(
    emission, durations, where, mask, plane_size, sigma, INDEX: tl.constexpr, CHOICE: tl.constexpr
):
    """Return the log probability of an edge out of the cells at `where`."""
    found = tl.load(emission + where, mask=mask, other=0.0).to(tl.float64) - sigma
    if CHOICE:
        lasting = tl.load(durations + INDEX * plane_size + where, mask=mask, other=0.0)
        found += lasting.to(tl.float64)
    return found


@triton.jit
@no_type_check
def arrive(
    total,
    blank,
    token,
    durations,
    alpha,
    here,
    step,
    place,
    where,
    positions,
    plane_size,
    sigma,
    INDEX: tl.constexpr,
    LASTING: tl.constexpr,
    CHOICE: tl.constexpr,
):
    """Add to `total` the paths that reach the cells at `where` by an edge of LASTING steps."""
    earlier = here & (step >= LASTING)
    if LASTING > 0:
        start = where - LASTING * positions
        score = edge_score(blank, durations, start, earlier, plane_size, sigma, INDEX, CHOICE)
        total = log_add(total, tl.load(alpha + start, mask=earlier, other=-1e30) + score)
    if CHOICE or LASTING == 0:
        spoken = earlier & (place > 0)
        start = where - (LASTING + 1) * positions - 1
        score = edge_score(token, durations, start, spoken, plane_size, sigma, INDEX, CHOICE)
        total = log_add(total, tl.load(alpha + start, mask=spoken, other=-1e30) + score)
    return total


@triton.jit
@no_type_check
def through_blank(
    blank,
    durations,
    beta,
    here,
    left,
    place,
    last,
    where,
    positions,
    plane_size,
    sigma,
    INDEX: tl.constexpr,
    LASTING: tl.constexpr,
    CHOICE: tl.constexpr,
):
    """Return the log probability of all ways to the end by a blank; `left` are steps to the end."""
    score = edge_score(blank, durations, where, here, plane_size, sigma, INDEX, CHOICE)
    lands = here & (LASTING < left)
    after = tl.load(beta + where + LASTING * positions, mask=lands, other=-1e30)
    return score + tl.where((place == last) & (left == LASTING), 0.0, after)


@triton.jit
@no_type_check
def through_token(
    token,
    durations,
    beta,
    here,
    left,
    place,
    last,
    where,
    positions,
    plane_size,
    sigma,
    INDEX: tl.constexpr,
    LASTING: tl.constexpr,
    CHOICE: tl.constexpr,
):
    """Return the same by the token, which lands before the end."""
    lands = here & (LASTING < left) & (place < last)
    score = edge_score(token, durations, where, lands, plane_size, sigma, INDEX, CHOICE)
    onward = beta + where + (LASTING + 1) * positions + 1
    return score + tl.load(onward, mask=lands, other=-1e30)


@triton.jit
@no_type_check
def walk_back(
    blank,
    token,
    durations,
    beta,
    length,
    last,
    place,
    base,
    positions,
    plane_size,
    sigma,
    DURATIONS: tl.constexpr,
    CHOICE: tl.constexpr,
    PLACES: tl.constexpr,
):
    """Sum over all paths from each cell of an utterance to its end."""
    nothing = tl.full([PLACES], -1e30, tl.float64)
    number = length + last - 1
    while number >= 0:
        left = length - number + place
        here = (place <= last) & (left > 0) & (left <= length)
        where = base + number * positions
        total = nothing
        for index in tl.static_range(len(DURATIONS)):
            if DURATIONS[index] > 0:
                way = through_blank(
                    blank, durations, beta, here, left, place, last, where,
                    positions, plane_size, sigma, index, DURATIONS[index], CHOICE,
                )  # fmt: skip
                total = log_add(total, way)
            if CHOICE or DURATIONS[index] == 0:
                way = through_token(
                    token, durations, beta, here, left, place, last, where,
                    positions, plane_size, sigma, index, DURATIONS[index], CHOICE,
                )  # fmt: skip
                total = log_add(total, way)
        tl.store(beta + where, total, mask=here)
        tl.debug_barrier()
        number -= 1


@triton.jit
@no_type_check
def walk(
    blank,
    token,
    durations,
    alpha,
    beta,
    likelihood,
    lengths,
    widths,
    steps,
    positions,
    plane_size,
    sigma,
    DURATIONS: tl.constexpr,
    CHOICE: tl.constexpr,
    PLACES: tl.constexpr,
):
    """Sum over all paths to each cell (program 0 of an utterance) or from each cell (program 1)."""
    row = tl.program_id(0)
    length = tl.load(lengths + row)
    last = tl.load(widths + row) - 1
    place = tl.arange(0, PLACES)
    base = row.to(tl.int64) * (steps + positions - 1) * positions + place
    nothing = tl.full([PLACES], -1e30, tl.float64)
    if tl.program_id(1) == 0:
        number = 0
        while number < length + last:
            step = number - place
            here = (place <= last) & (step >= 0) & (step < length)
            where = base + number * positions
            total = tl.where((place == 0) & (number == 0), 0.0, nothing)
            for index in tl.static_range(len(DURATIONS)):
                total = arrive(
                    total, blank, token, durations, alpha, here, step, place, where,
                    positions, plane_size, sigma, index, DURATIONS[index], CHOICE,
                )  # fmt: skip
            tl.store(alpha + where, total, mask=here)
            # The next diagonal reads what other threads wrote.
            tl.debug_barrier()
            number += 1
        end = nothing
        for index in tl.static_range(len(DURATIONS)):
            if DURATIONS[index] > 0:
                final = (place == last) & (length >= DURATIONS[index])
                where = base + (length - DURATIONS[index] + last) * positions
                score = edge_score(blank, durations, where, final, plane_size, sigma, index, CHOICE)
                end = log_add(end, tl.load(alpha + where, mask=final, other=-1e30) + score)
        tl.store(likelihood + row + place * 0, end, mask=place == last)
    else:
        walk_back(
            blank, token, durations, beta, length, last, place, base,
            positions, plane_size, sigma, DURATIONS, CHOICE, PLACES,
        )  # fmt: skip


@triton.jit
@no_type_check
def doubt(log_probs, mask):
    """Return the probability that it is something else."""
    return 1.0 - tl.exp(tl.load(log_probs, mask=mask, other=0.0))


@triton.jit
@no_type_check
def shares(
    blank,
    token,
    durations,
    beta,
    before,
    possible,
    left,
    place,
    last,
    where,
    positions,
    plane_size,
    sigma,
    INDEX: tl.constexpr,
    LASTING: tl.constexpr,
    CHOICE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Return how probable a blank and the token of LASTING steps are in a path."""
    of_blank = tl.zeros([ROWS], tl.float32)
    of_token = tl.zeros([ROWS], tl.float32)
    if LASTING > 0:
        way = through_blank(
            blank, durations, beta, possible, left, place, last, where,
            positions, plane_size, sigma, INDEX, LASTING, CHOICE,
        )  # fmt: skip
        of_blank = tl.where(possible, tl.exp((before + way).to(tl.float32)), 0.0)
    if CHOICE or LASTING == 0:
        way = through_token(
            token, durations, beta, possible, left, place, last, where,
            positions, plane_size, sigma, INDEX, LASTING, CHOICE,
        )  # fmt: skip
        of_token = tl.where(possible, tl.exp((before + way).to(tl.float32)), 0.0)
    return of_blank, of_token


@triton.jit
@no_type_check
def occupy(
    blank,
    token,
    durations,
    alpha,
    beta,
    likelihood,
    lengths,
    widths,
    cells,
    blanks,
    tokens,
    lasting_sums,
    bounds,
    count,
    steps,
    positions,
    plane_size,
    sigma,
    hasten,
    DURATIONS: tl.constexpr,
    CHOICE: tl.constexpr,
    BOUND: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write how probable a cell's emissions are, tokens hastened; with BOUND, its gradient's."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = rows < count
    cell = tl.load(cells + rows, mask=inside, other=0)
    place, step, row = cell % positions, (cell // positions) % steps, cell // (positions * steps)
    left = tl.load(lengths + row) - step
    last = tl.load(widths + row) - 1
    whole = tl.load(likelihood + row)
    possible = inside & (whole > -1e29)
    base = row.to(tl.int64) * (steps + positions - 1) * positions
    where = base + (step + place) * positions + place
    before = tl.load(alpha + where, mask=possible, other=-1e30) - whole
    of_blank = tl.zeros([ROWS], tl.float32)
    of_token = tl.zeros([ROWS], tl.float32)
    of_choice = tl.zeros([ROWS], tl.float32)
    for index in tl.static_range(len(DURATIONS)):
        one, other = shares(
            blank, token, durations, beta, before, possible, left, place, last, where,
            positions, plane_size, sigma, index, DURATIONS[index], CHOICE, ROWS,
        )  # fmt: skip
        other *= hasten
        of_blank += one
        of_token += other
        if CHOICE:
            tl.store(lasting_sums + rows * len(DURATIONS) + index, one + other, mask=inside)
            if BOUND:
                of_choice += (one + other) * doubt(durations + index * plane_size + where, possible)
    tl.store(blanks + rows, of_blank, mask=inside)
    tl.store(tokens + rows, of_token, mask=inside)
    if BOUND:
        known = of_blank * doubt(blank + where, possible) + of_choice
        known += of_token * doubt(token + where, possible & (place < last))
        tl.store(bounds + rows, 2.0 * known, mask=inside)
