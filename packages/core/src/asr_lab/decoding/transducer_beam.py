"""Beam search over a transducer's scores, RNN-T or TDT, a whole batch at a time."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asr_lab.decoding.beams import Trail, equal, extend_key, merge
from asr_lab.decoding.transducer import encode, transducer_greedy
from asr_lab.decoding.transducer_step import Encoded, keep_state
from asr_lab.models.base.interfaces import TransducerDecoder
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis
from asr_lab.models.base.state import State, select_state

NEGLIGIBLE = 10.0
"""A search of durations ends when all that is alive is by this much less probable than the best.

What ended could still gain a share of e^-10 of its probability by other alignments.
"""


class Alive(NamedTuple):
    """Hypotheses that have not reached the end, best first; free places have probability 0."""

    score: Float[Tensor, "batch beam"]
    """Log probability of all alignments found."""
    time: Int64[Tensor, "batch beam"]
    symbols: Int64[Tensor, "batch beam"]
    """Tokens emitted at the encoder step `time`, by the best alignment."""
    key: Int64[Tensor, "batch beam"]


class Ended(NamedTuple):
    """The best hypotheses that have reached the end, and where the trail to them starts."""

    score: Float[Tensor, "batch beam"]
    key: Int64[Tensor, "batch beam"]
    rounds: Int64[Tensor, "batch beam"]
    place: Int64[Tensor, "batch beam"]


@torch.inference_mode()
def transducer_beam_search(
    decoder: TransducerDecoder, encoder_output: EncoderOutput, options: DecodingOptions
) -> list[Hypothesis]:
    """Return the tokens of each utterance whose alignments together are the most probable.

    Every round takes one decision, blank or token, for each hypothesis, so that hypotheses of one
    round compare fairly; those with equal tokens at the same encoder step are merged by adding
    their probabilities. The greedy hypothesis competes too: the score, the log probability of the
    alignments found, is never below that of greedy search. Source: alignment-length synchronous
    decoding of Saon and others (2020), with the merging of Kim and others (2020, arXiv 2005.05592).
    """
    greedy = transducer_greedy(decoder, encoder_output, options)
    batch, steps, _ = encoder_output.sequences.values.shape
    if not batch or not steps:
        return greedy
    encoded, trail = encode(decoder, encoder_output), Trail()
    found = _search(decoder, encoded, options, trail)
    score, place = found.score.max(1)
    rows = torch.arange(batch, device=place.device)
    rounds, places = found.rounds[rows, place].tolist(), found.place[rows, place].tolist()
    said = trail.back(rounds, places)
    hypotheses = [
        Hypothesis(
            tokens=tuple(token for token, _, _ in one),
            score=total,
            times=tuple(float(start) for _, start, _ in one),
            ends=tuple(float(end) for _, _, end in one) if decoder.durations else (),
        )
        for one, total in zip(said, score.tolist(), strict=True)
    ]
    pairs = zip(hypotheses, greedy, strict=True)
    return [wide if wide.score >= narrow.score else narrow for wide, narrow in pairs]


def _search(
    decoder: TransducerDecoder, encoded: Encoded, options: DecodingOptions, trail: Trail
) -> Ended:
    """Run rounds until nothing alive can win; note them in the trail."""
    batch, beam, device = len(encoded.lengths), options.beam, encoded.lengths.device
    zeros = torch.zeros(batch, beam, dtype=torch.int64, device=device)
    nothing = torch.full((batch, beam), -torch.inf, device=device)
    score = nothing.clone()
    score[:, 0] = torch.where(encoded.lengths > 0, 0.0, -torch.inf)
    alive = Alive(score, zeros, zeros, zeros)
    best = nothing.clone()
    best[:, 0] = torch.where(encoded.lengths > 0, -torch.inf, 0.0)
    ended = Ended(best, zeros, zeros, zeros)
    margin = NEGLIGIBLE if decoder.durations else 0.0
    fed = torch.full((batch * beam, 1), decoder.blank_id, device=device)
    predicted, state = decoder.predict(fed, None)
    while bool((alive.score > -torch.inf).any()):
        log_probs = _decisions(decoder, encoded, alive, predicted)
        alive, parents, tokens = _advance(decoder, encoded, alive, log_probs, options, trail)
        predicted, state = _predict(decoder, predicted, state, parents, tokens)
        alive, ended = _end(encoded, alive, ended, len(trail))
        lost = alive.score.logsumexp(1) <= ended.score.amax(1) - margin
        alive = alive._replace(score=alive.score.masked_fill(lost[:, None], -torch.inf))
    return ended


def _decisions(
    decoder: TransducerDecoder,
    encoded: Encoded,
    alive: Alive,
    predicted: Float[Tensor, "entries 1 hidden"],
) -> Float[Tensor, "batch beam labels durations"]:
    """Return log probabilities of each label with each duration; RNN-T has one of each."""
    batch, beam = alive.time.shape
    nearest = alive.time.clamp(max=encoded.projected.shape[1] - 1)
    steps = torch.take_along_dim(encoded.projected, nearest[:, :, None], 1)
    logits = decoder.joint(steps.reshape(batch * beam, 1, -1), predicted)
    logits = logits.view(batch, beam, -1)
    labels, rest = logits.split([decoder.blank_id + 1, len(encoded.durations)], -1)
    log_probs = labels.log_softmax(-1)[..., None]
    if len(encoded.durations):
        log_probs = log_probs + rest.log_softmax(-1)[:, :, None]
    # Where nothing is alive, padding may have been scored.
    free = (alive.score == -torch.inf)[:, :, None, None]
    return torch.where(free, -torch.inf, log_probs)


def _advance(
    decoder: TransducerDecoder,
    encoded: Encoded,
    alive: Alive,
    log_probs: Float[Tensor, "batch beam labels durations"],
    options: DecodingOptions,
    trail: Trail,
) -> tuple[Alive, Int64[Tensor, "batch beam"], Int64[Tensor, "batch beam"]]:
    """Take the best decisions; return also the places they came from, and tokens or the blank."""
    beam, (labels, lasting) = alive.score.shape[1], log_probs.shape[2:]
    scores = (alive.score[:, :, None, None] + log_probs).flatten(1)
    # Twice the beam, so that merging leaves no place free that a worse decision could have.
    scores, places = scores.topk(min(2 * beam, scores.shape[1]))
    parents = places // (labels * lasting)
    tokens = places // lasting % labels
    said = tokens != decoder.blank_id
    if len(encoded.durations):
        jumps = encoded.durations[places % lasting]
        jumps = torch.where(said, jumps, jumps.clamp(min=1))
    else:
        jumps = (~said).long()
    start, key = alive.time.gather(1, parents), alive.key.gather(1, parents)
    symbols = alive.symbols.gather(1, parents) + said
    onward = jumps + (said & (jumps == 0) & (symbols >= options.max_symbols))
    time = start + onward
    key = torch.where(said, extend_key(key, tokens), key)
    scores = merge(scores, equal(key, time.minimum(encoded.lengths[:, None])))
    score, chosen = scores.topk(beam)
    symbols = torch.where(onward > 0, 0, symbols)
    after = Alive(score, *(values.gather(1, chosen) for values in (time, symbols, key)))
    parents, tokens = parents.gather(1, chosen), tokens.gather(1, chosen)
    emitted = torch.where(tokens == decoder.blank_id, -1, tokens)
    trail.add(parents, emitted, start.gather(1, chosen), (start + jumps).gather(1, chosen))
    return after, parents, tokens


def _predict(
    decoder: TransducerDecoder,
    predicted: Float[Tensor, "entries 1 hidden"],
    state: State,
    parents: Int64[Tensor, "batch beam"],
    tokens: Int64[Tensor, "batch beam"],
) -> tuple[Float[Tensor, "entries 1 hidden"], State]:
    """Feed the tokens; what took a blank keeps what its parent had."""
    batch, beam = parents.shape
    entries = (torch.arange(batch, device=parents.device)[:, None] * beam + parents).flatten()
    said = (tokens != decoder.blank_id).flatten()
    before, state = predicted[entries], select_state(state, entries)
    after, new = decoder.predict(tokens.view(-1, 1), state)
    return torch.where(said[:, None, None], after, before), keep_state(said, new, state)


def _end(encoded: Encoded, alive: Alive, ended: Ended, rounds: int) -> tuple[Alive, Ended]:
    """Move hypotheses that have reached the end to those that had; equal ones are merged."""
    over = alive.time >= encoded.lengths[:, None]
    arrived = torch.where(over, alive.score, -torch.inf)
    places = torch.arange(over.shape[1], device=over.device).expand_as(over)
    new = Ended(arrived, alive.key, torch.full_like(places, rounds), places)
    both = [torch.cat(pair, 1) for pair in zip(ended, new, strict=True)]
    order = both[0].argsort(dim=1, descending=True, stable=True)
    scores, *others = (values.gather(1, order) for values in both)
    scores = merge(scores, equal(others[0]))
    score, chosen = scores.topk(over.shape[1])
    kept = Ended(score, *(values.gather(1, chosen) for values in others))
    return alive._replace(score=alive.score.masked_fill(over, -torch.inf)), kept
