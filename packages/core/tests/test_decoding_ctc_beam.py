"""CTC prefix beam search against the sum over every path of every transcript."""

import itertools
import math
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.decoding import ctc_beam_search, ctc_greedy, decode
from asr_lab.decoding.language_model import (
    Fusion,
    WordsFromTokens,
    read_ngrams,
    with_language_model,
)
from asr_lab.models.base import DecodingOptions, EncoderOutput, Hypothesis, Sequences
from asr_lab.models.base.interfaces import CTCDecoder
from asr_lab.testing.transducers import RandomTransducer, random_encoding
from asr_lab.utils.errors import UserError

VOCAB = 2
TOLERANCE = 1e-9
Labels = tuple[int, ...]


def totals(log_probs: Tensor) -> dict[Labels, float]:
    """Return the log probability of every transcript, by trying every path."""
    parts: defaultdict[Labels, list[float]] = defaultdict(list)
    for path in itertools.product(range(VOCAB + 1), repeat=len(log_probs)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label != VOCAB)
        parts[labels].append(sum(float(log_probs[step, label]) for step, label in enumerate(path)))
    return {
        labels: float(torch.tensor(some, dtype=torch.float64).logsumexp(0))
        for labels, some in parts.items()
    }


def random_scores(lengths: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Return random scores with rubbish behind each length."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths), VOCAB + 1)
    scores = torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1)
    for row, length in zip(scores, lengths, strict=True):
        row[length:] = math.nan
    return scores, torch.tensor(lengths)


class Alternating:
    """A language model in miniature: likes token 0 after token 1, and ends after an even number."""

    def start(self) -> Labels:
        return ()

    def score(self, state: Labels, token: int) -> tuple[float, Labels]:
        return (-0.1 if token == 0 and state[-1:] == (1,) else -1.0), (*state, token)

    def end(self, state: Labels) -> float:
        return -2.0 * (len(state) % 2)

    def whole(self, labels: Labels) -> float:
        """Return the log probability of a transcript."""
        steps = [self.score(labels[:place], label)[0] for place, label in enumerate(labels)]
        return sum(steps) + self.end(labels)


def assert_best(found: Hypothesis, expected: dict[Labels, float]) -> None:
    best = max(expected.values())
    assert expected[found.tokens] == pytest.approx(best, abs=TOLERANCE)
    assert found.score == pytest.approx(best, abs=TOLERANCE)
    assert len(found.times) == len(found.tokens)
    assert list(found.times) == sorted(found.times)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [(one.tokens, one.times) for one in found] == [(o.tokens, o.times) for o in expected]
    scores = [one.score for one in expected]
    assert [one.score for one in found] == pytest.approx(scores, abs=TOLERANCE)


lengths_lists = st.lists(st.integers(0, 6), min_size=1, max_size=4)


@given(seed=st.integers(0, 10**6), lengths=lengths_lists)
def test_a_wide_beam_finds_the_best_transcript_and_its_whole_probability(
    seed: int, lengths: list[int]
) -> None:
    scores, counts = random_scores(lengths, seed)
    for index, found in enumerate(ctc_beam_search(scores, counts, VOCAB, 130)):
        assert_best(found, totals(scores[index, : lengths[index]]))


@given(
    seed=st.integers(0, 10**6),
    lengths=lengths_lists,
    weight=st.floats(0.1, 2),
    bonus=st.floats(-1, 1),
)
def test_a_wide_beam_with_a_language_model_finds_the_best_sum(
    seed: int, lengths: list[int], weight: float, bonus: float
) -> None:
    scores, counts = random_scores(lengths, seed)
    model = Alternating()
    found = ctc_beam_search(scores, counts, VOCAB, 130, Fusion(model, weight, bonus))
    for index, hypothesis in enumerate(found):
        expected = {
            labels: total + weight * model.whole(labels) + bonus * len(labels)
            for labels, total in totals(scores[index, : lengths[index]]).items()
        }
        assert_best(hypothesis, expected)


@pytest.mark.parametrize("beam", [2, 3, 8])
def test_hypotheses_depend_on_neither_padding_nor_batch_mates_nor_order(beam: int) -> None:
    for seed in range(5):
        scores, counts = random_scores([12, 3, 0, 9], seed)
        together = ctc_beam_search(scores, counts, VOCAB, beam)
        assert_same(ctc_beam_search(scores.flip(0), counts.flip(0), VOCAB, beam)[::-1], together)
        for index, hypothesis in enumerate(together):
            one = slice(index, index + 1)
            alone = ctc_beam_search(scores[one, : max(1, counts[index])], counts[one], VOCAB, beam)
            assert_same(alone, [hypothesis])


