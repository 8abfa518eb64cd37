"""CTC greedy search against a loop over steps, on ragged batches with rubbish as padding."""

import math
from itertools import groupby

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from asr_lab.decoding import ctc_greedy, decode
from asr_lab.models.base import CTCDecoder, Decoder, DecodingOptions, EncoderOutput, Sequences


def best_path(log_probs: list[list[float]], blank_id: int) -> tuple[list[int], list[int], float]:
    """Return labels, start steps and log probability of the best path, one step at a time."""
    path = [max(range(len(scores)), key=scores.__getitem__) for scores in log_probs]
    score = math.fsum(max(scores) for scores in log_probs)
    labels, times, step = [], [], 0
    for label, run in groupby(path):
        if label != blank_id:
            labels.append(label)
            times.append(step)
        step += len(list(run))
    return labels, times, score


def ragged(seed: int) -> tuple[Tensor, Tensor, int]:
    """Return peaky random log probabilities with lengths from 0, and the blank's id."""
    generator = torch.Generator().manual_seed(seed)
    batch, steps, vocab = (int(torch.randint(1, 9, (), generator=generator)) for _ in range(3))
    logits = 3 * torch.randn(batch, steps, vocab + 1, generator=generator, dtype=torch.float64)
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator)
    return logits.log_softmax(-1), lengths, vocab


@pytest.mark.parametrize("seed", range(40))
def test_tokens_times_and_score_are_those_of_the_best_path(seed: int) -> None:
    log_probs, lengths, blank_id = ragged(seed)
    found = ctc_greedy(log_probs, lengths, blank_id)
    assert len(found) == len(lengths)
    for scores, length, hypothesis in zip(log_probs, lengths.tolist(), found, strict=True):
        labels, times, score = best_path(scores[:length].tolist(), blank_id)
        assert hypothesis.tokens == tuple(labels)
        assert hypothesis.times == tuple(map(float, times))
        assert hypothesis.score == pytest.approx(score, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("rubbish", [0.0, math.nan, math.inf])
def test_padding_is_never_looked_at(rubbish: float) -> None:
    for seed in range(10):
        log_probs, lengths, blank_id = ragged(seed)
        longer = torch.nn.functional.pad(log_probs, (0, 0, 0, 5))
        outside = torch.arange(longer.shape[1]) >= lengths[:, None]
        longer[outside] = rubbish
        assert ctc_greedy(longer, lengths, blank_id) == ctc_greedy(log_probs, lengths, blank_id)


def test_an_utterance_is_searched_the_same_alone_and_in_any_order() -> None:
    log_probs, lengths, blank_id = ragged(7)
    together = ctc_greedy(log_probs, lengths, blank_id)
    backwards = ctc_greedy(log_probs.flip(0), lengths.flip(0), blank_id)
    assert backwards == together[::-1]
    for index, hypothesis in enumerate(together):
        one = slice(index, index + 1)
        assert ctc_greedy(log_probs[one], lengths[one], blank_id) == [hypothesis]


def test_repetitions_merge_and_a_blank_keeps_them_apart() -> None:
    path = torch.tensor([[2, 0, 0, 2, 0, 1, 1, 2]])
    scores = torch.nn.functional.one_hot(path, 3).double().log_softmax(-1)
    (hypothesis,) = ctc_greedy(scores, torch.tensor([8]), blank_id=2)
    assert hypothesis.tokens == (0, 0, 1)
    assert hypothesis.times == (1.0, 4.0, 5.0)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)])
def test_nothing_to_search_gives_empty_hypotheses(shape: tuple[int, int, int]) -> None:
    found = ctc_greedy(torch.zeros(shape), torch.zeros(shape[0], dtype=torch.int64), 2)
    assert [hypothesis.tokens for hypothesis in found] == [()] * shape[0]


class Linear(CTCDecoder):
    """The smallest decoder that is one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 6)

    def log_probs(self, encoder_output: EncoderOutput) -> Float[Tensor, "batch steps tokens"]:
        scores: Tensor = self.linear(encoder_output.sequences.values)
        return scores.float().log_softmax(-1)


def test_decode_takes_padded_and_packed_encodings_and_puts_the_blank_last() -> None:
    torch.manual_seed(0)
    decoder, padded = Linear(), Sequences(torch.randn(3, 7, 4), torch.tensor([7, 2, 5]))
    expected = ctc_greedy(decoder.log_probs(EncoderOutput(padded)), padded.lengths, 5)
    for sequences in (padded, padded.pack()):
        found = decode(decoder, EncoderOutput(sequences), DecodingOptions(), vocab=5)
        assert [hypothesis.tokens for hypothesis in found] == [h.tokens for h in expected]
    assert all(token < 5 for hypothesis in expected for token in hypothesis.tokens)


def test_decode_refuses_a_decoder_it_has_no_search_for() -> None:
    encoded = EncoderOutput(Sequences(torch.zeros(1, 2, 4), torch.tensor([2])))
    with pytest.raises(NotImplementedError, match="no search for a Decoder; it must be a CTC"):
        decode(Decoder(), encoded, DecodingOptions(), vocab=5)
