"""The kernel of CTC's gradient: a program per step, without atomics.

What a path says at a step is divided among the states. Tokens that a text has more than once are
summed in their sorted order, so that one thread writes each of them.
"""

from typing import no_type_check

import triton
import triton.language as tl

from asr_lab.losses.ctc_lattice_triton import power_of_two


@triton.jit
@no_type_check
def join(share, token, other_share, other_token):
    """Add neighbours up as long as their tokens are the same."""
    return tl.where(token == other_token, share + other_share, other_share), other_token


@triton.jit
@no_type_check
def through(forward, forward_powers, backward, backward_powers, where, mask):
    """Return how probable it is to come through the states at `where`: mantissa and exponent."""
    mantissa = tl.load(forward + where, mask=mask, other=0.0)
    mantissa *= tl.load(backward + where, mask=mask, other=0.0)
    exponent = tl.load(forward_powers + where, mask=mask, other=-(1 << 30))
    return mantissa, exponent + tl.load(backward_powers + where, mask=mask, other=0)


@triton.jit
@no_type_check
def occupancy(
    forward,
    forward_powers,
    backward,
    backward_powers,
    order,
    tokens,
    states,
    count,
    width,
    PLACES: tl.constexpr,
):
    """Return how probable blank is at a step, the tokens that are said, sorted, and so are they.

    That of a token said more than once stands where it is said last; `last` says where that is.
    """
    place = tl.arange(0, PLACES)
    said = place < count
    blank, blank_power = through(
        forward, forward_powers, backward, backward_powers, states + place, place <= count
    )
    chosen = tl.load(order + place, mask=said, other=0)
    where = states + width + 1 + chosen
    share, power = through(forward, forward_powers, backward, backward_powers, where, said)
    top = tl.maximum(tl.max(blank_power, 0), tl.max(power, 0))
    of_blank = tl.sum(blank * power_of_two(blank_power - top), 0)
    share *= power_of_two(power - top)
    # Divided by their own sum, errors of the whole path cancel.
    whole = of_blank + tl.sum(share, 0)
    token = tl.load(tokens + chosen, mask=said, other=1 << 30).to(tl.int32)
    after = tl.load(order + place + 1, mask=place + 1 < count, other=0)
    following = tl.load(tokens + after, mask=place + 1 < count, other=-1).to(tl.int32)
    together, _ = tl.associative_scan((share, token), 0, join)
    return of_blank / whole, token, together / whole, said & (token != following)


@triton.jit(do_not_specialize=["steps", "width", "blank_id"])
@no_type_check
def differentiate(
    scores,
    gradient,
    of_losses,
    losses,
    lengths,
    tokens,
    counts,
    maxima,
    totals,
    forward,
    forward_powers,
    backward,
    backward_powers,
    order,
    steps,
    width,
    row_stride,
    step_stride,
    blank_id,
    SCORES: tl.constexpr,
    SPAN: tl.constexpr,
    PLACES: tl.constexpr,
):
    """Write a step's gradient: probabilities of the scores less those in paths; 0 behind the end.

    An utterance without a path, or whose loss has no gradient, has none.
    """
    step, row = tl.program_id(0), tl.program_id(1)
    frame = row.to(tl.int64) * steps + step
    into = gradient + frame * SCORES
    scale = tl.load(of_losses + row).to(tl.float32)
    counted = (tl.load(losses + row) != float("inf")) & (scale != 0)
    if counted & (step < tl.load(lengths + row)):
        base = scores + row.to(tl.int64) * row_stride + step.to(tl.int64) * step_stride
        top, total = tl.load(maxima + frame), tl.load(totals + frame)
        count = tl.minimum(tl.load(counts + row).to(tl.int32), width)
        of_blank, token, of_token, last = occupancy(
            forward, forward_powers, backward, backward_powers, order + row * width,
            tokens + row * width, frame * (2 * width + 1), count, width, PLACES,
        )  # fmt: skip
        for start in range(0, SCORES, SPAN):
            column = start + tl.arange(0, SPAN)
            mask = column < SCORES
            value = tl.load(base + column, mask=mask, other=0.0).to(tl.float32)
            found = tl.exp(value - top) / total
            found = tl.where(column == blank_id, found - of_blank, found) * scale
            tl.store(into + column, found.to(gradient.dtype.element_ty), mask=mask)
        # Tokens of the text are written once more.
        tl.debug_barrier()
        value = tl.load(base + token, mask=last, other=0.0).to(tl.float32)
        found = (tl.exp(value - top) / total - of_token) * scale
        tl.store(into + token, found.to(gradient.dtype.element_ty), mask=last)
    else:
        for start in range(0, SCORES, SPAN):
            column = start + tl.arange(0, SPAN)
            zero = tl.zeros([SPAN], gradient.dtype.element_ty)
            tl.store(into + column, zero, mask=column < SCORES)
