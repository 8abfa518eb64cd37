"""Tokenizers: exact round trips, equal bytes for equal text, and errors that say what to do."""

import random
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.plugins import TokenizerSpec, installed_plugins
from asr_lab.tokenizers import (
    BPETokenizer,
    CharacterTokenizer,
    Tokenizer,
    load_tokenizer,
    train_tokenizer,
)
from asr_lab.tokenizers.base import train_characters
from asr_lab.tokenizers.bpe import FIXED_TOKENS, train_bpe
from asr_lab.utils.errors import UnknownNameError, UserError

TEXTS = (
    "turn the light on at seven",
    "turn the heating off in the evening",
    "the seventh of march at a quarter past ten",
    "wie spät ist es in köln",
    "quelle heure est-il à genève",
)
BPE_SIZE = 300
ODD = (
    "",
    " ",
    "  two  spaces ",
    "\ttab\nline\r\n",
    "☃ 𝔘 \U0010ffff",
    "e\u0301 is not é",
    "\u00a0\u2007\u3000\u200b\ufeff",
    "<unk> <s> </s> <0x41>",
    "a\0b",
    "हिन्दी বাংলা ภาษาไทย",
    "👩‍👩‍👧‍👦",
)


@cache
def small_bpe() -> BPETokenizer:
    return train_bpe(TEXTS, BPE_SIZE)


@pytest.fixture
def bpe() -> BPETokenizer:
    return small_bpe()


@pytest.fixture(scope="module")
def characters() -> CharacterTokenizer:
    return train_characters(TEXTS, 1024)


@given(seed=st.integers(0, 2**32))
def test_characters_return_every_text_made_of_the_characters_they_know(seed: int) -> None:
    draw = random.Random(seed)
    tokenizer = train_characters(TEXTS, 1024)
    text = "".join(draw.choices(tokenizer.characters, k=draw.randrange(40)))
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 <= token < tokenizer.size for token in ids)


def test_characters_are_numbered_in_the_order_of_their_code_points() -> None:
    tokenizer = train_characters(["cab", "a b"], 10)
    assert tokenizer.characters == " abc"
    assert tokenizer.encode("a cab") == [1, 0, 3, 1, 2]


def test_characters_always_include_the_space() -> None:
    assert train_characters(["one"], 10).encode(" ") == [0]


def test_characters_do_not_depend_on_the_order_of_the_texts() -> None:
    assert train_characters(TEXTS, 99).digest == train_characters(TEXTS[::-1], 99).digest


def test_characters_compose_what_training_and_encoding_see() -> None:
    composed, decomposed = "köln", unicodedata.normalize("NFD", "köln")
    assert decomposed != composed
    from_composed, from_decomposed = (
        train_characters([composed], 9),
        train_characters([decomposed], 9),
    )
    assert from_composed.characters == from_decomposed.characters
    assert from_composed.decode(from_composed.encode(decomposed)) == composed


def test_characters_outside_are_named_in_the_error(characters: CharacterTokenizer) -> None:
    with pytest.raises(UserError, match=r"outside the tokenizer: 'Z' \(U\+005A\), '…' \(U\+2026\)"):
        characters.encode("the Z …")


def test_an_error_shows_ten_characters_and_counts_the_others() -> None:
    tokenizer = train_characters(["a"], 9)
    with pytest.raises(UserError, match=r"\(U\+006B\) and 2 more;") as raised:
        tokenizer.encode("abcdefghijklm")
    assert "\n" not in str(raised.value)


def test_more_characters_than_tokens_asked_for_is_an_error_with_both_numbers() -> None:
    with pytest.raises(UserError, match="has 5 distinct characters, more than the 4 tokens"):
        train_characters(["abcd"], 4)
    assert train_characters(["abcd"], 5).size == 5


@pytest.mark.parametrize("train", [train_characters, train_bpe])
@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_to_learn_from_is_an_error(
    train: Callable[[list[str], int], Tokenizer], texts: list[str]
) -> None:
    with pytest.raises(UserError, match="training text is empty"):
        train(texts, 1024)


@pytest.mark.parametrize("text", [*ODD, *TEXTS])
def test_bpe_returns_odd_text_exactly(bpe: BPETokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text)) == text


@settings(max_examples=200)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u2581")))
def test_bpe_returns_any_text_exactly_and_never_the_unknown_token(text: str) -> None:
    tokenizer = small_bpe()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.special["unknown"] not in ids
    assert all(0 <= token < tokenizer.size for token in ids)


def test_bpe_has_as_many_tokens_as_asked_for_and_shortens_text(bpe: BPETokenizer) -> None:
    assert bpe.size == BPE_SIZE
    assert len(bpe.encode(TEXTS[0])) < len(TEXTS[0])
    assert bpe.special == {"unknown": 0}


