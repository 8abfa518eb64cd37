"""Chosen utterances of several data sets are the list of them, in every way they can be asked."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.data.index import Index, witness
from asr_lab.data.packed import PackedUtterances
from asr_lab.data.selection import Selection, count_tokens
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

utterances = st.lists(
    st.builds(
        Utterance,
        id=st.text("abc", max_size=4),
        audio=st.builds(AudioSource, path=st.sampled_from(["a.wav", "/x/b.wav", "x/c.flac"])),
        text=st.text("ab é", max_size=6),
        duration=st.floats(0.001, 100),
        language=st.sampled_from(["", "en", "de"]),
        speaker=st.sampled_from(["", "s", "t", "u"]),
    ),
    max_size=8,
)
sets = st.lists(utterances, min_size=1, max_size=3)


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def chosen(found: list[list[Utterance]], draw: st.DataObject) -> tuple[Selection, list[Utterance]]:
    """Choose some of every set; return the selection and the list of what it must hold."""
    whole = Selection.joined([Selection.whole(one) for one in found])
    everything = [utterance for one in found for utterance in one]
    assert list(whole) == everything
    size = len(everything)
    wanted = np.array(draw.draw(st.lists(st.booleans(), min_size=size, max_size=size)), bool)
    kept = [one for one, keep in zip(everything, wanted, strict=True) if keep]
    return whole.only(wanted), kept


@given(sets, st.data())
def test_a_selection_is_the_list_of_what_was_chosen(
    found: list[list[Utterance]], data: st.DataObject
) -> None:
    selection, kept = chosen(found, data)
    assert len(selection) == len(kept) and list(selection) == kept
    assert [selection[place] for place in range(-len(kept), len(kept))] == kept * 2
    assert selection[1:3] == kept[1:3] and selection[::-2] == kept[::-2]
    assert list(selection.texts()) == [one.text for one in kept]
    assert selection.durations.tolist() == [one.duration for one in kept]
    assert selection.witnesses() == b"".join(map(witness, kept))
    with pytest.raises(IndexError):
        selection[len(kept)]


@given(sets, st.data())
def test_chosen_again_it_is_what_is_left_of_the_chosen(
    found: list[list[Utterance]], data: st.DataObject
) -> None:
    selection, kept = chosen(found, data)
    odd = np.arange(len(kept)) % 2 == 1
    assert list(selection.only(odd)) == kept[1::2]
    assert list(Selection.joined([selection.only(odd), selection])) == kept[1::2] + kept


@given(sets, st.data())
def test_names_are_counted_as_a_counter_does_the_first_that_came_first(
    found: list[list[Utterance]], data: st.DataObject
) -> None:
    selection, kept = chosen(found, data)
    for column, names in {
        "languages": [one.language for one in kept],
        "speakers": [one.speaker for one in kept],
    }.items():
        assert list(selection.names(column).items()) == list(Counter(names).items())


@given(sets, st.data())
def test_its_index_is_that_of_the_list(found: list[list[Utterance]], data: st.DataObject) -> None:
    selection, kept = chosen(found, data)
    counts = count_tokens(selection.texts(), letters, len(kept))
    made = selection.indexed(np.frombuffer(counts["tokens"], np.int64))
    expected = Index.build(kept, letters)
    assert made.digest == expected.digest
    assert made.durations.tolist() == expected.durations.tolist()
    assert made.durations.dtype == made.token_counts.dtype == np.int64
    assert made.token_counts.tolist() == expected.token_counts.tolist()


def test_what_cannot_be_encoded_is_told_by_its_position() -> None:
    def encode(text: str) -> list[int]:
        if "!" in text:
            raise UserError(f"no token for {text}")
        return letters(text)

    found = count_tokens(iter(["aab", "!", "", "ba!", "ccc"]), encode, 5)
    assert found["tokens"].tolist() == [3, 0, 0, 0, 3]
    assert found["least"].tolist() == [4, 0, 0, 0, 5]  # a blank between equal neighbours
    assert bytes(found["refused"]) == b'[[1, "no token for !"], [3, "no token for ba!"]]'


@pytest.mark.parametrize("count", [0, 1, 5])
def test_ids_that_are_there_twice_are_found_the_first_pair_first(count: int) -> None:
    def row(*names: str) -> PackedUtterances:
        source = AudioSource(path="a.wav")
        return PackedUtterances(
            Utterance(id=name, audio=source, text="", duration=1.0) for name in names
        )

    names = [str(number) for number in range(count)]
    assert row(*names).same_ids() is None
    assert row(*names, "x", "y", "y", "x").same_ids() == (count + 1, count + 2)
    assert row("z", *names, "z", "z").same_ids() == (0, count + 1)
