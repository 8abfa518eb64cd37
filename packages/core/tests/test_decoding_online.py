"""A search that goes on where it stopped finds what the search of the whole finds."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.decoding.online import OnlineSearch, online_search
from asr_lab.models.base import DecodingOptions, EncoderOutput, Hypothesis, Sequences
from asr_lab.models.base.interfaces import CTCDecoder, Decoder
from asr_lab.testing.transducers import DIM, RandomTransducer, random_encoding
from asr_lab.utils.errors import UserError

VOCAB = 3
"""So few that labels repeat, with and without a blank between."""


class RandomCTC(CTCDecoder):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.linear = nn.Linear(DIM, VOCAB + 1).double()

    def log_probs(self, encoder_output: EncoderOutput) -> Float[Tensor, "batch steps tokens"]:
        scores: Tensor = self.linear(encoder_output.sequences.values).log_softmax(-1)
        return scores


def make(kind: str, seed: int) -> Decoder:
    if kind == "ctc":
        return RandomCTC(seed)
    return RandomTransducer(VOCAB, seed, (0, 1, 2, 4) if kind == "tdt" else (), blank_bias=1.0)


def piece(whole: EncoderOutput, starts: list[int], sizes: list[int]) -> EncoderOutput:
    """Return the next steps of each row, with NaN as padding."""
    values, lengths = whole.sequences.values, whole.sequences.lengths.tolist()
    rows = [
        row[start : min(start + size, length)]
        for row, start, size, length in zip(values, starts, sizes, lengths, strict=True)
    ]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=torch.nan)
    return EncoderOutput(Sequences(padded, torch.tensor([len(row) for row in rows])))


def equal(found: Hypothesis, expected: Hypothesis) -> bool:
    same = (found.tokens, found.times, found.ends) == (
        expected.tokens,
        expected.times,
        expected.ends,
    )
    return same and abs(found.score - expected.score) < 1e-4 * max(1.0, abs(expected.score))


@torch.no_grad()
def searched(search: OnlineSearch, whole: EncoderOutput, turns: list[list[int]]) -> None:
    """Push the steps in pieces of these sizes, one list for each turn, again and again."""
    starts, turn = [0] * len(turns[0]), 0
    while any(s < n for s, n in zip(starts, whole.sequences.lengths.tolist(), strict=True)):
        sizes = turns[turn % len(turns)]
        search.push(piece(whole, starts, sizes))
        starts = [start + size for start, size in zip(starts, sizes, strict=True)]
        turn += 1


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from(["ctc", "rnnt", "tdt"]),
    st.integers(0, 1000),
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.data(),
)
def test_steps_in_pieces_give_the_labels_times_and_score_of_the_whole(
    kind: str, seed: int, lengths: list[int], data: st.DataObject
) -> None:
    decoder, whole = make(kind, seed), random_encoding(lengths, seed)
    sizes = st.lists(st.integers(0, 12), min_size=len(lengths), max_size=len(lengths))
    turns = [*data.draw(st.lists(sizes, min_size=1, max_size=5)), [1] * len(lengths)]
    options = DecodingOptions(max_symbols=3)
    search = online_search(decoder, len(lengths), options, VOCAB)
    searched(search, whole, turns)
    with torch.no_grad():
        expected = decode(decoder, whole, options, VOCAB)
    for found, wanted in zip(search.hypotheses(), expected, strict=True):
        assert equal(found, wanted), (found, wanted)


@pytest.mark.parametrize("kind", ["ctc", "rnnt", "tdt"])
def test_what_was_found_is_never_taken_back(kind: str) -> None:
    decoder, whole = make(kind, 5), random_encoding([40], 5)
    search = online_search(decoder, 1, DecodingOptions(), VOCAB)
    before: tuple[int, ...] = ()
    with torch.no_grad():
        for step in range(40):
            search.push(piece(whole, [step], [1]))
            (after,) = search.hypotheses()
            assert after.tokens[: len(before)] == before
            before = after.tokens
    assert len(before) > 5


def test_a_decoder_that_needs_the_whole_utterance_is_refused() -> None:
    with pytest.raises(UserError, match="a Decoder cannot decode a stream; use CTC or"):
        online_search(Decoder(), 1, DecodingOptions(), VOCAB)
