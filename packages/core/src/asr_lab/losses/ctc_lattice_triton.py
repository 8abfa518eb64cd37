"""Kernels of CTC's lattice: emissions, then the sums over paths, forward and backward at once.

A probability is a mantissa in FP32, from 1 on, and an exponent of 2: it can be as small as a path
of thousands of steps, and every product and sum of it is exact to FP32's last place. Logarithms
would lose digits as they grow. The recursion has no transcendental function in it.

Emissions are relative to the largest score of their step, so they need no normaliser; that of a
step is the sum of all its exponentials, and only the loss has need of it.
Loops that end at a loaded length are `while` loops, which Triton's interpreter can run.
"""

from typing import no_type_check

import triton
import triton.language as tl

LEAST = tl.constexpr(-8192.0)
"""Score below the step's largest, in nats, that what is smaller counts as."""
NEVER = tl.constexpr(-(1 << 27))
"""Exponent of what cannot be: less than 8192 steps of the least emission have."""
NOWHERE = tl.constexpr(-(1 << 28))
"""Exponent of states without a path; four impossible emissions more still fit an integer."""


@triton.jit
@no_type_check
def power_of_two(exponent):
    """Return 2 ** exponent for integers from 0 down; 0 where FP32 has no such normal number."""
    return ((tl.maximum(exponent, -127) + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
@no_type_check
def normalise(mantissa, exponent):
    """Return the same number with a mantissa from 1 to 2."""
    bits = mantissa.to(tl.int32, bitcast=True)
    more = (bits >> 23) - 127
    return (bits - (more << 23)).to(tl.float32, bitcast=True), exponent + more


@triton.jit
@no_type_check
def exponential(value, top):
    """Return exp(value - top) as mantissa and exponent, with what the difference rounds off."""
    gap = value - top
    back = gap - value
    lost = (value - (gap - back)) - (top + back)
    # A comparison with NaN is false: such a step shows in its sum of exponentials.
    lost = tl.where(gap > LEAST, lost, 0.0)
    gap = tl.where(gap > LEAST, gap, LEAST)
    power = tl.floor(gap * 1.4426950408889634 + 0.5)
    # log(2) in two parts (Cody and Waite), of which the first has few bits.
    rest = (gap - power * 0.693359375) + power * 2.12194440e-4
    mantissa, exponent = normalise(tl.exp(rest + lost), power.to(tl.int32))
    return mantissa, tl.where(value == float("-inf"), NEVER, exponent)


@triton.jit
@no_type_check
def normaliser(base, inside, SCORES: tl.constexpr, SPAN: tl.constexpr, ROWS: tl.constexpr):
    """Return the largest of a step's scores, and the sum of their exponentials relative to it."""
    top = tl.full([ROWS], float("-inf"), tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    for start in range(0, SCORES, SPAN):
        column = start + tl.arange(0, SPAN)
        mask = inside[:, None] & (column < SCORES)[None, :]
        value = tl.load(base[:, None] + column[None, :], mask=mask, other=float("-inf"))
        value = value.to(tl.float32)
        higher = tl.maximum(top, tl.max(value, 1))
        # So far all may be forbidden.
        less = tl.where(higher == float("-inf"), 0.0, higher)
        total = total * tl.exp(top - less) + tl.sum(tl.exp(value - less[:, None]), 1)
        top = higher
    return top, tl.where(top == float("-inf"), float("nan"), total)


@triton.jit(do_not_specialize=["steps", "width", "blank_id"])
@no_type_check
def emit(
    scores,
    lengths,
    tokens,
    counts,
    maxima,
    totals,
    mantissas,
    exponents,
    steps,
    width,
    row_stride,
    step_stride,
    blank_id,
    SCORES: tl.constexpr,
    SPAN: tl.constexpr,
    PLACES: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Reduce ROWS steps to maximum and sum of exponentials; write blank and tokens apart.

    The sum is NaN, and so will be the loss, where the text has a token or a length that none has.
    """
    row, first = tl.program_id(1), tl.program_id(0) * ROWS
    told_length, told_count = tl.load(lengths + row), tl.load(counts + row)
    length = tl.minimum(told_length.to(tl.int32), steps)
    if first < length:
        step = first + tl.arange(0, ROWS)
        inside = step < length
        base = scores + row.to(tl.int64) * row_stride + step.to(tl.int64) * step_stride
        top, total = normaliser(base, inside, SCORES, SPAN, ROWS)
        frame = row.to(tl.int64) * steps + step
        place = tl.arange(0, PLACES)
        count = tl.minimum(told_count.to(tl.int32), width)
        said = (place > 0) & (place <= count)
        label = tl.load(tokens + row * width + place - 1, mask=said, other=0).to(tl.int32)
        strange = said & ((label < 0) | (label >= SCORES) | (label == blank_id))
        wrong = (tl.sum(strange.to(tl.int32), 0) > 0) | (told_count > width)
        wrong = wrong | (told_count < 0) | (told_length > steps)
        tl.store(maxima + frame, top, mask=inside)
        tl.store(totals + frame, tl.where(wrong, float("nan"), total), mask=inside)
        label = tl.where(place == 0, blank_id, label)
        known = (place <= count) & (label >= 0) & (label < SCORES)
        mask = inside[:, None] & known[None, :]
        value = tl.load(base[:, None] + label[None, :], mask=mask, other=float("-inf"))
        mantissa, exponent = exponential(value.to(tl.float32), top[:, None])
        where = frame[:, None] * (width + 1) + place[None, :]
        mask = inside[:, None] & (place <= count)[None, :]
        tl.store(mantissas + where, mantissa, mask=mask)
        tl.store(exponents + where, exponent, mask=mask)


@triton.jit
@no_type_check
def emission(mantissas, exponents, step, length, width, column, said, BACK: tl.constexpr):
    """Return blank's and tokens' emissions at a step of the walk; the last one's behind the end."""
    step = tl.minimum(step, length - 1)
    if BACK:
        step = length - 1 - step
    at = tl.maximum(step, 0) * (width + 1)
    blank, blank_power = tl.load(mantissas + at), tl.load(exponents + at)
    token = tl.load(mantissas + at + column, mask=said, other=1.0)
    token_power = tl.load(exponents + at + column, mask=said, other=0)
    return blank, blank_power, token, token_power


@triton.jit
@no_type_check
def four_emissions(mantissas, exponents, step, length, width, column, said, BACK: tl.constexpr):
    """Return the emissions of four steps."""
    return (
        emission(mantissas, exponents, step, length, width, column, said, BACK),
        emission(mantissas, exponents, step + 1, length, width, column, said, BACK),
        emission(mantissas, exponents, step + 2, length, width, column, said, BACK),
        emission(mantissas, exponents, step + 3, length, width, column, said, BACK),
    )


@triton.jit
@no_type_check
def arrive(blank, blank_power, token, token_power, before, first, jump):
    """Return the sums over what leads to each blank and token by one step of a path.

    `first` and `jump` are NOWHERE where nothing stands before, or its token is the same.
    """
    # Both at once: warps that exchange numbers must wait for each other.
    packed = (token_power.to(tl.int64) << 32) | token.to(tl.int32, bitcast=True).to(tl.int64)
    packed = tl.gather(packed, before, 0)
    left = packed.to(tl.int32).to(tl.float32, bitcast=True)
    left_power = (packed >> 32).to(tl.int32)
    from_left = left_power + first
    of_blank = tl.maximum(blank_power, from_left)
    to_blank = blank * power_of_two(blank_power - of_blank)
    to_blank += left * power_of_two(from_left - of_blank)
    from_left = left_power + jump
    of_token = tl.maximum(tl.maximum(token_power, blank_power), from_left)
    to_token = token * power_of_two(token_power - of_token)
    to_token += blank * power_of_two(blank_power - of_token)
    to_token += left * power_of_two(from_left - of_token)
    return to_blank, of_blank, to_token, of_token


@triton.jit
@no_type_check
def advance(
    walked,
    powers,
    step,
    length,
    states,
    blank,
    blank_power,
    token,
    token_power,
    emitted,
    place,
    count,
    before,
    first,
    jump,
    BACK: tl.constexpr,
):
    """Take one step, and write the sums: forward with the step's emission, backward without."""
    to_blank, of_blank, to_token, of_token = arrive(
        blank, blank_power, token, token_power, before, first, jump
    )
    blank, blank_power = to_blank * emitted[0], of_blank + emitted[1]
    token, token_power = to_token * emitted[2], of_token + emitted[3]
    within = step < length
    here = within & (place <= count)
    spoken = within & (place < count)
    if BACK:
        blanks = (length - 1 - step) * states + count - place
        others = blanks + states // 2
        tl.store(walked + blanks, to_blank, mask=here)
        tl.store(powers + blanks, of_blank, mask=here)
        tl.store(walked + others, to_token, mask=spoken)
        tl.store(powers + others, of_token, mask=spoken)
    else:
        blanks = step * states + place
        others = blanks + states // 2 + 1
        tl.store(walked + blanks, blank, mask=here)
        tl.store(powers + blanks, blank_power, mask=here)
        tl.store(walked + others, token, mask=spoken)
        tl.store(powers + others, token_power, mask=spoken)
    return blank, blank_power, token, token_power


@triton.jit
@no_type_check
def walk_one_way(
    mantissas,
    exponents,
    walked,
    powers,
    tokens,
    length,
    count,
    width,
    PLACES: tl.constexpr,
    BACK: tl.constexpr,
):
    """Sum over all paths to each state of an utterance, from its start or from its end.

    Places count from where the walk begins. Blank `place` stands before token `place`.
    """
    states = 2 * width + 1
    place = tl.arange(0, PLACES)
    said = place < count
    index = count - 1 - place if BACK else place
    earlier = index + 1 if BACK else index - 1
    column = index + 1
    inner = said & (place > 0)
    token_here = tl.load(tokens + index, mask=inner, other=0)
    token_before = tl.load(tokens + earlier, mask=inner, other=0)
    first = tl.where(place > 0, 0, NOWHERE)
    jump = tl.where(inner & (token_here != token_before), 0, NOWHERE)
    before = tl.maximum(place - 1, 0)
    blank = tl.full([PLACES], 1.0, tl.float32)
    token = tl.full([PLACES], 1.0, tl.float32)
    # Before the first step: one step leads to the first blank or token.
    blank_power = tl.where(place == 0, 0, NOWHERE)
    token_power = tl.full([PLACES], NOWHERE, tl.int32)
    ahead = four_emissions(mantissas, exponents, 0, length, width, column, said, BACK)
    step = 0
    while step < length:
        # What the next four steps need is on its way while these four are computed.
        emitted = ahead
        ahead = four_emissions(mantissas, exponents, step + 4, length, width, column, said, BACK)
        for number in tl.static_range(4):
            blank, blank_power, token, token_power = advance(
                walked, powers, step + number, length, states, blank, blank_power, token,
                token_power, emitted[number], place, count, before, first, jump, BACK,
            )  # fmt: skip
        # Four steps make a mantissa 6 ** 4 times as large at most.
        blank, blank_power = normalise(blank, blank_power)
        token, token_power = normalise(token, token_power)
        blank_power = tl.maximum(blank_power, NOWHERE)
        token_power = tl.maximum(token_power, NOWHERE)
        step += 4


@triton.jit
@no_type_check
def loss_of(totals, walked, powers, length, count, width, CHUNK: tl.constexpr):
    """Return an utterance's loss in nats, in FP64; infinity where no path says the text."""
    at = (length - 1) * (2 * width + 1) + count
    spoken = length > 0
    blank = tl.load(walked + at, mask=spoken, other=1.0)
    # Without steps the only text is an empty one.
    nothing = tl.where(count == 0, 0, NOWHERE)
    blank_power = tl.where(spoken, tl.load(powers + at, mask=spoken, other=0), nothing)
    said = spoken & (count > 0)
    token = tl.load(walked + at + width, mask=said, other=1.0)
    token_power = tl.load(powers + at + width, mask=said, other=NOWHERE)
    top = tl.maximum(blank_power, token_power)
    found = blank * power_of_two(blank_power - top) + token * power_of_two(token_power - top)
    place = tl.arange(0, CHUNK)
    parts = tl.zeros([CHUNK], tl.float64)
    start = 0
    while start < length:
        total = tl.load(totals + start + place, mask=start + place < length, other=1.0)
        parts += tl.log(total.to(tl.float64))
        start += CHUNK
    whole = tl.sum(parts, 0)
    path = top.to(tl.float64) * 0.6931471805599453 + tl.log(found.to(tl.float64))
    # Sums of 8192 emissions at `LEAST` are above this.
    impossible = (top < -115000000) & (whole == whole)
    return tl.where(impossible, float("inf"), whole - path)


@triton.jit
@no_type_check
def sort_tokens(tokens, order, count, PLACES: tl.constexpr):
    """Write which token comes first, second, ... by id, then by place."""
    place = tl.arange(0, PLACES)
    inside = place < count
    token = tl.load(tokens + place, mask=inside, other=0)
    rank = tl.zeros([PLACES], tl.int32)
    other_place = 0
    while other_place < count:
        other = tl.load(tokens + other_place)
        rank += ((other < token) | ((other == token) & (other_place < place))).to(tl.int32)
        other_place += 1
    tl.store(order + rank, place, mask=inside)


@triton.jit(do_not_specialize=["steps", "width"])
@no_type_check
def walk(
    mantissas,
    exponents,
    totals,
    lengths,
    tokens,
    counts,
    forward,
    forward_powers,
    backward,
    backward_powers,
    order,
    losses,
    steps,
    width,
    PLACES: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Program 0 of an utterance finds its loss, 1 walks back from its end, 2 sorts its tokens."""
    row = tl.program_id(0)
    length = tl.minimum(tl.load(lengths + row).to(tl.int32), steps)
    count = tl.minimum(tl.load(counts + row).to(tl.int32), width)
    frame = row.to(tl.int64) * steps
    mantissas += frame * (width + 1)
    exponents += frame * (width + 1)
    tokens += row * width
    if tl.program_id(1) == 0:
        walked = forward + frame * (2 * width + 1)
        powers = forward_powers + frame * (2 * width + 1)
        walk_one_way(
            mantissas, exponents, walked, powers, tokens, length, count, width, PLACES, False
        )
        # The last sums were written by other threads.
        tl.debug_barrier()
        loss = loss_of(totals + frame, walked, powers, length, count, width, CHUNK)
        tl.store(losses + row, loss.to(tl.float32))
    elif tl.program_id(1) == 1:
        walked = backward + frame * (2 * width + 1)
        powers = backward_powers + frame * (2 * width + 1)
        walk_one_way(
            mantissas, exponents, walked, powers, tokens, length, count, width, PLACES, True
        )
    else:
        sort_tokens(tokens, order + row * width, count, PLACES)
