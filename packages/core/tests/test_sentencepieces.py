"""Sentencepiece models are read and written as data: nothing is lost, no damage passes."""

import struct
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.tokenizers import BPETokenizer
from asr_lab.tokenizers.bpe import train_bpe
from asr_lab.tokenizers.sentencepieces import (
    BPE,
    BYTE,
    CONTROL,
    NORMAL,
    UNIGRAM,
    UNKNOWN,
    USER_DEFINED,
    Piece,
    Pieces,
    read_pieces,
    write_pieces,
)
from asr_lab.utils.errors import UserError

TEXTS = ["the cat sat on the mat", "köln is not genève"]
LETTERS = st.characters(exclude_categories=["Cs"])
PIECE = st.builds(
    Piece,
    text=st.text(LETTERS, min_size=1, max_size=8),
    score=st.floats(width=32, allow_nan=False),
    type=st.sampled_from([NORMAL, CONTROL, USER_DEFINED, BYTE]),
)
WHAT_SENTENCEPIECE_SAYS_OF_UNKNOWN_TEXT = " \u2047 "


@cache
def trained() -> bytes:
    return train_bpe(TEXTS, 290).to_bytes()


@given(
    pieces=st.lists(PIECE, max_size=6),
    kind=st.sampled_from([BPE, UNIGRAM]),
    rules=st.binary(max_size=300),
    prefix=st.booleans(),
    squeeze=st.booleans(),
)
def test_all_that_is_written_is_read_again(
    pieces: list[Piece], kind: int, rules: bytes, prefix: bool, squeeze: bool
) -> None:
    whole = Pieces(
        pieces=[*pieces, Piece("<unk>", 0.0, UNKNOWN)],
        kind=kind,
        character_map=rules,
        prefix=prefix,
        squeeze=squeeze,
    )
    assert read_pieces(write_pieces(whole)) == whole


def test_a_model_that_sentencepiece_trained_means_the_same_when_written_again() -> None:
    original = BPETokenizer(trained())
    again = BPETokenizer(write_pieces(read_pieces(trained())))
    assert again.pieces == original.pieces
    for text in (*TEXTS, "unseen ☃ letters", "  spaces  "):
        assert again.encode(text) == original.encode(text)
        assert again.decode(original.encode(text)) == original.decode(original.encode(text))


def test_what_a_trained_model_says_is_found() -> None:
    found = read_pieces(trained())
    assert (found.kind, found.byte_fallback, found.squeeze) == (BPE, True, False)
    assert [piece.type for piece in found.pieces].count(BYTE) == 256
    assert found.pieces[0] == Piece("<unk>", 0.0, UNKNOWN)
    assert tuple(piece.text for piece in found.pieces) == BPETokenizer(trained()).pieces


@settings(max_examples=200)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_model_or_one_line(data: bytes) -> None:
    try:
        read_pieces(data)
    except UserError as error:
        assert "\n" not in str(error)


@given(data=st.data())
def test_a_model_with_one_changed_byte_is_a_model_or_one_line(data: st.DataObject) -> None:
    changed = bytearray(trained())
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_pieces(bytes(changed))
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x02\x08\x01", id="a text that is a number"),
        pytest.param(b"\x0a\x05\x12\x03abc", id="a score that is text"),
        pytest.param(b"\x0a\x05\x1a\x03abc", id="a type that is text"),
        pytest.param(b"\x1a\x02\x10\x01", id="rules that are a number"),
        pytest.param(b"\x0a\x04\x0a\x02\xff\xfe", id="text that is no UTF-8"),
        pytest.param(b"\x0a\x7fabc", id="a length behind the end"),
        pytest.param(b"\x80\x80\x80", id="a number without an end"),
        pytest.param(b"\x0b", id="a kind of field that is no longer used"),
    ],
)
def test_each_kind_of_damage_is_told_as_such(data: bytes) -> None:
    with pytest.raises(UserError, match="the tokenizer is damaged: it is no sentencepiece model"):
        read_pieces(data)


@pytest.mark.parametrize("kind", [3, 4])
def test_models_of_words_or_characters_are_refused(kind: int) -> None:
    with pytest.raises(UserError, match="a sentencepiece model of words or characters; give bpe"):
        read_pieces(bytes([0x12, 2, 0x18, kind]))


def test_a_model_without_an_unknown_token_is_not_written() -> None:
    with pytest.raises(UserError, match="has no unknown token"):
        write_pieces(Pieces(pieces=[Piece("a", 0.0)], kind=BPE))


@pytest.mark.parametrize("count", [127, 128, 300])
def test_lengths_of_one_byte_and_of_two_are_written_alike(count: int) -> None:
    long = Piece("x" * count, -1.0)
    whole = Pieces(pieces=[Piece("<unk>", 0.0, UNKNOWN), long], kind=UNIGRAM)
    assert read_pieces(write_pieces(whole)).pieces[1] == long
    assert BPETokenizer(write_pieces(whole)).pieces[1] == long.text


def small(*texts: str, prefix: bool = True, squeeze: bool = True) -> BPETokenizer:
    """Return a tokenizer without bytes, as NeMo trains them."""
    pieces = [Piece("<unk>", 0.0, UNKNOWN), Piece("\u2581", -1.0)]
    pieces += [Piece(text, -2.0 - index) for index, text in enumerate(texts)]
    return BPETokenizer(
        write_pieces(Pieces(pieces=pieces, kind=BPE, prefix=prefix, squeeze=squeeze))
    )


def test_characters_that_a_foreign_model_lacks_are_named() -> None:
    with pytest.raises(UserError, match=r"outside the tokenizer: 'x' \(U\+0078\), '☃' \(U\+2603\)"):
        small("a", "b").encode("ab x☃")


def test_the_unknown_token_is_decoded_as_a_mark_and_never_as_text_that_was_not_said() -> None:
    tokenizer = small("a")
    unknown = tokenizer.special["unknown"]
    assert tokenizer.decode([2, unknown, 2]) == f"a{WHAT_SENTENCEPIECE_SAYS_OF_UNKNOWN_TEXT}a"


@pytest.mark.parametrize(
    ("squeeze", "text"), [(True, "a b"), (False, "  a   b ")], ids=["squeezed", "as they are"]
)
def test_the_rule_for_spaces_is_the_one_of_the_model(squeeze: bool, text: str) -> None:
    tokenizer = small("a", "b", squeeze=squeeze)
    assert tokenizer.decode(tokenizer.encode("  a   b ")) == text


@pytest.mark.parametrize("prefix", [True, False])
def test_the_rule_for_a_space_before_the_text_is_the_one_of_the_model(prefix: bool) -> None:
    tokenizer = small("a", prefix=prefix)
    assert [tokenizer.pieces[i] for i in tokenizer.encode("a")] == ["\u2581"] * prefix + ["a"]


def test_scores_are_kept_to_the_last_bit_of_a_single() -> None:
    (score,) = struct.unpack("<f", struct.pack("<f", 0.1))
    found = read_pieces(write_pieces(Pieces(pieces=[Piece("u", 0.1, UNKNOWN)], kind=BPE)))
    assert found.pieces[0].score == score != 0.1
