"""Greedy and beam search over a decoder that scores one token after another."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from asr_lab.models.base.interfaces import AttentionDecoder
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis
from asr_lab.models.base.sequences import Sequences
from asr_lab.models.base.state import select_state

TOKENS_PER_STEP, SPARE_TOKENS = 2, 10
"""An utterance of n encoder steps gets 2 n + 10 tokens at most, so that a loop ends.

Fast speech has some 20 characters a second, and the coarsest encoders have 12.5 steps.
"""


@torch.no_grad()
def attention_greedy(
    decoder: AttentionDecoder, encoder_output: EncoderOutput, options: DecodingOptions, vocab: int
) -> list[Hypothesis]:
    """Take the most probable token each time, until the end token or the token limit.

    The score is the log probability of the tokens and of the end, where it was reached.
    """
    limits = token_limits(encoder_output, _most_tokens(decoder, options))
    tokens = torch.full_like(limits, decoder.start_id)
    totals, lengths = torch.zeros_like(limits, dtype=torch.float32), torch.zeros_like(limits)
    history, state = [], None
    active = limits > 0
    while bool(active.any()):
        scores, state = decoder.step(tokens, state, encoder_output)
        best, tokens = _allowed(scores, vocab, decoder.end_id).max(-1)
        totals = torch.where(active, totals + best, totals)
        active = active & (tokens != decoder.end_id)
        history.append(tokens)
        lengths = lengths + active
        active = active & (lengths < limits)
        tokens = tokens.masked_fill(~active, decoder.start_id)  # the end may have no embedding
    found = torch.stack(history, 1) if history else tokens[:, None]
    return _hypotheses(found, lengths, totals)


@torch.no_grad()
def attention_beam(
    decoder: AttentionDecoder, encoder_output: EncoderOutput, options: DecodingOptions, vocab: int
) -> list[Hypothesis]:
    """Keep the `options.beam` most probable beginnings, and return the best that ended.

    Hypotheses compare by log probability / ((5 + tokens) / 6) ** length_penalty, as in GNMT (Wu
    and others, 2016, arXiv 1609.08144, equation 14, without coverage). One that reaches the token
    limit competes as it is, without an end. An utterance is done once nothing alive can win. The
    score is the log probability before the division.
    """
    limits = token_limits(encoder_output, _most_tokens(decoder, options))
    beam = _Beam.start(limits, options.beam, int(limits.max()) if len(limits) else 0)
    tokens = torch.full((len(limits) * options.beam,), decoder.start_id, device=limits.device)
    repeated, state = _repeat(encoder_output, options.beam), None
    while bool(beam.active.any()):
        scores, state = decoder.step(tokens, state, repeated)
        allowed = _allowed(scores, vocab, decoder.end_id)
        tokens, parents = beam.advance(allowed, decoder.end_id, options.length_penalty)
        tokens = tokens.masked_fill(beam.scores.isinf().flatten(), decoder.start_id)
        state = select_state(state, parents)
    return _hypotheses(beam.best_tokens, beam.best_lengths, beam.best_scores)


def _most_tokens(decoder: AttentionDecoder, options: DecodingOptions) -> int:
    """Return the most tokens to emit: the last is not fed back, but the start was."""
    return min(options.max_tokens, decoder.capacity or options.max_tokens)


def token_limits(encoder_output: EncoderOutput, max_tokens: int) -> Int64[Tensor, " batch"]:
    """Return the most tokens each utterance may get; none where nothing was encoded."""
    lengths = encoder_output.sequences.lengths.long()
    bounded = (TOKENS_PER_STEP * lengths + SPARE_TOKENS).clamp(max=max_tokens)
    return torch.where(lengths > 0, bounded, 0)


def length_divisor(tokens: Int[Tensor, "*any"], penalty: float) -> Float[Tensor, "*any"]:
    """Return what the log probability of a hypothesis of so many tokens is divided by."""
    divisor: Tensor = ((5 + tokens.double()) / 6) ** penalty
    return divisor


@dataclass
class _Beam:
    """What is alive in each utterance, and the best that has ended."""

    limits: Int64[Tensor, " batch"]
    active: Bool[Tensor, " batch"]
    scores: Float[Tensor, "batch beam"]
    """Log probabilities of what is alive; minus infinity for a free place."""
    tokens: Int64[Tensor, "batch beam tokens"]
    step: int
    """Number of tokens of everything alive."""
    best: Float[Tensor, " batch"]
    """Log probability of the best ended hypothesis, divided by its length penalty."""
    best_scores: Float[Tensor, " batch"]
    best_lengths: Int64[Tensor, " batch"]
    best_tokens: Int64[Tensor, "batch tokens"]

    @classmethod
    def start(cls, limits: Int64[Tensor, " batch"], width: int, longest: int) -> "_Beam":
        """Return one empty beginning for each utterance, and nothing ended."""
        batch = len(limits)
        scores = torch.full((batch, width), -torch.inf, device=limits.device)
        scores[:, 0] = 0.0
        return cls(
            limits=limits,
            active=limits > 0,
            scores=scores,
            tokens=limits.new_zeros(batch, width, longest),
            step=0,
            best=scores.new_full((batch,), -torch.inf, dtype=torch.float64),
            best_scores=scores.new_zeros(batch),
            best_lengths=torch.zeros_like(limits),
            best_tokens=limits.new_zeros(batch, longest),
        )

    def advance(
        self, log_probs: Float[Tensor, "entries scores"], end_id: int, penalty: float
    ) -> tuple[Int64[Tensor, " entries"], Int64[Tensor, " entries"]]:
        """Add a token to everything alive; return the tokens and the entries they extend."""
        batch, width = self.scores.shape
        extended = self.scores[:, :, None] + log_probs.view(batch, width, -1)
        self._end(extended[:, :, end_id], self.active, penalty)
        extended[:, :, end_id] = -torch.inf
        self.scores, places = extended.flatten(1).topk(width)
        parents, chosen = places // extended.shape[-1], places % extended.shape[-1]
        self.tokens = self.tokens.gather(1, parents[:, :, None].expand_as(self.tokens))
        self.tokens[:, :, self.step] = chosen
        self.step += 1
        full = self.active & (self.limits == self.step)
        self._end(self.scores, full, penalty)
        self.active = self.active & ~full & (self.best < self._hope(penalty))
        rows = torch.arange(batch, device=parents.device)[:, None] * width
        return chosen.flatten(), (rows + parents).flatten()

    def _end(
        self,
        scores: Float[Tensor, "batch beam"],
        allowed: Bool[Tensor, " batch"],
        penalty: float,
    ) -> None:
        """Keep the best of what is alive with these scores, where it beats what ended before."""
        top, place = scores.max(1)
        length = torch.full_like(self.best_lengths, self.step)
        divided = top / length_divisor(length, penalty)
        better = allowed & (divided > self.best)
        found = self.tokens[torch.arange(len(place), device=place.device), place]
        self.best = torch.where(better, divided, self.best)
        self.best_scores = torch.where(better, top, self.best_scores)
        self.best_lengths = torch.where(better, length, self.best_lengths)
        self.best_tokens = torch.where(better[:, None], found, self.best_tokens)

    def _hope(self, penalty: float) -> Float[Tensor, " batch"]:
        """Return what no continuation can exceed: log probabilities only fall, divisors vary."""
        now = length_divisor(torch.full_like(self.limits, self.step), penalty)
        divisor = torch.maximum(now, length_divisor(self.limits, penalty))
        hope: Tensor = self.scores.amax(1) / divisor
        return hope


def _allowed(
    scores: Float[Tensor, "batch scores"], vocab: int, end_id: int
) -> Float[Tensor, "batch scores"]:
    """Rule out what is neither a token of the tokenizer nor the end."""
    ids = torch.arange(scores.shape[-1], device=scores.device)
    return scores.masked_fill((ids >= vocab) & (ids != end_id), -torch.inf)


def _repeat(encoder_output: EncoderOutput, times: int) -> EncoderOutput:
    """Return every utterance `times` times in a row."""
    sequences = encoder_output.sequences
    rows = torch.arange(len(sequences.lengths), device=sequences.lengths.device)
    rows = rows.repeat_interleave(times)
    repeated = Sequences(sequences.values[rows], sequences.lengths[rows])
    return EncoderOutput(repeated, select_state(encoder_output.state, rows))


def _hypotheses(
    tokens: Int64[Tensor, "batch tokens"],
    lengths: Int64[Tensor, " batch"],
    scores: Float[Tensor, " batch"],
) -> list[Hypothesis]:
    """Cut each row to its length."""
    rows = zip(tokens.tolist(), lengths.tolist(), scores.tolist(), strict=True)
    return [Hypothesis(tokens=tuple(row[:n]), score=score) for row, n, score in rows]
