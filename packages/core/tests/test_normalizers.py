"""Normalisers: what is made equal, what is not, and ids that change with the rule."""

import hashlib
import re
import subprocess
import sys
import unicodedata
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.evaluation.normalizers import BASIC, LANGUAGE, NAMES, NONE, WHISPER, normalizer
from asr_lab.utils.errors import UnknownNameError, UserError

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("  white \t space\n", "white space"),
        ("don't Don’t donʼt", "don't don't don't"),
        ("'quoted' ‘quoted’ “quoted”", "quoted quoted quoted"),
        ("the dogs' rock 'n' roll", "the dogs rock n roll"),
        ("a''b", "a b"),
        ("half-past — ten…", "half past ten"),
        ("ＡＢＣ ﬁne ½", "abc fine 1 2"),
        ("5 % of $3.50", "5 of 3 50"),
        ("Straße", "straße"),
        ("E\u0301te\u0301", "été"),
        ("zero\u200bwidth \ufeffmark soft\u00adhyphen", "zerowidth mark softhyphen"),
        ("می‌خواهم", "می‌خواهم"),
        ("हिन्दी की मात्राएँ।", "हिन्दी की मात्राएँ"),
        ("¿Qué? ¡Sí!", "qué sí"),
        ("、。日本語", "日本語"),
        ("", ""),
        ("!?'", ""),
    ],
)
def test_basic_folds_case_punctuation_and_space_and_nothing_else(text: str, expected: str) -> None:
    assert BASIC.apply(text) == expected


@settings(max_examples=300)
@given(text=ANY_TEXT)
def test_basic_changes_nothing_the_second_time(text: str) -> None:
    once = BASIC.apply(text)
    assert BASIC.apply(once) == once


@given(text=ANY_TEXT)
def test_basic_leaves_words_of_letters_marks_and_digits(text: str) -> None:
    for word in BASIC.apply(text).split(" "):
        categories = {unicodedata.category(character)[0] for character in word.replace("'", "")}
        assert categories <= {"L", "M", "N", "C"}
        assert word == word.strip("'")


@given(text=ANY_TEXT)
def test_basic_does_not_care_how_letters_are_composed(text: str) -> None:
    assert BASIC.apply(unicodedata.normalize("NFD", text)) == BASIC.apply(text)


@given(text=ANY_TEXT)
def test_none_changes_nothing(text: str) -> None:
    assert NONE.apply(text) == text


def test_the_id_holds_the_digest_of_name_and_definition() -> None:
    digest = hashlib.sha256(f"basic\n{BASIC.definition}".encode()).hexdigest()
    assert BASIC.id == f"basic@{digest[:4]}"
    assert replace(BASIC, definition="another rule").id != BASIC.id
    assert replace(BASIC, name="other").id.startswith("other@")


def test_the_ids_of_released_rules_stay() -> None:
    assert (NONE.id, BASIC.id) == ("none@8f2f", "basic@a391")


def test_the_docs_name_every_normaliser_and_the_ids_that_are_true() -> None:
    page = (Path(__file__).parents[3] / "docs" / "error-rates.md").read_text("utf-8")
    table = page.split("\n## Normalisers\n")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", table, re.MULTILINE))
    ids = {name: f"`{normalizer(name).id}`" for name in NAMES if name not in WHISPER}
    versions = dict.fromkeys(WHISPER, "by version")
    assert told == ids | versions | {LANGUAGE: "that of the rule"}


def test_normalisers_are_found_by_name_and_by_id() -> None:
    assert normalizer("basic") is BASIC
    assert normalizer(BASIC.id) is BASIC
    assert normalizer("none") is NONE


def test_an_unknown_normaliser_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="no normaliser 'basik'; did you mean basic"):
        normalizer("basik")


def test_an_id_of_another_rule_is_refused() -> None:
    with pytest.raises(
        UserError, match=rf"'basic@0000' is not in this version, which has {BASIC.id}"
    ):
        normalizer("basic@0000")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("whisper-en", "Mr. Smith won't pay twenty-five dollars", "mister smith will not pay $25"),
        ("whisper-en", "um, the colour [noise]", "the color"),
        ("whisper-basic", "Ça va, [bruit] l'été!", "ça va l été "),
    ],
)
def test_the_rules_of_whisper_are_those_of_the_library(name: str, text: str, expected: str) -> None:
    pytest.importorskip("whisper_normalizer")
    rule = normalizer(name)
    assert rule.apply(text) == expected
    assert rule.name == name and normalizer(rule.id) is rule
    assert f"whisper-normalizer {version('whisper-normalizer')}, files " in rule.definition


def test_a_rule_whose_library_is_missing_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['whisper_normalizer'] = None\n"
        "from asr_lab.evaluation.normalizers import normalizer\n"
        "from asr_lab.utils.errors import UserError\n"
        "try: normalizer('whisper-en')\n"
        "except UserError as error: print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "needs whisper-normalizer" in ran.stdout
    assert "install it: pip install 'asr-lab-core[normalizers]'" in ran.stdout
