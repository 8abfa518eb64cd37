"""Times of tokens and words: characters, subwords, ends known and unknown."""

from dataclasses import dataclass

import pytest

from asr_lab.decoding import seconds_per_step, token_spans, word_times
from asr_lab.layers.lengths import subsampled
from asr_lab.models.base import Hypothesis, ModelConfig
from asr_lab.tokenizers import BPETokenizer, CharacterTokenizer, Tokenizer
from asr_lab.tokenizers.bpe import train_bpe

TEXT = "the cat sat on the mat"


@dataclass(frozen=True, kw_only=True)
class Shortened(ModelConfig):
    """A model that makes one step of several frames."""

    factor: int

    def steps(self, frames: int) -> int:
        return subsampled(frames, self.factor)


def said(tokenizer: Tokenizer, text: str, *, ends: bool = False) -> Hypothesis:
    """Return a hypothesis whose tokens start at steps 0, 2, 4 and so on."""
    tokens = tuple(tokenizer.encode(text))
    times = tuple(2.0 * place for place in range(len(tokens)))
    last = tuple(time + 1.5 for time in times) if ends else ()
    return Hypothesis(tokens=tokens, score=0.0, times=times, ends=last)


def test_the_length_of_a_step_follows_from_the_features_and_the_subsampling() -> None:
    assert seconds_per_step(Shortened(factor=8)) == pytest.approx(0.08)
    assert seconds_per_step(Shortened(factor=4)) == pytest.approx(0.04)


def test_words_of_characters_reach_from_their_first_to_their_last() -> None:
    words = word_times(said(CharacterTokenizer(TEXT), " the  cat "), CharacterTokenizer(TEXT), 0.5)
    assert [word.text for word in words] == ["the", "cat"]
    assert [(word.start, word.end) for word in words] == [(1.0, 3.5), (6.0, 8.5)]


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return train_bpe([TEXT] * 3 + ["a cat on a mat sat"], 280)


def test_words_of_subwords_are_those_of_the_text(bpe: BPETokenizer) -> None:
    hypothesis = said(bpe, TEXT, ends=True)
    words = word_times(hypothesis, bpe, 1.0)
    assert [word.text for word in words] == TEXT.split()
    assert words[0].start == 0.0 and words[-1].end == hypothesis.ends[-1]
    assert all(a.end <= b.start for a, b in zip(words, words[1:], strict=False))


def test_characters_that_are_several_bytes_come_out_whole(bpe: BPETokenizer) -> None:
    words = word_times(said(bpe, "the ñandú"), bpe, 1.0)
    assert [word.text for word in words] == ["the", "ñandú"]


def test_without_ends_a_token_lasts_a_step_or_until_the_next_starts() -> None:
    hypothesis = Hypothesis(tokens=(0, 1, 2), score=0.0, times=(3.0, 3.0, 7.0))
    assert token_spans(hypothesis, 0.5) == [(1.5, 1.5), (1.5, 2.0), (3.5, 4.0)]


def test_a_hypothesis_without_times_is_refused() -> None:
    with pytest.raises(ValueError, match="does not tell when tokens start; use a CTC"):
        token_spans(Hypothesis(tokens=(1,), score=0.0), 0.04)


def test_an_empty_hypothesis_has_no_words() -> None:
    assert word_times(Hypothesis(tokens=(), score=0.0), CharacterTokenizer("ab"), 1.0) == []
