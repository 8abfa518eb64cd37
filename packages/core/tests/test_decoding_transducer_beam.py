"""Transducer beam search against the sum over every alignment of every short transcript."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.decoding import decode, transducer_beam_search, transducer_greedy
from asr_lab.models.base import DecodingOptions, EncoderOutput, Hypothesis, Sequences
from asr_lab.testing.transducers import DIM, RandomTransducer, random_encoding

TOLERANCE = 1e-4
"""What a search of durations may leave to alignments that it gave up; e^-10 of the probability."""
KINDS = {"rnnt": (), "tdt": (0, 1, 2), "tdt never 0": (1, 2, 3)}
LONGEST = 4
"""Tokens of the transcripts that are tried; the blank's bias makes longer ones improbable."""
WIDE = DecodingOptions(beam=300, max_symbols=LONGEST + 4)


def undecided(seed: int, durations: tuple[int, ...]) -> RandomTransducer:
    """Return a transducer of two tokens whose probabilities lie closer together."""
    decoder = RandomTransducer(2, seed, durations, 0.5 + seed % 2)
    with torch.no_grad():
        decoder.output.weight.mul_(0.3 + 0.1 * (seed % 4))
    return decoder


@torch.no_grad()
def log_probability(decoder: RandomTransducer, steps: Tensor, labels: tuple[int, ...]) -> float:
    """Add up all alignments, from each (encoder step, tokens so far) to where decisions lead."""
    blank = decoder.blank_id
    fed = torch.tensor([[blank, *labels]])
    logits = decoder.joint(decoder.project(steps[None]), decoder.predict(fed, None)[0])[0]
    scores, durations = logits[..., : blank + 1].log_softmax(-1), decoder.durations
    lasting = logits[..., blank + 1 :].log_softmax(-1) if durations else None
    sums = [[0.0] * (len(labels) + 1) for _ in range(len(steps) + 1)]
    sums[0][0] = 1.0
    for time, count in itertools.product(range(len(steps)), range(len(labels) + 1)):
        for token in [blank, *labels[count : count + 1]]:
            own = 1 if token == blank else 0
            for index, duration in enumerate(durations or (own,)):
                score = float(scores[time, count, token])
                score += float(lasting[time, count, index]) if lasting is not None else 0.0
                to = min(len(steps), time + max(own, duration))
                after = count + (token != blank)
                sums[to][after] += sums[time][count] * math.exp(score)
    return math.log(sums[-1][-1]) if sums[-1][-1] else -math.inf


def best_of_all(decoder: RandomTransducer, steps: Tensor) -> tuple[tuple[int, ...], float]:
    """Try every transcript of at most `LONGEST` tokens."""
    tried = [
        (log_probability(decoder, steps, labels), labels)
        for count in range(LONGEST + 1)
        for labels in itertools.product(range(decoder.blank_id), repeat=count)
    ]
    score, labels = max(tried)
    return labels, score


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6)
@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(1, 3), min_size=1, max_size=2))
def test_a_wide_beam_finds_the_best_transcript_and_its_whole_probability(
    kind: str, seed: int, lengths: list[int]
) -> None:
    decoder, encoded = undecided(seed, KINDS[kind]), random_encoding(lengths, seed)
    found = transducer_beam_search(decoder, encoded, WIDE)
    for one, steps, length in zip(found, encoded.sequences.values, lengths, strict=True):
        labels, score = best_of_all(decoder, steps[:length])
        if len(one.tokens) > LONGEST:
            assert one.score > score - TOLERANCE
        else:
            assert one.score == pytest.approx(score, abs=TOLERANCE)
            assert one.tokens == labels


def test_the_enumerated_cases_have_winners_of_several_lengths_that_greedy_search_misses() -> None:
    lengths, missed, narrow = set(), 0, DecodingOptions(beam=60, max_symbols=6)
    for seed, durations in itertools.product(range(24), KINDS.values()):
        decoder, encoded = undecided(seed, durations), random_encoding([4], seed)
        (found,) = transducer_beam_search(decoder, encoded, narrow)
        lengths.add(len(found.tokens))
        missed += found.tokens != transducer_greedy(decoder, encoded, narrow)[0].tokens
    assert {0, 1, 2} <= lengths and missed >= 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beam", [2, 4])
def test_a_beam_never_scores_below_greedy_search(kind: str, beam: int) -> None:
    for seed in range(4):
        decoder, encoded = (
            RandomTransducer(4, seed, KINDS[kind], 2.0),
            random_encoding([25, 9], seed),
        )
        wide = decode(decoder, encoded, DecodingOptions(beam=beam), 4)
        for one, greedy in zip(wide, decode(decoder, encoded, DecodingOptions(), 4), strict=True):
            assert one.score >= greedy.score


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(one.tokens, one.times, one.ends) for one in found] == [
        (one.tokens, one.times, one.ends) for one in expected
    ]
    scores = [one.score for one in expected]
    assert [one.score for one in found] == pytest.approx(scores, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_hypotheses_depend_on_neither_padding_nor_batch_mates_nor_order(kind: str) -> None:
    options = DecodingOptions(beam=4, max_symbols=3)
    for seed in range(3):
        decoder = RandomTransducer(4, seed, KINDS[kind], 2.0)
        sequences = random_encoding([9, 20, 0, 14], seed).sequences
        found = decode(decoder, EncoderOutput(sequences), options, 4)
        flipped = Sequences(sequences.values.flip(0), sequences.lengths.flip(0))
        assert_same(decode(decoder, EncoderOutput(flipped), options, 4)[::-1], found)
        for index, length in enumerate(sequences.lengths.tolist()):
            one = slice(index, index + 1)
            alone = Sequences(sequences.values[one, : max(length, 1)], sequences.lengths[one])
            assert_same(decode(decoder, EncoderOutput(alone), options, 4), [found[index]])


@pytest.mark.parametrize("kind", KINDS)
def test_times_rise_and_stay_inside_the_utterance(kind: str) -> None:
    decoder, encoded = RandomTransducer(4, 2, KINDS[kind], 2.0), random_encoding([30], 2)
    (found,) = transducer_beam_search(decoder, encoded, DecodingOptions(beam=4))
    assert len(found.times) == len(found.tokens) > 3
    assert list(found.times) == sorted(found.times) and 0 <= found.times[0]
    assert found.times[-1] < 30
    assert len(found.ends) == (len(found.tokens) if KINDS[kind] else 0)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_nothing_to_search_gives_empty_hypotheses(shape: tuple[int, int]) -> None:
    lengths = torch.zeros(shape[0], dtype=torch.int64)
    empty = EncoderOutput(Sequences(torch.zeros(*shape, DIM).double(), lengths))
    found = decode(RandomTransducer(4, 0), empty, DecodingOptions(beam=3), 4)
    assert found == [Hypothesis(tokens=(), score=0.0)] * shape[0]
