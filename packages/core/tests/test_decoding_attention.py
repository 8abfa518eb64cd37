"""Greedy and beam search against plain loops and against the enumeration of every hypothesis."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.decoding import attention_beam, attention_greedy, decode
from asr_lab.decoding.attention import length_divisor, token_limits
from asr_lab.models.base import (
    AttentionDecoder,
    DecodingOptions,
    EncoderOutput,
    Hypothesis,
    Sequences,
    State,
)

DIM = 6
TOLERANCE = 1e-9
"""In float64 the two ways of adding a few log probabilities differ by far less."""


class Recurrent(AttentionDecoder):
    """A GRU that attends to the encoding; it scores `vocab` tokens, an end, and one id more."""

    def __init__(self, vocab: int, seed: int, end_bias: float = 0.0) -> None:
        super().__init__()
        self.vocab, self.end_id, self.steps_taken = vocab, vocab, 0
        self.start_id = vocab  # the end has no embedding: feeding it back would fail
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(vocab + 1, DIM)
            self.cell = nn.GRUCell(2 * DIM, DIM)
            self.output = nn.Linear(2 * DIM, vocab + 2)
        self.end_id = vocab + 1
        nn.init.constant_(self.output.bias, 0.0)
        with torch.no_grad():
            self.output.weight.mul_(6)
            self.output.bias[self.end_id] = end_bias
        self.double()

    def step(
        self, tokens: Int[Tensor, " batch"], state: State, encoder_output: EncoderOutput
    ) -> tuple[Float[Tensor, "batch scores"], State]:
        self.steps_taken += 1
        values, mask = encoder_output.sequences.values, encoder_output.sequences.mask()
        hidden = state[0] if isinstance(state, tuple) else values.new_zeros(len(tokens), DIM)
        assert isinstance(hidden, Tensor)
        weights = torch.einsum("bsd,bd->bs", values, hidden).masked_fill(~mask, -torch.inf)
        context = torch.einsum("bs,bsd->bd", weights.softmax(-1), values.where(mask[..., None], 0))
        hidden = self.cell(torch.cat([self.embedding(tokens), context], -1), hidden)
        scores: Tensor = self.output(torch.cat([hidden, context], -1))
        return scores.log_softmax(-1), (hidden,)


def encoding(lengths: list[int], seed: int) -> EncoderOutput:
    """Return random vectors, with rubbish behind each length."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), DIM, generator=generator, dtype=torch.float64)
    sequences = Sequences(values, torch.tensor(lengths))
    values[~sequences.mask()] = math.nan
    return EncoderOutput(sequences)


def single(encoder_output: EncoderOutput, index: int) -> EncoderOutput:
    """Return one utterance without padding."""
    sequences = encoder_output.sequences
    length = sequences.lengths[index : index + 1]
    return EncoderOutput(Sequences(sequences.values[index : index + 1, : int(length)], length))


@torch.no_grad()
def log_probability(
    decoder: Recurrent, encoded: EncoderOutput, tokens: tuple[int, ...], ended: bool
) -> float:
    """Add up the scores of the tokens, and of the end, one step after the other."""
    score, state = 0.0, None
    fed = [decoder.start_id, *tokens]
    wanted = [*tokens, decoder.end_id] if ended else list(tokens)
    for given, target in zip(fed, wanted, strict=False):
        scores, state = decoder.step(torch.tensor([given]), state, encoded)
        score += float(scores[0, target])
    return score


