"""Kernels of a transducer's joint: tiles of logits live in registers, and are reduced there.

A row is one cell of the lattice. Rows of a chunk are numbered from 0 in its buffers, whose rows and
columns are padded to whole tiles; `first` is the chunk's first row in what is kept per row.
"""

from typing import no_type_check

import triton
import triton.language as tl


@triton.jit
@no_type_check
def activation_of(value, TANH: tl.constexpr):
    """Return the activation of FP32 values."""
    if TANH:
        # exp(-2|x|) never overflows.
        small = tl.exp(-2.0 * tl.abs(value))
        size = (1.0 - small) / (1.0 + small)
        found = tl.where(value < 0, -size, size)
    else:
        # Written so that a NaN stays one.
        found = tl.where(value < 0, 0.0, value)
    return found


@triton.jit(do_not_specialize=["first", "count"])
@no_type_check
def activate(
    first,
    count,
    projected,
    predicted,
    cells,
    active,
    tail_weight,
    tail_logits,
    steps,
    positions,
    hidden,
    PITCH: tl.constexpr,
    TANH: tl.constexpr,
    TAIL: tl.constexpr,
    PRECISION: tl.constexpr,
    SPAN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Write SPAN columns of a chunk's activations, and with all, logits at the last TAIL scores."""
    # Neighbours have the same rows, so that these are written whole.
    block, part = tl.program_id(0) % (PITCH // SPAN), tl.program_id(0) // (PITCH // SPAN)
    rows = part * ROWS + tl.arange(0, ROWS)
    inside = rows < count
    cell = tl.load(cells + first + rows, mask=inside, other=0)
    step = cell // positions
    place = (step // steps) * positions + cell % positions
    of_step = projected + step.to(tl.int64)[:, None] * hidden
    of_place = predicted + place.to(tl.int64)[:, None] * hidden
    if TAIL:
        tail = tl.arange(0, TAIL)
        logits = tl.zeros([ROWS, TAIL], tl.float32)
    for start in range(0, SPAN, COLUMNS):
        columns = block * SPAN + start + tl.arange(0, COLUMNS)
        mask = inside[:, None] & (columns < hidden)[None, :]
        one = tl.load(of_step + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        other = tl.load(of_place + columns[None, :], mask=mask, other=0.0).to(tl.float32)
        value = activation_of(one + other, TANH).to(active.dtype.element_ty)
        tl.store(active + rows[:, None] * PITCH + columns[None, :], value)
        if TAIL:
            weight = tl.load(tail_weight + tail[None, :] * PITCH + columns[:, None])
            logits = tl.dot(value, weight, logits, input_precision=PRECISION)
    if TAIL:
        tl.store(tail_logits + rows[:, None] * TAIL + tail[None, :], logits)


@triton.jit
@no_type_check
def logits_tile(
    active,
    weight,
    bias,
    rows,
    columns,
    PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Return a tile of logits in FP32; the same bits forward and backward."""
    inner = tl.arange(0, INNER)
    left = active + rows[:, None] * PITCH + inner[None, :]
    right = weight + columns[None, :] * PITCH + inner[:, None]
    logits = tl.zeros([ROWS, COLUMNS], tl.float32)
    for _ in range(0, PITCH, INNER):
        logits = tl.dot(tl.load(left), tl.load(right), logits, input_precision=PRECISION)
        left += INNER
        right += INNER
    return logits + tl.load(bias + columns)[None, :]


@triton.jit(do_not_specialize=["first", "count"])
@no_type_check
def score_tiles(
    first,
    count,
    active,
    weight,
    bias,
    labels,
    maxima,
    sums,
    blank_logits,
    token_logits,
    capacity,
    tiles,
    blank_id,
    PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Reduce a tile of logits to the parts of its rows' normalisers; pick blank and token."""
    tile = tl.program_id(0) % tiles
    rows = (tl.program_id(0) // tiles) * ROWS + tl.arange(0, ROWS)
    columns = tile * COLUMNS + tl.arange(0, COLUMNS)
    logits = logits_tile(
        active, weight, bias, rows, columns, PITCH, PRECISION, ROWS, COLUMNS, INNER
    )
    inside = rows < count
    most = tl.max(logits, 1)
    total = tl.sum(tl.exp(logits - most[:, None]), 1)
    tl.store(maxima + tile * capacity + rows, most, mask=inside)
    tl.store(sums + tile * capacity + rows, total, mask=inside)
    label = tl.load(labels + first + rows, mask=inside, other=-1)
    chosen = tl.sum(tl.where(columns[None, :] == label[:, None], logits, 0.0), 1)
    here = inside & (label >= tile * COLUMNS) & (label < (tile + 1) * COLUMNS)
    tl.store(token_logits + rows, chosen, mask=here)
    if tile == blank_id // COLUMNS:
        blank = tl.sum(tl.where(columns[None, :] == blank_id, logits, 0.0), 1)
        tl.store(blank_logits + rows, blank, mask=inside)


@triton.jit
@no_type_check
def combine(maxima, sums, rows, inside, capacity, TILES: tl.constexpr):
    """Return each row's largest logit, and its sum of exponentials below it, over all tiles."""
    most = tl.load(maxima + rows, mask=inside, other=0.0)
    total = tl.load(sums + rows, mask=inside, other=1.0)
    for tile in range(1, TILES):
        peak = tl.load(maxima + tile * capacity + rows, mask=inside, other=0.0)
        part = tl.load(sums + tile * capacity + rows, mask=inside, other=1.0)
        higher = tl.maximum(most, peak)
        total = total * tl.exp(most - higher) + part * tl.exp(peak - higher)
        most = higher
    return most, total


@triton.jit
@no_type_check
def log_mass(tail, index, DURATIONS: tl.constexpr):
    """Return the normaliser of the durations' logits, which stand in some columns of the tail."""
    chosen = ((index >= 0) & (index < DURATIONS))[None, :]
    peak = tl.max(tl.where(chosen, tail, -1e30), 1)
    mass = tl.sum(tl.where(chosen, tl.exp(tail - peak[:, None]), 0.0), 1)
    return (peak + tl.log(mass))[:, None]


@triton.jit(do_not_specialize=["first", "count"])
@no_type_check
def normalise(
    first,
    count,
    cells,
    labels,
    maxima,
    sums,
    blank_logits,
    token_logits,
    tail_logits,
    tail_bias,
    normaliser,
    blank_plane,
    token_plane,
    duration_planes,
    capacity,
    steps,
    positions,
    plane_size,
    main,
    blank_id,
    TILES: tl.constexpr,
    TAIL: tl.constexpr,
    DURATIONS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write each row's normaliser, and its log probabilities to planes of anti-diagonals."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = rows < count
    label = tl.load(labels + first + rows, mask=inside, other=-1)
    most, total = combine(maxima, sums, rows, inside, capacity, TILES)
    blank = tl.load(blank_logits + rows, mask=inside & (blank_id < main), other=0.0)
    token = tl.load(token_logits + rows, mask=inside & (label >= 0) & (label < main), other=0.0)
    cell = tl.load(cells + first + rows, mask=inside, other=0)
    place, step = cell % positions, (cell // positions) % steps
    diagonals = steps + positions - 1
    diagonal = (cell // (positions * steps)) * diagonals + step + place
    target = diagonal.to(tl.int64) * positions + place
    if TAIL:
        columns = main + tl.arange(0, TAIL)
        where = tail_logits + rows[:, None] * TAIL + tl.arange(0, TAIL)[None, :]
        tail = tl.load(where, mask=inside[:, None], other=0.0)
        tail += tl.load(tail_bias + tl.arange(0, TAIL))[None, :]
        tokens = tl.where((columns <= blank_id)[None, :], tail, -1e30)
        higher = tl.maximum(most, tl.max(tokens, 1))
        total = total * tl.exp(most - higher) + tl.sum(tl.exp(tokens - higher[:, None]), 1)
        most = higher
        blank += tl.sum(tl.where((columns == blank_id)[None, :], tail, 0.0), 1)
        token += tl.sum(tl.where(columns[None, :] == label[:, None], tail, 0.0), 1)
        if DURATIONS:
            index = columns - tl.maximum(blank_id + 1, main)
            chosen = inside[:, None] & ((index >= 0) & (index < DURATIONS))[None, :]
            plane = index.to(tl.int64)[None, :] * plane_size + target[:, None]
            tl.store(duration_planes + plane, tail - log_mass(tail, index, DURATIONS), mask=chosen)
    log_total = most + tl.log(total)
    tl.store(normaliser + first + rows, log_total, mask=inside)
    tl.store(blank_plane + target, blank - log_total, mask=inside)
    tl.store(token_plane + target, token - log_total, mask=inside)


@triton.jit(do_not_specialize=["first", "count"])
@no_type_check
def differentiate(
    first,
    count,
    active,
    weight,
    bias,
    labels,
    normaliser,
    blanks,
    tokens,
    gradient,
    bias_parts,
    pitch_of_gradient,
    tiles,
    blank_id,
    PITCH: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    INNER: tl.constexpr,
):
    """Write the gradient in a tile of logits, and add its sums over the tile's rows to the parts.

    A part is added to by one program of each chunk, so chunk by chunk, in order.
    """
    tile, part = tl.program_id(0) % tiles, tl.program_id(0) // tiles
    rows = part * ROWS + tl.arange(0, ROWS)
    columns = tile * COLUMNS + tl.arange(0, COLUMNS)
    logits = logits_tile(
        active, weight, bias, rows, columns, PITCH, PRECISION, ROWS, COLUMNS, INNER
    )
    inside = rows < count
    label = tl.load(labels + first + rows, mask=inside, other=-1)
    total = tl.load(normaliser + first + rows, mask=inside, other=0.0)
    blank = tl.load(blanks + first + rows, mask=inside, other=0.0)
    token = tl.load(tokens + first + rows, mask=inside, other=0.0)
    found = tl.exp(logits - total[:, None]) * (blank + token)[:, None]
    found -= tl.where(columns[None, :] == blank_id, blank[:, None], 0.0)
    found -= tl.where(columns[None, :] == label[:, None], token[:, None], 0.0)
    # Rows behind the chunk hold anything, NaN too.
    found = tl.where(inside[:, None], found, 0.0)
    target = gradient + rows[:, None] * pitch_of_gradient + columns[None, :]
    tl.store(target, found.to(gradient.dtype.element_ty), mask=inside[:, None])
    parts = bias_parts + part * pitch_of_gradient + columns
    tl.store(parts, tl.load(parts) + tl.sum(found, 0))


@triton.jit(do_not_specialize=["first", "count"])
@no_type_check
def differentiate_tail(
    first,
    count,
    tail_logits,
    tail_bias,
    labels,
    normaliser,
    blanks,
    tokens,
    lasting,
    gradient,
    bias_parts,
    pitch_of_gradient,
    main,
    blank_id,
    TAIL: tl.constexpr,
    DURATIONS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Write the gradient in the last TAIL scores: tokens behind the tiles, and durations."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside, offsets = rows < count, tl.arange(0, TAIL)
    columns = main + offsets
    where = tail_logits + rows[:, None] * TAIL + offsets[None, :]
    logits = tl.load(where, mask=inside[:, None], other=0.0)
    logits += tl.load(tail_bias + offsets)[None, :]
    label = tl.load(labels + first + rows, mask=inside, other=-1)
    total = tl.load(normaliser + first + rows, mask=inside, other=0.0)
    blank = tl.load(blanks + first + rows, mask=inside, other=0.0)
    token = tl.load(tokens + first + rows, mask=inside, other=0.0)
    visited = (blank + token)[:, None]
    of_tokens = tl.exp(logits - total[:, None]) * visited
    of_tokens -= tl.where(columns[None, :] == blank_id, blank[:, None], 0.0)
    of_tokens -= tl.where(columns[None, :] == label[:, None], token[:, None], 0.0)
    found = tl.where((columns <= blank_id)[None, :], of_tokens, 0.0)
    if DURATIONS:
        index = columns - tl.maximum(blank_id + 1, main)
        chosen = ((index >= 0) & (index < DURATIONS))[None, :]
        chances = tl.exp(logits - log_mass(logits, index, DURATIONS))
        taken = lasting + (first + rows)[:, None] * DURATIONS + index[None, :]
        wanted = tl.load(taken, mask=inside[:, None] & chosen, other=0.0)
        found = tl.where(chosen, chances * visited - wanted, found)
    found = tl.where(inside[:, None], found, 0.0)
    target = gradient + rows[:, None] * pitch_of_gradient + columns[None, :]
    tl.store(target, found.to(gradient.dtype.element_ty), mask=inside[:, None])
    parts = bias_parts + tl.program_id(0) * pitch_of_gradient + columns
    tl.store(parts, tl.load(parts) + tl.sum(found, 0))
