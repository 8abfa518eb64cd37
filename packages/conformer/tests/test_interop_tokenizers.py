"""A tokenizer means the same in transformers' JSON and in a sentencepiece model."""

import io
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceTrainer

from asr_lab.models.conformer.interop_tokenizers import from_json, to_json
from asr_lab.tokenizers import BPETokenizer
from asr_lab.tokenizers.bpe import train_bpe
from asr_lab.tokenizers.sentencepieces import (
    BPE,
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

TEXTS = ["the cat sat on the mat", "a dog ate the bread", "köln is not genève"] * 3
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581\0"))
LETTERS = sorted(set("".join(TEXTS)) - {" "})
KNOWN_TEXT = st.lists(st.text(LETTERS, min_size=1, max_size=6), max_size=5).map(" ".join)
Json = dict[str, Any]


@cache
def with_bytes() -> BPETokenizer:
    return train_bpe(TEXTS, 300)


@cache
def as_nemo_trains(kind: str = "bpe") -> BPETokenizer:
    """Return a tokenizer without bytes that normalises text."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=model,
        model_type=kind,
        vocab_size=40,
        hard_vocab_limit=False,
        character_coverage=1.0,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    return BPETokenizer(model.getvalue())


def unigrams() -> BPETokenizer:
    """Return one where the best sum of scores is not what merging finds."""
    scores = {"\u2581": -1, "a": -2, "b": -5, "c": -4, "d": -4, "ab": -1, "cd": -8, "bcd": -2}
    pieces = [Piece("<unk>", 0.0, UNKNOWN), *(Piece(text, float(s)) for text, s in scores.items())]
    return BPETokenizer(write_pieces(Pieces(pieces=pieces, kind=UNIGRAM)))


MADE: dict[str, Callable[[], BPETokenizer]] = {
    "with bytes": with_bytes,
    "as NeMo trains": as_nemo_trains,
    "of unigrams": unigrams,
    "of trained unigrams": lambda: as_nemo_trains("unigram"),
}


def there_and_back(tokenizer: BPETokenizer, blank_id: int) -> BPETokenizer:
    return from_json(to_json(tokenizer, blank_id, "<blank>"), blank_id)


@cache
def returned(name: str) -> BPETokenizer:
    return there_and_back(MADE[name](), 1)


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("name", MADE)
def test_the_pieces_keep_their_numbers_wherever_the_blank_stands(name: str, place: str) -> None:
    tokenizer = MADE[name]()
    blank_id = {"first": 0, "middle": tokenizer.size // 2, "last": tokenizer.size}[place]
    content = json.loads(to_json(tokenizer, blank_id, "<blank>"))
    assert {"id": blank_id, "content": "<blank>"}.items() <= content["added_tokens"][-1].items()
    assert there_and_back(tokenizer, blank_id).pieces == tokenizer.pieces


@pytest.mark.parametrize("name", MADE)
def test_kind_rules_and_types_of_pieces_come_back(name: str) -> None:
    tokenizer = MADE[name]()
    before, after = (read_pieces(one.to_bytes()) for one in (tokenizer, returned(name)))
    assert [piece.type for piece in after.pieces] == [piece.type for piece in before.pieces]
    for rule in ("kind", "character_map", "prefix", "squeeze", "byte_fallback"):
        assert getattr(after, rule) == getattr(before, rule), rule


@settings(max_examples=150)
@given(text=ANY_TEXT)
def test_any_text_is_cut_alike_by_a_tokenizer_with_bytes(text: str) -> None:
    assert returned("with bytes").encode(text) == with_bytes().encode(text)


@pytest.mark.parametrize("name", ["as NeMo trains", "of trained unigrams"])
@given(text=KNOWN_TEXT)
def test_text_of_known_letters_is_cut_alike(name: str, text: str) -> None:
    assert returned(name).encode(text) == MADE[name]().encode(text)


def test_unigrams_are_still_chosen_by_the_sum_of_their_scores() -> None:
    found = returned("of unigrams")
    assert [found.pieces[token] for token in found.encode("abcd")] == ["\u2581", "a", "bcd"]


@settings(max_examples=150)
@given(data=st.data())
def test_any_tokens_are_decoded_alike(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(MADE)))
    tokenizer = MADE[name]()
    ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1)))
    assert returned(name).decode(ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("name", MADE)
def test_what_is_read_and_written_again_is_the_same_text(name: str) -> None:
    text = to_json(returned(name), 1, "<blank>")
    assert to_json(from_json(text, 1), 1, "<blank>") == text


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=25)
@given(text=KNOWN_TEXT)
def test_the_tokenizers_library_cuts_text_as_we_do(name: str, text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    ours = MADE[name]()
    if name == "of unigrams":
        text = "".join(letter for letter in text if letter in "abcd ")
    text = " ".join(text.split())
    theirs = tokenizers.Tokenizer.from_str(to_json(ours, ours.size, "<blank>"))
    assert theirs.encode(text).ids == ours.encode(text)


def test_a_blank_that_is_called_like_a_token_is_refused() -> None:
    with pytest.raises(UserError, match="has a token '<0x41>', which is the blank's name there"):
        to_json(with_bytes(), 0, "<0x41>")


def test_tokens_that_a_user_defined_stay_whole() -> None:
    pieces = [Piece("<unk>", 0.0, UNKNOWN), Piece("\u2581", -1.0, NORMAL), Piece("a", -2.0)]
    pieces.append(Piece("<aa>", 0.0, USER_DEFINED))
    tokenizer = BPETokenizer(write_pieces(Pieces(pieces=pieces, kind=BPE)))
    found = there_and_back(tokenizer, 4)
    assert found.encode("a<aa>a") == tokenizer.encode("a<aa>a") == [1, 2, 3, 2]


def change_model(**values: object) -> Callable[[Json], object]:
    return lambda content: content["model"].update(values)


DAMAGE: dict[str, Callable[[Json], object]] = {
    "no model": lambda c: c.pop("model"),
    "no added tokens": lambda c: c.pop("added_tokens"),
    "a model that is text": lambda c: c.update(model="BPE"),
    "no vocabulary": lambda c: c["model"].pop("vocab"),
    "a vocabulary that is a list": change_model(vocab=["a"]),
    "ids with a gap": lambda c: c["model"]["vocab"].update(more=10**30),
    "ids twice": lambda c: c["model"]["vocab"].update(more=3),
    "ids that are text": lambda c: c["model"]["vocab"].update(more="3"),
    "merges that are numbers": change_model(merges=[1, 2]),
    "an id that is infinite": lambda c: c["added_tokens"][0].update(id=float("inf")),
    "an id that is text": lambda c: c["added_tokens"][0].update(id="x"),
    "a token without text": lambda c: c["added_tokens"][0].pop("content"),
    "a type that is a list": change_model(type=[]),
    "a type that is a number": change_model(type=3),
    "another type": change_model(type="WordPiece"),
    "no unknown token": change_model(unk_token="<none>"),
    "scores beyond any float": change_model(type="Unigram", unk_id=0, vocab=[["u", 1e300]]),
    "scores that are text": change_model(type="Unigram", unk_id=0, vocab=[["u", "x"]]),
    "an unknown token behind the end": change_model(
        type="Unigram", unk_token=None, unk_id=9, vocab=[["u", 0]]
    ),
    "a normalizer that is text": lambda c: c.update(normalizer="NFC"),
    "rules that are no base64": lambda c: c.update(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "ä"}
    ),
    "rules that are no text": lambda c: c.update(
        normalizer={"type": "Precompiled", "precompiled_charsmap": 3}
    ),
    "half of a surrogate pair": lambda c: c["model"]["vocab"].update({"\ud800": 301}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_json_is_told_in_one_line(name: str) -> None:
    tokenizer = with_bytes()
    content = json.loads(to_json(tokenizer, 5, "<blank>"))
    from_json(json.dumps(content), 5)
    DAMAGE[name](content)
    with pytest.raises(UserError, match="tokeni") as told:
        from_json(json.dumps(content), 5)
    assert "\n" not in str(told.value) and len(str(told.value)) < 300


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '"x"', "{", "[" * 100_000, "1" * 5000])
def test_text_that_is_no_tokenizer_is_told_in_one_line(text: str) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json is damaged") as told:
        from_json(text, 0)
    assert "\n" not in str(told.value)


def test_merges_may_be_pairs_or_text_with_a_space() -> None:
    content = json.loads(to_json(as_nemo_trains(), 0, "<blank>"))
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    assert from_json(json.dumps(content), 0).to_bytes() == returned_at(0).to_bytes()


def returned_at(blank_id: int) -> BPETokenizer:
    return there_and_back(as_nemo_trains(), blank_id)
