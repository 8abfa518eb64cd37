"""How probable a transducer finds its tokens, against one decision after the other."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.decoding import decode, label_likelihood
from asr_lab.decoding.label_likelihood import label_likelihoods
from asr_lab.models.base import DecodingOptions, EncoderOutput, Hypothesis, Sequences
from asr_lab.testing.transducers import RandomTransducer, random_encoding

KINDS = {"rnnt": (), "tdt": (0, 1, 2, 3, 4)}
TOLERANCE = 1e-9
"""Float64 adds up a few dozen logarithms."""


@torch.no_grad()
def one_by_one(
    decoder: RandomTransducer, encoded: EncoderOutput, row: int, of: Hypothesis
) -> float:
    """Feed the tokens singly, and ask at the step of each how probable it is among the tokens."""
    steps, fed, state = encoded.sequences.values[row], decoder.blank_id, None
    found = 0.0
    for token, time in zip(of.tokens, of.times, strict=True):
        predicted, state = decoder.predict(torch.tensor([[fed]]), state)
        projected = decoder.project(steps[None, int(time)][None])
        labels = decoder.joint(projected, predicted)[0, 0, 0, : decoder.blank_id].softmax(-1)
        found += math.log(float(labels[token]))
        fed = token
    return found


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8)
@given(
    seed=st.integers(0, 10**6),
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    bias=st.sampled_from([0.0, 4.0]),
)
def test_it_is_that_of_each_token_among_the_tokens_where_it_was_said(
    kind: str, beam: int, seed: int, lengths: list[int], bias: float
) -> None:
    decoder, encoded = RandomTransducer(4, seed, KINDS[kind], bias), random_encoding(lengths, seed)
    for row, found in enumerate(decode(decoder, encoded, DecodingOptions(beam=beam), 4)):
        if not found.tokens:
            assert math.isnan(found.likelihood), "the score of silence is its probability"
            continue
        expected = one_by_one(decoder, encoded, row, found)
        assert found.likelihood == pytest.approx(expected, abs=TOLERANCE)
        if beam == 1:
            assert found.likelihood >= found.score - TOLERANCE, "blanks only make a path unlikely"


def test_pieces_batch_mates_and_padding_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, encoded = RandomTransducer(4, 3, (), 1.0), random_encoding([30, 0, 17, 9], 3)
    found = decode(decoder, encoded, DecodingOptions(), 4)
    assert sum(len(one.tokens) for one in found) > 20
    monkeypatch.setattr(label_likelihood, "SCORES", 8)
    sequences = encoded.sequences
    values = torch.nn.functional.pad(sequences.values.flip(0), (0, 0, 0, 5), value=torch.nan)
    flipped = EncoderOutput(Sequences(values, sequences.lengths.flip(0)))
    again = decode(decoder, flipped, DecodingOptions(), 4)[::-1]
    for one, other in zip(found, again, strict=True):
        assert one.likelihood == pytest.approx(other.likelihood, abs=TOLERANCE, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_how_sure_the_blank_is_does_not_matter_to_it(kind: str) -> None:
    decoder, encoded = RandomTransducer(4, 5, KINDS[kind], 0.0), random_encoding([12], 5)
    before = decode(decoder, encoded, DecodingOptions(), 4)
    with torch.no_grad():
        decoder.output.bias[4] += 3.0
    after = label_likelihoods(decoder, encoded, before)
    assert before[0].tokens and math.isfinite(before[0].likelihood)
    assert after[0].likelihood == pytest.approx(before[0].likelihood, abs=TOLERANCE)
