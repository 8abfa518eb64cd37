"""The index: arrays that follow the utterances, and a digest that follows what is said."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.data.index import Index
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

ONE = Utterance(
    id="one",
    audio=AudioSource(path="/there/one.wav"),
    text="one",
    duration=1.25,
    language="en",
    speaker="s",
)
SHARD = AudioSource(path="/there/a.shard", offset=10, size=20)
TWO = replace(ONE, id="two", text="two two", duration=0.5, audio=SHARD)

utterances = st.lists(
    st.builds(
        Utterance,
        id=st.text(max_size=5),
        audio=st.builds(AudioSource, path=st.just("x/a.wav")),
        text=st.text("abc", max_size=8),
        duration=st.floats(0.001, 1e5),
    ),
    max_size=6,
)


def encode(text: str) -> list[int]:
    """Encode letters, and refuse any other character as a tokenizer does."""
    for character in text:
        if not character.isalpha() and character != " ":
            raise UserError(f"character {character!r} is not in the tokenizer")
    return [ord(character) for character in text]


@given(utterances)
def test_arrays_follow_the_utterances(found: list[Utterance]) -> None:
    index = Index.build(found, encode)
    assert len(index) == len(found)
    assert index.token_counts.tolist() == [len(utterance.text) for utterance in found]
    wanted = np.array([utterance.duration * 1000 for utterance in found], np.float64)
    assert np.abs(index.durations - wanted).max(initial=0) <= 0.5 + 1e-6
    assert index.problems == {}


def test_arrays_are_64_bit_integers_even_when_empty() -> None:
    for index in (Index.build([], encode), Index.build([ONE], encode)):
        assert index.durations.dtype == index.token_counts.dtype == np.int64


@pytest.mark.parametrize(
    "other",
    [
        [TWO, ONE],
        [ONE],
        [ONE, replace(TWO, id="three")],
        [ONE, replace(TWO, text="two")],
        [ONE, replace(TWO, duration=0.501)],
        [ONE, replace(TWO, language="")],
        [ONE, replace(TWO, audio=replace(SHARD, offset=11))],
        [ONE, replace(TWO, audio=replace(SHARD, path="/there/b.shard"))],
        [replace(ONE, id="on", text="eone"), TWO],
    ],
)
def test_the_digest_changes_with_what_is_said_and_where(other: list[Utterance]) -> None:
    assert Index.build([ONE, TWO], encode).digest != Index.build(other, encode).digest


def test_the_digest_does_not_depend_on_where_the_folder_is_or_on_the_tokenizer() -> None:
    moved = replace(ONE, audio=AudioSource(path="/elsewhere/deep/one.wav"))
    before = Index.build([ONE, TWO], encode).digest
    assert Index.build([moved, TWO], encode).digest == before
    assert Index.build([ONE, TWO], lambda text: []).digest == before
    assert len(before) == 64


def test_a_text_that_cannot_be_encoded_is_a_problem_and_the_others_are_not() -> None:
    index = Index.build([ONE, replace(ONE, id="bad", text="50%"), TWO], encode)
    assert index.problems == {1: "character '5' is not in the tokenizer"}
    assert index.token_counts.tolist() == [3, 0, 7]


def test_audio_without_a_length_is_a_problem() -> None:
    index = Index.build([ONE, replace(TWO, duration=0.0)], encode)
    assert list(index.problems) == [1]
    assert "a.shard" in index.problems[1]


def test_a_fault_of_the_tokenizer_is_not_taken_for_a_bad_utterance() -> None:
    def broken(text: str) -> list[int]:
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        Index.build([ONE], broken)
