"""Packed utterances are the utterances that went in, whatever is in them, in little memory."""

import pickle
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.data.packed import PackedUtterances
from asr_lab.data.utterance import AudioSource, Utterance

texts = st.text(st.characters(codec=None), max_size=8)  # halves of pairs included
numbers = st.floats(allow_nan=False, allow_infinity=False)
sources = st.builds(
    AudioSource,
    path=st.one_of(texts, st.just("a/b/c.wav"), st.just("/x/"), st.just("é/\udcff.wav")),
    start=numbers,
    duration=st.none() | numbers,
    offset=st.integers(0, 2**62),
    size=st.integers(0, 2**62),
)
utterances = st.builds(
    Utterance,
    id=texts,
    audio=sources,
    text=texts,
    duration=numbers,
    language=st.sampled_from(["", "en", "de_de"]),
    speaker=texts,
)


@given(st.lists(utterances, max_size=6))
def test_what_comes_out_is_what_went_in(found: list[Utterance]) -> None:
    packed = PackedUtterances(found)
    assert list(packed) == found
    assert len(packed) == len(found)
    assert [packed[position] for position in range(-len(found), len(found))] == found * 2
    assert packed[1:4] == found[1:4] and packed[::-2] == found[::-2]
    assert list(pickle.loads(pickle.dumps(packed))) == found


@pytest.mark.parametrize("position", [2, -3])
def test_a_position_outside_is_refused(position: int) -> None:
    one = Utterance(id="a", audio=AudioSource(path="a.wav"), text="a", duration=1.0)
    with pytest.raises(IndexError):
        PackedUtterances([one, one])[position]


def test_an_utterance_takes_its_texts_and_a_hundred_bytes() -> None:
    one = Utterance(
        id="", audio=AudioSource(path=""), text="what somebody has said " * 3, duration=1.0
    )
    count = 3000
    tracemalloc.start()
    try:
        packed = PackedUtterances(
            replace(one, id=f"{n:08}", audio=AudioSource(path=f"/corpus/part/{n:08}.flac"))
            for n in range(count)
        )
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(packed) == count
    assert used / count < len(one.text) + len("12345678" * 2 + ".flac") + 100
