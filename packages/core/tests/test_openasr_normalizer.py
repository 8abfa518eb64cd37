"""English by the leaderboard's rules: its own strings, and what these rules are."""

import json
import lzma
import re
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.evaluation.normalization import tables
from asr_lab.evaluation.normalization.openasr import openasr
from asr_lab.evaluation.normalization.spoken_numbers import WORDS, spoken_numbers
from asr_lab.evaluation.normalization.tables import variants
from asr_lab.evaluation.normalizers import normalizer

if TYPE_CHECKING:
    import leaderboard
else:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    import leaderboard

GOLDEN = Path(__file__).parent / "fixtures" / "openasr.json.xz"


@cache
def golden() -> dict[str, object]:
    content: dict[str, object] = json.loads(lzma.decompress(GOLDEN.read_bytes()))
    return content


def pairs() -> list[tuple[str, str]]:
    found = golden()["pairs"]
    assert isinstance(found, list)
    return [(text, result) for text, result in found]


def test_the_golden_file_is_the_one_that_was_made() -> None:
    digest = leaderboard.digest(pairs())
    assert digest == golden()["sha256"]
    assert digest.startswith("f8ab6f8000fe8579")
    assert "d1e99b2" in str(golden()["wanted"]) and "8f37837" in str(golden()["reference"])


def test_ten_thousand_sentences_become_what_the_leaderboard_makes_of_them() -> None:
    made = [(text, result, openasr(text)) for text, result in pairs()]
    different = [one for one in made if one[1] != one[2]]
    assert not different, f"{len(different)} differ, such as {different[:3]}"
    assert len(pairs()) >= 10_000 and len(dict(pairs())) == len(pairs())


@pytest.mark.parametrize(
    ("kind", "pattern", "least"),
    [
        ("spoken numbers", rf"\b({'|'.join(WORDS)})\b", 5_000),
        ("digits", r"\d", 2_500),
        ("currency", r"[$£€¢]|dollar|pound|euro|cent", 1_500),
        ("contractions", r"\w['’]\w|'s\b", 2_000),
        ("titles", r"\b(mr|mrs|dr|st|gen|rep|jr)\b", 300),
        ("letters alone", r"\b[a-z][ .-]+[a-z]\b", 800),
        ("characters beyond ASCII", r"[^\x00-\x7f]", 2_000),
        ("brackets", r"[\[(<]", 1_000),
    ],
)
def test_the_golden_sentences_hold_enough_of_each_kind(kind: str, pattern: str, least: int) -> None:
    found = sum(bool(re.search(pattern, text, re.IGNORECASE)) for text, _ in pairs())
    assert found >= least, kind


def test_every_entry_of_the_tables_of_spelling_and_names_is_applied() -> None:
    spelling, names = variants("spelling"), variants("names")
    assert (len(spelling), len(names)) == (1_743, 152)
    for table in (spelling, names):
        for word, expected in table.items():
            if openasr(word):  # but for those that are fillers
                assert openasr(word) == names.get(expected, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mr. Smith won't pay £1,000.50", "mister smith will not pay £1000.50"),
        ("The dog's bone; it's Anna's", "the dog s bone it is anna s"),
        ("um, the B. B. C. has 5 G and a 5 G net", "the bbc has 5g and a5g net"),
        ("twenty-five per cent, or two and a half million", "25% or 2500000"),
        ("seven dollars and five cents", "$7.05"),
        ("nineteen oh five, double seven", "190577"),
        ("Wi-Fi at 3 p.m. is O. K., Katherine", "wifi at 3 pm is okay catherine"),
        ("(laughs) [noise] <unk> naïve Œuvre", "naive oeuvre"),
        ("the ninth is a word, the nineth is 9th", "the ninth is a word the 9th is 9th"),
        ("minus one hundred and one point five", "-101.5"),
        ("and a half", ""),
        ("100 %", "100 "),
        ("$ sign", " sign"),
        ("", ""),
    ],
)
def test_the_rules_by_example(text: str, expected: str) -> None:
    assert openasr(text) == expected


@settings(max_examples=200)
@given(st.lists(st.sampled_from(sorted(WORDS)), max_size=8))
def test_no_sentence_of_number_words_is_too_strange(words: list[str]) -> None:
    result = spoken_numbers(" ".join(words))
    left = Counter(word for word in result.split() if word.isalpha())
    said = Counter(words)
    # What is still spelt out was said, but for `one`, which is how 1 is written.
    assert all(count <= said[word] for word, count in left.items() if word not in ("one", "ones"))


@settings(max_examples=60)
@given(st.text())
def test_any_text_at_all_is_normalised_without_an_error(text: str) -> None:
    assert "  " not in openasr(text)


def test_the_id_stays_and_says_which_tables_it_means() -> None:
    rule = normalizer("openasr")
    assert rule.id == "openasr@1fb5" and normalizer(rule.id) is rule
    assert re.search("tables [0-9a-f]{64}$", rule.definition)
    assert rule.apply is openasr


@pytest.mark.parametrize("table", ["CONTRACTIONS", "TITLES", "ENDINGS", "COMPOUNDS", "LETTERS"])
def test_another_word_in_a_table_is_another_digest(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tables.digest()
    assert tables.digest.__wrapped__() == before
    monkeypatch.setitem(getattr(tables, table), "x", "y")
    assert tables.digest.__wrapped__() != before


@pytest.mark.parametrize("table", ["FILLERS", "IS_BEHIND"])
def test_another_filler_or_pronoun_is_another_digest(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, table, [*getattr(tables, table), "x"])
    assert tables.digest.__wrapped__() != tables.digest()


def test_the_sentences_are_drawn_the_same_way_every_time() -> None:
    assert leaderboard.sentences() == [text for text, _ in pairs()]