def everything(vocab: int, limit: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    """Yield every hypothesis: ended ones below the limit, and all that reach it."""
    for length in range(limit + 1):
        for tokens in itertools.product(range(vocab), repeat=length):
            yield tokens, length < limit


def best_of_all(
    decoder: Recurrent, encoded: EncoderOutput, limit: int, penalty: float
) -> tuple[tuple[int, ...], float]:
    """Return the best hypothesis under the length penalty, and its log probability."""
    scored = [
        (log_probability(decoder, encoded, tokens, ended), tokens)
        for tokens, ended in everything(decoder.vocab, limit)
    ]
    score, tokens = max(scored, key=lambda one: one[0] / ((5 + len(one[1])) / 6) ** penalty)
    return tokens, score


@torch.no_grad()
def greedy_of_one(decoder: Recurrent, encoded: EncoderOutput, limit: int) -> Hypothesis:
    """Take the best token each time, for one utterance."""
    tokens: list[int] = []
    score, state, fed = 0.0, None, decoder.start_id
    while len(tokens) < limit:
        scores, state = decoder.step(torch.tensor([fed]), state, encoded)
        choices = [*range(decoder.vocab), decoder.end_id]
        fed = max(choices, key=scores[0].tolist().__getitem__)
        score += float(scores[0, fed])
        if fed == decoder.end_id:
            break
        tokens.append(fed)
    return Hypothesis(tokens=tuple(tokens), score=score)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [hypothesis.tokens for hypothesis in found] == [one.tokens for one in expected]
    scores = [hypothesis.score for hypothesis in found]
    assert scores == pytest.approx([one.score for one in expected], abs=TOLERANCE)


@pytest.mark.parametrize("seed", range(12))
def test_greedy_takes_the_best_token_of_each_utterance_each_time(seed: int) -> None:
    decoder, encoded = Recurrent(4, seed), encoding([5, 1, 3, 2], seed)
    found = attention_greedy(decoder, encoded, DecodingOptions(max_tokens=9), 4)
    expected = [greedy_of_one(decoder, single(encoded, index), 9) for index in range(4)]
    assert_same(found, expected)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 6.0, -4.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_best_of_all_hypotheses(seed: int, penalty: float) -> None:
    decoder, encoded = Recurrent(3, seed, end_bias=seed % 3 - 1.0), encoding([4, 1], seed)
    options = DecodingOptions(beam=27, max_tokens=3, length_penalty=penalty)
    found = attention_beam(decoder, encoded, options, 3)
    for index, hypothesis in enumerate(found):
        tokens, score = best_of_all(decoder, single(encoded, index), 3, penalty)
        assert hypothesis.tokens == tokens
        assert hypothesis.score == pytest.approx(score, abs=TOLERANCE)


def test_the_enumerated_cases_have_winners_of_every_length() -> None:
    options = DecodingOptions(beam=27, max_tokens=3, length_penalty=0.6)
    found = {
        len(attention_beam(Recurrent(3, seed, bias), encoding([3], seed), options, 3)[0].tokens)
        for seed in range(20)
        for bias in (-2.0, -1.0, 0.0)
    }
    assert found == {0, 1, 2, 3}


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_hypotheses_depend_on_neither_padding_nor_batch_mates_nor_order(beam: int) -> None:
    for seed in range(6):
        decoder, encoded = Recurrent(5, seed), encoding([2, 6, 1, 4], seed)
        options = DecodingOptions(beam=beam, max_tokens=12)
        found = decode(decoder, encoded, options, 5)
        alone = [decode(decoder, single(encoded, i), options, 5)[0] for i in range(4)]
        assert_same(found, alone)
        sequences = encoded.sequences
        flipped = Sequences(sequences.values.flip(0), sequences.lengths.flip(0))
        assert_same(decode(decoder, EncoderOutput(flipped), options, 5)[::-1], found)


@pytest.mark.parametrize("beam", [1, 4])
def test_the_score_is_the_log_probability_of_what_was_found(beam: int) -> None:
    for seed in range(6):
        decoder, encoded = Recurrent(4, seed, end_bias=1.0), encoding([3, 2], seed)
        options = DecodingOptions(beam=beam, max_tokens=8)
        for index, found in enumerate(decode(decoder, encoded, options, 4)):
            ended, one = len(found.tokens) < 8, single(encoded, index)
            score = log_probability(decoder, one, found.tokens, ended)
            assert found.score == pytest.approx(score, abs=TOLERANCE)


@pytest.mark.parametrize("beam", [1, 3])
def test_a_decoder_that_never_ends_is_stopped_by_its_own_utterance(beam: int) -> None:
    decoder, encoded = Recurrent(4, 0, end_bias=-1e4), encoding([1, 3, 40], 0)
    found = decode(decoder, encoded, DecodingOptions(beam=beam, max_tokens=30), 4)
    assert [len(hypothesis.tokens) for hypothesis in found] == [12, 16, 30]


@pytest.mark.parametrize("beam", [1, 3])
def test_the_search_stops_when_nothing_alive_can_win(beam: int) -> None:
    decoder, encoded = Recurrent(4, 0, end_bias=1e4), encoding([30, 20], 0)
    found = decode(decoder, encoded, DecodingOptions(beam=beam, max_tokens=60), 4)
    assert [hypothesis.tokens for hypothesis in found] == [(), ()]
    assert decoder.steps_taken == 1


@pytest.mark.parametrize("beam", [1, 3])
def test_an_utterance_without_encoder_steps_gets_no_tokens(beam: int) -> None:
    decoder, encoded = Recurrent(4, 1), encoding([0, 3], 1)
    found = decode(decoder, encoded, DecodingOptions(beam=beam, max_tokens=6), 4)
    assert found[0] == Hypothesis(tokens=(), score=0.0)
    assert_same(
        found[1:], decode(decoder, single(encoded, 1), DecodingOptions(beam=beam, max_tokens=6), 4)
    )


@pytest.mark.parametrize("beam", [1, 3])
def test_an_empty_batch_gives_no_hypotheses(beam: int) -> None:
    empty = EncoderOutput(Sequences(torch.zeros(0, 3, DIM).double(), torch.zeros(0).long()))
    assert decode(Recurrent(4, 1), empty, DecodingOptions(beam=beam), 4) == []


@pytest.mark.parametrize("beam", [1, 3])
def test_ids_that_the_tokenizer_does_not_have_are_never_found(beam: int) -> None:
    decoder, encoded = Recurrent(4, 2, end_bias=-1.0), encoding([4, 4], 2)
    with torch.no_grad():
        decoder.output.bias[3:5] += 50.0
    found = decode(decoder, encoded, DecodingOptions(beam=beam, max_tokens=7), vocab=3)
    assert {token for hypothesis in found for token in hypothesis.tokens} <= {0, 1, 2}


def test_a_beam_wider_than_all_beginnings_leaves_its_places_free() -> None:
    decoder, encoded = Recurrent(1, 3), encoding([2], 3)
    options = DecodingOptions(beam=10, max_tokens=4)
    tokens, _ = best_of_all(decoder, encoded, 4, options.length_penalty)
    assert attention_beam(decoder, encoded, options, 1)[0].tokens == tokens


def test_packed_encodings_are_searched_like_padded_ones() -> None:
    decoder, encoded = Recurrent(4, 4), encoding([3, 5], 4)
    options = DecodingOptions(beam=2, max_tokens=6)
    packed = EncoderOutput(encoded.sequences.pack())
    assert_same(decode(decoder, packed, options, 4), decode(decoder, encoded, options, 4))


def test_limits_follow_the_encoder_steps_up_to_the_option() -> None:
    lengths = torch.tensor([0, 1, 10, 500])
    encoded = EncoderOutput(Sequences(torch.zeros(4, 500, 1), lengths))
    assert token_limits(encoded, 448).tolist() == [0, 12, 30, 448]


def test_the_length_divisor_is_that_of_gnmt() -> None:
    divisor = length_divisor(torch.tensor([1, 7]), 0.6)
    assert divisor.tolist() == pytest.approx([1.0, 2.0**0.6])


class Scripted(AttentionDecoder):
    """Ends with the probability that stands for each step; else emits token 0."""

    def __init__(self, ends: list[float]) -> None:
        super().__init__()
        self.start_id, self.end_id, self.ends = 0, 1, ends

    def step(
        self, tokens: Int[Tensor, " batch"], state: State, encoder_output: EncoderOutput
    ) -> tuple[Float[Tensor, "batch scores"], State]:
        taken = state if isinstance(state, Tensor) else torch.zeros_like(tokens)
        end = torch.tensor(self.ends, dtype=torch.float64)[taken]
        return torch.stack([1 - end, end], -1).log(), taken + 1


@pytest.mark.parametrize(
    ("penalty", "ends", "length"), [(-4.0, [0.33, 1, 1], 1), (4.0, [0.6, 0, 0, 1], 3)]
)
def test_what_can_still_win_after_an_end_is_not_given_up(
    penalty: float, ends: list[float], length: int
) -> None:
    options = DecodingOptions(beam=2, max_tokens=len(ends), length_penalty=penalty)
    (found,) = attention_beam(Scripted(ends), encoding([9], 0), options, 1)
    assert len(found.tokens) == length
    first, last = math.log(ends[0]), math.log(1 - ends[0])
    assert last / ((5 + length) / 6) ** penalty > first / (5 / 6) ** penalty
