"""Times of words for every kind of piece and any hypothesis: nothing is lost, and order is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.decoding import token_spans, word_times
from asr_lab.models.base import Hypothesis
from asr_lab.tokenizers import BPETokenizer, CharacterTokenizer
from asr_lab.tokenizers.bpe import train_bpe

LETTERS = CharacterTokenizer("ab ")
STEP = 0.25
"""A power of 2, so that products are exact."""
gaps = st.lists(st.integers(0, 5), min_size=12, max_size=12)


@pytest.fixture(scope="module")
def subwords() -> BPETokenizer:
    return train_bpe(["the cat sat on the mat"] * 3, 280)


def timed(tokens: list[int], after: list[int], lasting: int | None = None) -> Hypothesis:
    """Return a hypothesis whose tokens start so many steps after each other."""
    times = tuple(float(sum(after[: place + 1])) for place in range(len(tokens)))
    ends = tuple(time + lasting for time in times) if lasting is not None else ()
    return Hypothesis(tokens=tuple(tokens), score=0.0, times=times, ends=ends)


@given(text=st.text("ab ", max_size=12), after=gaps)
def test_words_of_characters_are_what_splitting_gives_in_the_order_of_time(
    text: str, after: list[int]
) -> None:
    words = word_times(timed(LETTERS.encode(text), after), LETTERS, STEP)
    assert [word.text for word in words] == text.split()
    assert all(word.start <= word.end for word in words)
    assert all(a.end <= b.start for a, b in zip(words, words[1:], strict=False))


@given(text=st.text("ab ", max_size=12), after=gaps)
def test_a_word_starts_and_ends_with_its_letters_and_not_with_spaces(
    text: str, after: list[int]
) -> None:
    hypothesis = timed(LETTERS.encode(text), after, 1)
    letters = [place for place, letter in enumerate(text) if letter != " "]
    words = word_times(hypothesis, LETTERS, STEP)
    if not letters:
        assert words == []
        return
    assert words[0].start == hypothesis.times[letters[0]] * STEP
    assert words[-1].end == hypothesis.ends[letters[-1]] * STEP


@given(data=st.data(), after=gaps)
def test_words_of_subwords_are_those_of_the_decoded_text(
    data: st.DataObject, after: list[int], subwords: BPETokenizer
) -> None:
    text = data.draw(st.text("acehmnost ", max_size=8).map(str.strip))
    tokens = subwords.encode(text)
    words = word_times(timed(tokens, (after * 2)[: len(tokens)]), subwords, STEP)
    assert [word.text for word in words] == text.split()


@given(after=gaps, count=st.integers(1, 12))
def test_a_token_without_a_known_end_lasts_a_step_and_never_into_the_next(
    after: list[int], count: int
) -> None:
    hypothesis = timed([0] * count, after)
    spans = token_spans(hypothesis, STEP)
    assert [start for start, _ in spans] == [time * STEP for time in hypothesis.times]
    assert spans[-1][1] - spans[-1][0] == STEP
    for (start, end), (following, _) in zip(spans, spans[1:], strict=False):
        assert end == min(start + STEP, following)


@given(after=gaps, count=st.integers(0, 12), lasting=st.integers(0, 4))
def test_known_ends_are_kept_and_all_times_scale_with_the_step(
    after: list[int], count: int, lasting: int
) -> None:
    hypothesis = timed([0] * count, after, lasting)
    spans = token_spans(hypothesis, STEP)
    assert all(end - start == lasting * STEP for start, end in spans)
    assert token_spans(hypothesis, 2 * STEP) == [(2 * start, 2 * end) for start, end in spans]


@pytest.mark.parametrize("times", [(), (1.0,), (1.0, 2.0, 3.0)])
def test_as_many_times_as_tokens_are_needed(times: tuple[float, ...]) -> None:
    hypothesis = Hypothesis(tokens=(0, 1), score=0.0, times=times)
    with pytest.raises(ValueError, match="does not tell when tokens start"):
        word_times(hypothesis, LETTERS, STEP)
