"""Greedy transducer search by label looping against a plain loop over one utterance's steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.decoding import decode, transducer_greedy
from asr_lab.decoding.transducer_step import WINDOW, Choice, pass_blanks
from asr_lab.models.base import DecodingOptions, EncoderOutput, Hypothesis, Sequences
from asr_lab.testing.transducers import (
    DIM,
    RandomTransducer,
    random_encoding,
    transducer_reference,
)

TOLERANCE = 1e-9
"""In float64 the two ways of adding a few hundred log probabilities differ by far less."""
KINDS = {"rnnt": (), "tdt": (0, 1, 2, 3, 4), "tdt far": (0, 3, 9), "tdt never 0": (1, 2)}


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.times for one in found] == [one.times for one in expected]
    assert [one.ends for one in found] == [one.ends for one in expected]
    scores = [one.score for one in expected]
    assert [one.score for one in found] == pytest.approx(scores, abs=TOLERANCE)


def references(
    decoder: RandomTransducer, encoded: EncoderOutput, max_symbols: int
) -> list[Hypothesis]:
    """Search every utterance of a batch on its own."""
    sequences = encoded.sequences
    return [
        transducer_reference(decoder, values[:length], max_symbols)
        for values, length in zip(sequences.values, sequences.lengths.tolist(), strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    bias=st.sampled_from([-4.0, 0.0, 4.0, 8.0]),
    max_symbols=st.integers(1, 4),
)
def test_any_batch_is_searched_like_each_utterance_alone_step_by_step(
    kind: str, seed: int, lengths: list[int], bias: float, max_symbols: int
) -> None:
    decoder = RandomTransducer(4, seed, KINDS[kind], bias)
    encoded = random_encoding(lengths, seed)
    found = transducer_greedy(decoder, encoded, DecodingOptions(max_symbols=max_symbols))
    assert_same(found, references(decoder, encoded, max_symbols))


@pytest.mark.parametrize("kind", KINDS)
def test_the_random_transducers_emit_and_pass_over_long_and_short_runs_of_blanks(kind: str) -> None:
    gaps: set[int] = set()
    for seed in range(40):
        decoder = RandomTransducer(4, seed, KINDS[kind], 4.0)
        (found,) = references(decoder, random_encoding([60], seed), 3)
        gaps |= {
            int(after - before) for before, after in zip(found.times, found.times[1:], strict=False)
        }
    assert {1, 3, WINDOW + 1} <= gaps and max(gaps) > 2 * WINDOW


@pytest.mark.parametrize("kind", KINDS)
def test_hypotheses_depend_on_neither_padding_nor_batch_mates_nor_order(kind: str) -> None:
    decoder, encoded = RandomTransducer(4, 5, KINDS[kind], 2.0), random_encoding([9, 30, 0, 17], 5)
    sequences = encoded.sequences
    found = decode(decoder, encoded, DecodingOptions(), 4)
    flipped = Sequences(sequences.values.flip(0), sequences.lengths.flip(0))
    longer = torch.nn.functional.pad(sequences.values, (0, 0, 0, 13), value=torch.inf)
    padded = Sequences(longer, sequences.lengths)
    packed = sequences.pack()
    assert_same(decode(decoder, EncoderOutput(flipped), DecodingOptions(), 4)[::-1], found)
    assert_same(decode(decoder, EncoderOutput(padded), DecodingOptions(), 4), found)
    assert_same(decode(decoder, EncoderOutput(packed), DecodingOptions(), 4), found)
    assert any(one.tokens for one in found)


def test_the_same_batch_gives_the_same_bits() -> None:
    decoder, encoded = RandomTransducer(4, 1, (0, 1, 2)), random_encoding([20, 11], 1)
    first = transducer_greedy(decoder, encoded, DecodingOptions())
    assert transducer_greedy(decoder, encoded, DecodingOptions()) == first


@pytest.mark.parametrize("kind", ["rnnt", "tdt"])
def test_a_decoder_that_never_emits_the_blank_gets_as_many_tokens_as_are_allowed(kind: str) -> None:
    decoder, encoded = RandomTransducer(4, 0, KINDS[kind], -1e4), random_encoding([7, 3], 0)
    if kind == "tdt":
        with torch.no_grad():
            decoder.output.bias[5] = 1e4
    found = transducer_greedy(decoder, encoded, DecodingOptions(max_symbols=3))
    assert [len(one.tokens) for one in found] == [21, 9]
    assert found[1].times == (0, 0, 0, 1, 1, 1, 2, 2, 2)


def test_a_token_and_duration_transducer_tells_where_tokens_end() -> None:
    decoder, encoded = RandomTransducer(4, 3, (0, 1, 2, 3)), random_encoding([40], 3)
    (found,) = transducer_greedy(decoder, encoded, DecodingOptions())
    assert len(found.ends) == len(found.times) > 5
    lasting = {end - start for start, end in zip(found.times, found.ends, strict=True)}
    assert lasting <= {0, 1, 2, 3} and len(lasting) > 2


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_nothing_to_search_gives_empty_hypotheses(shape: tuple[int, int]) -> None:
    lengths = torch.zeros(shape[0], dtype=torch.int64)
    empty = EncoderOutput(Sequences(torch.zeros(*shape, DIM).double(), lengths))
    found = decode(RandomTransducer(4, 0), empty, DecodingOptions(), 4)
    assert found == [Hypothesis(tokens=(), score=0.0)] * shape[0]


def test_blanks_are_followed_to_the_first_token_or_out_of_the_window() -> None:
    jumps = torch.tensor([[2, 1, 1, 5, 1, 0, 1, 1], [1] * 8, [0] * 8, [3, 0, 0, 9, 0, 0, 0, 0]])
    blank = torch.tensor(
        [[1, 0, 1, 1, 0, 0, 1, 1], [1] * 8, [0] * 8, [1, 0, 0, 1, 0, 0, 0, 0]], dtype=torch.bool
    )
    costs = torch.arange(8.0).expand(4, 8)
    moved, passed = pass_blanks(Choice(jumps, jumps, costs), blank)
    assert moved.tolist() == [8, 8, 0, 12]
    assert passed.tolist() == [0 + 2 + 3, 28, 0, 0 + 3]


def test_max_symbols_is_refused_below_1() -> None:
    with pytest.raises(ValueError, match="max-symbols must be 1 or more; got 0"):
        DecodingOptions(max_symbols=0)