def test_on_certain_scores_the_beam_finds_what_greedy_search_finds() -> None:
    scores = 9 * torch.randn(6, 50, 12, generator=torch.Generator().manual_seed(0)).double()
    lengths = torch.tensor([50, 40, 30, 20, 10, 0])
    found = ctc_beam_search(scores.log_softmax(-1), lengths, 11, 4)
    greedy = ctc_greedy(scores.log_softmax(-1), lengths, 11)
    assert [len(one.tokens) for one in found] == [len(one.tokens) for one in greedy]
    assert sum(a.tokens == b.tokens for a, b in zip(found, greedy, strict=True)) >= 4
    assert all(a.score >= b.score for a, b in zip(found, greedy, strict=True))


def test_an_empty_batch_gives_no_hypotheses() -> None:
    assert ctc_beam_search(torch.zeros(0, 3, 3), torch.zeros(0, dtype=torch.int64), VOCAB, 4) == []


class Given(CTCDecoder):
    """Takes the encoding for scores."""

    def log_probs(self, encoder_output: EncoderOutput) -> Tensor:
        return encoder_output.sequences.values.log_softmax(-1)


def test_decode_searches_ctc_with_a_beam_when_asked() -> None:
    scores, counts = random_scores([9, 4], 3)
    encoded = EncoderOutput(Sequences(scores, counts))
    found = decode(Given(), encoded, DecodingOptions(beam=3), VOCAB)
    expected = ctc_beam_search(scores, counts, VOCAB, 3)
    assert [one.tokens for one in found] == [one.tokens for one in expected]


ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.3
-1.2\t</s>
-0.7\tab\t-0.2
-0.9\tb\t-0.4

\\2-grams:
-0.2\t<s> ab
-0.1\tab b
-0.5\tb </s>

\\end\\
"""


def test_words_of_an_arpa_file_are_scored_when_the_next_one_starts_or_at_the_end(
    tmp_path: Path,
) -> None:
    pytest.importorskip("kenlm")
    (tmp_path / "words.arpa").write_text(ARPA)
    words = read_ngrams(tmp_path / "words.arpa")
    for pieces, tokens in (("ab ", [0, 1, 2, 1]), (["\u2581a", "b", "\u2581b"], [0, 1, 2])):
        model = WordsFromTokens(words, pieces)
        state, added = model.start(), []
        for token in tokens:
            score, state = model.score(state, token)
            added.append(score)
        start = tokens.index(2)
        assert added[start] == pytest.approx(-0.2 * math.log(10), abs=1e-5)
        assert sum(added) == pytest.approx(added[start])
        assert model.end(state) == pytest.approx((-0.1 - 0.5) * math.log(10), abs=1e-5)


def test_a_language_model_chooses_between_words_that_sound_alike(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    (tmp_path / "words.arpa").write_text(ARPA)
    logits = torch.tensor([[3.0, 0, 0, 0], [0, 1.0, 1.1, 0], [3, 0, 0, 0]]).double()
    one = EncoderOutput(Sequences(logits[None, 1:2], torch.tensor([1])))
    options = DecodingOptions(beam=4, lm=str(tmp_path / "words.arpa"), lm_weight=1.0)
    pieces = ["x", "b", "a"]
    assert decode(Given(), one, DecodingOptions(beam=4), 3)[0].tokens == (2,)
    fused = with_language_model(options, pieces)
    assert decode(Given(), one, fused, 3)[0].tokens == (1,)
    assert asdict(fused) == asdict(options)  # a result stores the options, not the model


def test_a_language_model_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    options = DecodingOptions(beam=4, lm=str(tmp_path / "no.arpa"))
    with pytest.raises(UserError, match="there is no language model .*no.arpa; --lm takes an ARPA"):
        with_language_model(options, "ab")
    (tmp_path / "no.arpa").write_text("hello\n")
    with pytest.raises(UserError, match="no.arpa is no ARPA or KenLM language model") as caught:
        with_language_model(options, "ab")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="has not been read"):
        decode(Given(), random_encoding([3], 0), options, 4)
    with pytest.raises(UserError, match="lm works with CTC decoders; this one is a RandomTrans"):
        decode(RandomTransducer(4, 0), random_encoding([3], 0), options, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lm": "x"}, "lm needs a beam of 2 or more; got beam 1"),
        ({"lm_weight": math.nan}, "lm-weight must be a finite number; got nan"),
        ({"token_bonus": math.inf}, "token-bonus must be a finite number; got inf"),
    ],
)
def test_options_that_make_no_search_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecodingOptions(**values)  # type: ignore[arg-type]
