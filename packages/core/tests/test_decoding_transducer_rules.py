"""Transducer searches where every decision is known: durations, limits, times and scores."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jaxtyping import Float, Int
from torch import Tensor

from asr_lab.decoding import decode, transducer_greedy
from asr_lab.decoding.transducer_step import WINDOW
from asr_lab.losses.transducer_lattice import edge_scores, log_likelihood
from asr_lab.losses.transducer_settings import TransducerSettings
from asr_lab.models.base import (
    DecodingOptions,
    EncoderOutput,
    Hypothesis,
    Sequences,
    State,
    TransducerDecoder,
)
from asr_lab.testing.transducers import RandomTransducer, random_encoding

SUMS = 1e-9
"""Absolute; sums of at most a few hundred float64 log probabilities."""
SURE = 200.0
"""A logit so high that the others have a probability of 0 in float64, and this one has 1."""


class Told(TransducerDecoder):
    """Emits at each encoder step what the encoding says, whatever was said before.

    An encoder step is the token to say (or the blank) and the index of the duration to take.
    """

    def __init__(self, vocab: int, durations: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.blank_id, self.durations = vocab, durations

    def project(
        self, encoder_steps: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps hidden"]:
        labels = torch.nn.functional.one_hot(encoder_steps[..., 0].long(), self.blank_id + 1)
        if not self.durations:
            return SURE * labels.double()
        chosen = torch.nn.functional.one_hot(encoder_steps[..., 1].long(), len(self.durations))
        return SURE * torch.cat([labels, chosen], -1).double()

    def predict(
        self, tokens: Int[Tensor, "batch tokens"], state: State
    ) -> tuple[Float[Tensor, "batch tokens hidden"], State]:
        """Look at how many tokens came before: the state counts them."""
        before = state[0] if isinstance(state, tuple) else torch.zeros(len(tokens))
        assert isinstance(before, Tensor)
        width = self.blank_id + 1 + len(self.durations)
        return torch.zeros(*tokens.shape, width, dtype=torch.float64), (before + tokens.shape[1],)

    def joint(
        self,
        projected: Float[Tensor, "batch steps hidden"],
        predicted: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        return projected[:, :, None] + predicted[:, None]


def told(steps: list[tuple[int, int]]) -> EncoderOutput:
    """Return an encoding of (token, index of a duration)."""
    values = torch.tensor([steps], dtype=torch.float64)
    return EncoderOutput(Sequences(values, torch.tensor([len(steps)])))


def search(
    decoder: TransducerDecoder, encoded: EncoderOutput, beam: int, max_symbols: int = 10
) -> Hypothesis:
    options = DecodingOptions(beam=beam, max_symbols=max_symbols)
    (found,) = decode(decoder, encoded, options, decoder.blank_id)
    return found


A, B, BLANK = 0, 1, 2


@pytest.mark.parametrize("beam", [1, 3])
def test_a_duration_skips_the_steps_that_it_covers(beam: int) -> None:
    # Durations 0 to 3; what is skipped would say B.
    decoder = Told(2, (0, 1, 2, 3))
    steps = [(A, 3), (B, 1), (B, 1), (BLANK, 2), (B, 1), (A, 1), (BLANK, 1)]
    # A limit of 1 is for tokens that do not move on; those that do must not move further.
    found = search(decoder, told(steps), beam, max_symbols=1)
    assert found.tokens == (A, A)
    assert found.times == (0.0, 5.0)
    assert found.ends == (3.0, 6.0)
    assert found.score == pytest.approx(0.0, abs=SUMS)


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("max_symbols", [1, 2, 5])
def test_a_token_of_duration_0_is_repeated_up_to_the_limit_of_its_step(
    max_symbols: int, beam: int
) -> None:
    decoder = Told(2, (0, 1))
    found = search(decoder, told([(A, 0), (BLANK, 1), (B, 1)]), beam, max_symbols)
    assert found.tokens == (A,) * max_symbols + (B,)
    assert found.times == (0.0,) * max_symbols + (2.0,)
    assert found.ends == (0.0,) * max_symbols + (3.0,)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_blank_of_duration_0_moves_on_by_one_step(beam: int) -> None:
    found = search(Told(2, (0, 1)), told([(BLANK, 0), (BLANK, 0), (A, 1)]), beam)
    assert (found.tokens, found.times) == ((A,), (2.0,))


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("durations", [(1, 2), (2, 5)])
def test_without_a_duration_of_0_a_step_has_one_token_at_most(
    durations: tuple[int, ...], beam: int
) -> None:
    steps = [(step % 2, 0) for step in range(11)]
    found = search(Told(2, durations), told(steps), beam)
    visited = range(0, 11, durations[0])
    assert found.times == tuple(map(float, visited))
    assert found.tokens == tuple(step % 2 for step in visited)
    assert found.ends[-1] >= 11  # the last duration may pass the end


@pytest.mark.parametrize("beam", [1, 2])
@pytest.mark.parametrize("gap", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 5 * WINDOW + 3])
def test_a_token_behind_any_number_of_blanks_is_found_at_its_step(gap: int, beam: int) -> None:
    steps = [(BLANK, 0)] * gap + [(A, 0)] + [(BLANK, 0)] * gap + [(B, 0)]
    found = search(Told(2), told(steps), beam, max_symbols=1)
    assert found.tokens == (A, B)
    assert found.times == (gap, 2 * gap + 1)


@pytest.mark.parametrize("beam", [1, 3])
@settings(max_examples=20)
@given(steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20))
def test_a_search_without_doubt_walks_the_only_way(steps: list[tuple[int, int]], beam: int) -> None:
    durations, time = (1, 2, 3), 0
    tokens, times = [], []
    while time < len(steps):
        token, index = steps[time]
        if token != BLANK:
            tokens.append(token)
            times.append(float(time))
        time += durations[index]
    found = search(Told(2, durations), told(steps), beam)
    assert (found.tokens, found.times) == (tuple(tokens), tuple(times))


def whole(decoder: RandomTransducer, encoded: EncoderOutput, tokens: tuple[int, ...]) -> float:
    """Return the log probability of a transcript by all alignments, as the loss has it."""
    text = torch.tensor([tokens], dtype=torch.int64).view(1, -1)
    blank = torch.tensor([[decoder.blank_id]])
    with torch.no_grad():
        predicted, _ = decoder.predict(torch.cat([blank, text], 1), None)
        logits = decoder.joint(decoder.project(encoded.sequences.values), predicted)
    labels = logits.log_softmax(-1)
    said = torch.cat([text, blank], 1)[:, None, :, None].expand(-1, labels.shape[1], -1, 1)
    lengths = (encoded.sequences.lengths, torch.tensor([len(tokens)]))
    settings = TransducerSettings(blank_id=decoder.blank_id)
    token = labels.gather(-1, said)[..., 0]
    none = token.new_zeros(0, *token.shape)
    edges = edge_scores(labels[..., decoder.blank_id], token, none, *lengths, settings)
    return float(log_likelihood(edges, *lengths, settings))


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), steps=st.integers(1, 8), beam=st.integers(1, 5))
def test_no_search_claims_more_than_the_loss_gives_its_transcript(
    seed: int, steps: int, beam: int
) -> None:
    # Moving on at the limit is free of charge, so it must not be reached.
    limit = 40
    decoder, encoded = RandomTransducer(3, seed, (), 6.0), random_encoding([steps], seed)
    found = search(decoder, encoded, beam, limit)
    assume(all(found.times.count(time) < limit for time in found.times))
    assert found.score <= whole(decoder, encoded, found.tokens) + SUMS
    assert math.isfinite(found.score)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_the_score_of_a_greedy_search_that_only_emits_blanks_is_that_of_silence(seed: int) -> None:
    decoder, encoded = RandomTransducer(3, seed, (), 500.0), random_encoding([9], seed)
    (found,) = transducer_greedy(decoder, encoded, DecodingOptions())
    assert (found.tokens, found.times) == ((), ())
    assert found.score == pytest.approx(whole(decoder, encoded, ()), abs=SUMS)