def test_bpe_training_gives_equal_bytes_for_equal_text(bpe: BPETokenizer) -> None:
    again = train_bpe(iter(TEXTS), BPE_SIZE)
    assert again.to_bytes() == bpe.to_bytes()
    assert again.digest == bpe.digest
    assert train_bpe(TEXTS[:-1], 290).digest != bpe.digest


def test_bpe_learns_from_utterances_longer_than_sentencepiece_would_keep() -> None:
    long = " ".join(["zebra"] * 2000)
    tokenizer = train_bpe(["a", long], FIXED_TOKENS + 12)
    assert len(tokenizer.encode("zebra")) == 1


def test_bpe_refuses_a_size_that_the_text_cannot_fill_and_says_the_largest() -> None:
    with pytest.raises(UserError, match=r"too short for 9000 bpe tokens; the most possible is \d+"):
        train_bpe(TEXTS, 9000)
    with pytest.raises(UserError) as raised:
        train_bpe(TEXTS, 9000)
    largest = int(str(raised.value).split()[-1])
    assert train_bpe(TEXTS, largest).size == largest
    with pytest.raises(UserError, match="too short"):
        train_bpe(TEXTS, largest + 1)


def test_bpe_refuses_a_size_below_its_characters_and_says_the_smallest() -> None:
    with pytest.raises(UserError, match=r"needs 260 tokens or more .* got 259"):
        train_bpe(["ab ba"], 259)
    assert train_bpe(["ab ba"], 260).size == 260


@pytest.mark.parametrize("bad", ["a\u2581b", "a\ud800"])
def test_bpe_refuses_characters_that_sentencepiece_would_lose(bpe: BPETokenizer, bad: str) -> None:
    with pytest.raises(UserError, match=rf"cannot represent U\+{ord(max(bad)):04X}"):
        bpe.encode(bad)
    assert train_bpe([*TEXTS, bad], BPE_SIZE).to_bytes() == bpe.to_bytes()


def test_bpe_training_and_its_errors_print_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    train_bpe(TEXTS, BPE_SIZE)
    with pytest.raises(UserError):
        train_bpe(TEXTS, 9000)
    with pytest.raises(UserError):
        BPETokenizer.from_bytes(b"no model")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["characters", "bpe", "core/characters", "core/bpe"])
def test_a_tokenizer_is_the_same_after_saving_and_loading(kind: str) -> None:
    tokenizer = train_tokenizer(kind, TEXTS, BPE_SIZE)
    loaded = load_tokenizer(tokenizer.kind, tokenizer.to_bytes())
    assert type(loaded) is type(tokenizer)
    assert (loaded.size, loaded.digest) == (tokenizer.size, tokenizer.digest)
    assert all(loaded.encode(text) == tokenizer.encode(text) for text in TEXTS)


@pytest.mark.parametrize("kind", ["characters", "bpe"])
@pytest.mark.parametrize("data", [b"", b"junk", b"{}", b"[1]", b'{"characters": 3}', b"\xff\xfe"])
def test_damaged_tokenizers_are_refused_in_one_line(kind: str, data: bytes) -> None:
    with pytest.raises(UserError, match="the tokenizer is damaged") as raised:
        load_tokenizer(kind, data)
    assert "\n" not in str(raised.value)


def test_a_truncated_bpe_model_is_refused(bpe: BPETokenizer) -> None:
    with pytest.raises(UserError, match="damaged"):
        BPETokenizer.from_bytes(bpe.to_bytes()[:-20])


@pytest.mark.parametrize("token", [-1, BPE_SIZE])
def test_ids_that_are_no_tokens_are_refused(
    bpe: BPETokenizer, characters: CharacterTokenizer, token: int
) -> None:
    for tokenizer in (bpe, characters):
        with pytest.raises(ValueError, match=rf"0 to {tokenizer.size - 1}; got {token}"):
            tokenizer.decode([0, token])


def test_an_unknown_kind_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="no tokenizer 'character'; did you mean characters"):
        train_tokenizer("character", TEXTS, 10)


def test_the_core_registers_both_kinds_under_the_names_they_give_themselves() -> None:
    registry = installed_plugins().registry
    kinds = {spec.name for plugin, spec in registry.all(TokenizerSpec) if plugin == "core"}
    assert kinds == {CharacterTokenizer.kind, BPETokenizer.kind}


def test_tokenizers_import_neither_torch_nor_sentencepiece() -> None:
    code = (
        "import sys; from asr_lab.tokenizers.base import BPETokenizer, CharacterTokenizer;"
        "CharacterTokenizer('ab').encode('a');"
        "print([name for name in ('torch', 'numpy', 'sentencepiece') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
