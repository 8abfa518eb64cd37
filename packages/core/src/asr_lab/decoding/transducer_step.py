"""One step of greedy transducer search for a whole batch: look for the next label, and take it."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from asr_lab.models.base.interfaces import TransducerDecoder
from asr_lab.models.base.state import State

WINDOW = 8
"""Encoder steps that are looked at together; a power of two.

At 80 ms a step, speech has a label every three to six steps: nearly every look finds one.
"""


class Encoded(NamedTuple):
    """What the search reads and never changes."""

    projected: Float[Tensor, "batch steps hidden"]
    lengths: Int64[Tensor, " batch"]
    durations: Int64[Tensor, " durations"]
    """Durations that the decoder predicts, in encoder steps; empty for RNN-T."""


class Progress(NamedTuple):
    """How far each utterance has come."""

    time: Int64[Tensor, " batch"]
    """Encoder step to be looked at next; the length or more once an utterance is done."""
    symbols: Int64[Tensor, " batch"]
    """Labels emitted at that step so far."""
    score: Float[Tensor, " batch"]
    """Log probability of all decisions so far."""
    predicted: Float[Tensor, "batch 1 hidden"]
    state: State


class Choice(NamedTuple):
    """The best decision at every encoder step of a window."""

    tokens: Int64[Tensor, "batch window"]
    jumps: Int64[Tensor, "batch window"]
    """Encoder steps to move on by; 1 or more after a blank."""
    log_probs: Float[Tensor, "batch window"]


def start(decoder: TransducerDecoder, encoded: Encoded) -> Progress:
    """Return the progress of utterances that nothing is known of yet."""
    lengths = encoded.lengths
    blank = torch.full((len(lengths), 1), decoder.blank_id, device=lengths.device)
    predicted, state = decoder.predict(blank, None)
    zeros = torch.zeros_like(lengths)
    return Progress(zeros, zeros, zeros.float(), predicted, state)


def steps_left(decoder: TransducerDecoder, encoded: Encoded, progress: Progress) -> int:
    """Return how many calls of `advance` are needed at least; 0 if every utterance is done.

    This is where the host waits for the device.
    """
    farthest = WINDOW - 1 + max((1, *decoder.durations))
    left = int((encoded.lengths - progress.time).max())
    return max(0, -(-left // farthest))


def advance(
    decoder: TransducerDecoder, encoded: Encoded, progress: Progress, max_symbols: int
) -> tuple[Progress, Int64[Tensor, "batch 3"]]:
    """Pass over blanks to the next label of each utterance, and take it.

    Returns also the token, its encoder step and its duration; the token is -1 where the window
    had only blanks or the utterance is done. Nothing here waits for the device. After
    `max_symbols` labels at one encoder step, the search moves on by one.
    """
    ahead = progress.time[:, None] + torch.arange(WINDOW, device=progress.time.device)
    inside = ahead < encoded.lengths[:, None]
    nearest = ahead.clamp(max=encoded.projected.shape[1] - 1)[:, :, None]
    window = torch.take_along_dim(encoded.projected, nearest, 1)
    choice = choose(decoder, decoder.joint(window, progress.predicted)[:, :, 0], encoded.durations)
    moved, passed = pass_blanks(choice, inside & (choice.tokens == decoder.blank_id))
    place = moved.clamp(max=WINDOW - 1)
    emits = (moved < WINDOW) & _at(inside, place)
    tokens, jumps = _at(choice.tokens, place), _at(choice.jumps, place)

    symbols = torch.where(moved > 0, 0, progress.symbols) + 1
    onward = jumps + ((jumps == 0) & (symbols >= max_symbols))
    time = progress.time + moved
    record = torch.stack([torch.where(emits, tokens, -1), time, jumps], -1)
    fed = torch.where(emits, tokens, decoder.blank_id)[:, None]
    predicted, state = decoder.predict(fed, progress.state)
    after = Progress(
        time=time + torch.where(emits, onward, 0),
        symbols=torch.where(emits & (onward == 0), symbols, 0),
        score=progress.score + passed + torch.where(emits, _at(choice.log_probs, place), 0.0),
        predicted=_keep(emits, predicted, progress.predicted),
        state=keep_state(emits, state, progress.state),
    )
    return after, record


def choose(
    decoder: TransducerDecoder,
    logits: Float[Tensor, "batch window scores"],
    durations: Int64[Tensor, " durations"],
) -> Choice:
    """Return the most probable token and, where durations are predicted, duration."""
    labels, rest = logits.split([decoder.blank_id + 1, len(durations)], -1)
    best, tokens = labels.max(-1)
    log_probs = best - labels.logsumexp(-1)
    blank = tokens == decoder.blank_id
    if not len(durations):
        return Choice(tokens, blank.long(), log_probs)
    longest, index = rest.max(-1)
    log_probs = log_probs + longest - rest.logsumexp(-1)
    jumps = durations[index]
    return Choice(tokens, torch.where(blank, jumps.clamp(min=1), jumps), log_probs)


def pass_blanks(
    choice: Choice, blank: Bool[Tensor, "batch window"]
) -> tuple[Int64[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Return how far the blanks at the start of a window lead, and their log probability.

    Every place points to where its blank leads, or to itself; doubling the pointers three times
    follows eight of them. What leads beyond the window is not followed further.
    """
    batch, width = blank.shape
    places = torch.arange(width, device=blank.device)
    target = torch.where(blank, places + choice.jumps, places)
    costs = torch.where(blank, choice.log_probs, 0.0)
    for _ in range((width - 1).bit_length()):
        inside, index = target < width, target.clamp(max=width - 1)
        costs = costs + torch.where(inside, costs.gather(1, index), 0.0)
        target = torch.where(inside, target.gather(1, index), target)
    return target[:, 0], costs[:, 0]


def keep_state(emits: Bool[Tensor, " batch"], new: State, old: State) -> State:
    """Return the entries of `new` for the utterances that emit, of `old` for the others."""

    def keep(one: object, other: object) -> object:
        if isinstance(one, Tensor) and isinstance(other, Tensor):
            return _keep(emits, one, other)
        return one

    kept: State = pytree.tree_map(keep, new, old)
    return kept


def _at(values: Tensor, place: Int64[Tensor, " batch"]) -> Tensor:
    """Return the value of each row at its place."""
    return values.gather(1, place[:, None])[:, 0]


def _keep(emits: Bool[Tensor, " batch"], new: Tensor, old: Tensor) -> Tensor:
    """Return `new` for the utterances that emit, `old` for the others."""
    return torch.where(emits.view(-1, *[1] * (new.dim() - 1)), new, old)
