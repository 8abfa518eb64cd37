"""Rules for all scripts: marks stay, and a language finds the rule that suits its script."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.evaluation.normalization.languages import OTHERS, RULES, rule_of
from asr_lab.evaluation.normalization.marks import (
    is_unspaced,
    marks_preserving,
    turkic,
    unpointed,
    unspaced,
)
from asr_lab.evaluation.normalization.scripts import mismatch
from asr_lab.evaluation.normalizers import NAMES, normalizer, normalizers, unlike
from asr_lab.utils.errors import UnknownNameError, UserError
from asr_lab.utils.metrics import word_errors

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
RULES_OF_MARKS = [marks_preserving, turkic, unpointed, unspaced]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("हिन्दी की मात्राएँ।", "हिन्दी की मात्राएँ"),
        ("தமிழ், மொழி!", "தமிழ் மொழி"),
        ("Tiếng Việt", "tiếng việt"),
        ("E\u0301te\u0301 L'ÉTÉ", "été l été"),
        ("Straße STRASSE", "strasse strasse"),
        ("ὈΔΥΣΣΕΎΣ", "ὀδυσσεύσ"),
        ("[noise] so (laughs) <unk> ja!", "so ja"),
        ("\u0301 \u0947क ❤\ufe0f", "क"),
        ("ＡＢＣ ½", "abc 1 2"),
        ("क्\u200dष zero\u200bwidth", "क्ष zerowidth"),
        ("", ""),
    ],
)
def test_marks_stay_with_their_letters_and_symbols_go(text: str, expected: str) -> None:
    assert marks_preserving(text) == expected


@pytest.mark.parametrize("rule", RULES_OF_MARKS, ids=lambda rule: rule.__name__)
@settings(max_examples=150)
@given(text=ANY_TEXT)
def test_a_rule_changes_nothing_the_second_time(rule: object, text: str) -> None:
    assert callable(rule)
    once = rule(text)
    assert rule(once) == once and once == " ".join(once.split())


@given(text=ANY_TEXT)
def test_a_rule_does_not_care_how_letters_are_composed_or_written(text: str) -> None:
    expected = marks_preserving(text)
    assert marks_preserving(unicodedata.normalize("NFD", text)) == expected


@given(text=ANY_TEXT)
def test_words_hold_letters_marks_and_numbers_and_begin_with_no_mark(text: str) -> None:
    for word in marks_preserving(text).split():
        kinds = [unicodedata.category(one)[0] for one in word]
        assert set(kinds) <= {"L", "M", "N", "C"} and kinds[0] != "M"


def test_marks_that_whisper_takes_away_change_the_error_rate() -> None:
    pytest.importorskip("whisper_normalizer")
    said, heard = "की मात्रा", "का मात्रा"
    for name, errors in (("marks-preserving", 1), ("whisper-basic", 0)):
        rule = normalizer(name)
        assert word_errors(rule.apply(said), rule.apply(heard)).errors == errors


def test_the_letters_i_of_turkish_fold_as_turkish_does() -> None:
    assert turkic("ISPARTA İzmir I\u0307stanbul") == "ısparta izmir istanbul"
    assert marks_preserving("ISPARTA") == "isparta"


def test_optional_points_are_dropped_and_letters_with_hamza_stay() -> None:
    assert unpointed("الْعَرَبِيَّةُ مـــرحبا أآؤ") == "العربية مرحبا أآؤ"
    assert unpointed("שָׁלוֹם") == "שלום"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我喜欢AI技术。", "我 喜 欢 ai 技 术"),
        ("東京に行く ガ か\u3099", "東 京 に 行 く ガ が"),
        ("ที่นี่", "ที่ นี่"),
        ("မြန်မာ", "မြ န် မာ"),
        ("hello world", "hello world"),
    ],
)
def test_a_character_of_a_script_without_spaces_is_a_word(text: str, expected: str) -> None:
    assert unspaced(text) == expected


@given(text=ANY_TEXT)
def test_scripts_without_spaces_are_the_only_ones_taken_apart(text: str) -> None:
    whole = marks_preserving(text)
    if not any(map(is_unspaced, whole)):
        assert unspaced(text) == whole
    assert unspaced(text).replace(" ", "") == whole.replace(" ", "")


@pytest.mark.parametrize(
    ("language", "rule"),
    [
        ("en", "openasr"),
        ("en_us", "openasr"),
        ("EN-GB", "openasr"),
        ("cmn_hans_cn", "unspaced"),
        ("th", "unspaced"),
        ("tr", "turkic"),
        ("ar_eg", "unpointed"),
        ("he", "unpointed"),
        ("hi", "marks-preserving"),
        ("de", "marks-preserving"),
    ],
)
def test_a_language_has_the_rule_of_its_script(language: str, rule: str) -> None:
    assert rule_of(language) == rule
    assert normalizer(f"language-{language}") is normalizer(rule)
    assert normalizer("language", language) is normalizer(rule)


def test_no_language_has_two_rules_and_all_rules_are_there() -> None:
    codes = [code for codes in RULES.values() for code in codes.split()]
    assert len(codes) == len(set(codes)) and {OTHERS, *RULES} <= set(NAMES)


@pytest.mark.parametrize("language", ["", "english", "e", "12", "hindi-x"])
def test_what_is_no_language_is_refused_in_a_line(language: str) -> None:
    with pytest.raises(UserError, match="give a code such as en, hi") as caught:
        normalizer("language", language)
    assert "\n" not in str(caught.value)


def test_names_near_to_a_wrong_one_are_told() -> None:
    with pytest.raises(UnknownNameError, match="did you mean marks-preserving"):
        normalizers("basic,marks-preservin")
    with pytest.raises(UnknownNameError, match="did you mean unspaced"):
        normalizer("unspace")


def test_every_rule_has_an_id_and_a_digest_of_its_own_that_stay() -> None:
    ids = {"marks-preserving@5f50", "turkic@a39f", "unpointed@035a", "unspaced@3b18"}
    assert {one.id for one in normalizers("marks-preserving,turkic,unpointed,unspaced")} == ids
    known = normalizers(",".join(name for name in NAMES if not name.startswith("whisper")))
    assert len({one.digest for one in known}) == len(known)
    assert all(one.id == f"{one.name}@{one.digest[:4]}" for one in known)


def test_results_of_other_rules_and_of_rules_that_changed_say_so() -> None:
    basic = {"normalizer": "basic@a391", "normalizer_digest": "a391ff"}
    other = {"normalizer": "none@8f2f", "normalizer_digest": "8f2f00"}
    changed = basic | {"normalizer_digest": "a39100"}
    assert unlike(basic, basic) == unlike(basic, {"normalizer": "basic@a391"}) == ""
    assert unlike(basic, other).startswith("normalised by basic@a391 and none@8f2f: do not compare")
    assert unlike(basic, changed).startswith("normalised by two rules that had the id basic@a391")


HINDI, GERMAN, CHINESE = ["हिन्दी की मात्राएँ"], ["schöne grüße aus köln"], ["我喜欢技术"]


@pytest.mark.parametrize(
    ("rule", "references", "language", "told"),
    [
        ("openasr", HINDI, "", "a rule for English, and most letters are Devanagari"),
        ("whisper-en", GERMAN, "de", "a rule for English, and the language is de"),
        ("openasr", ["привет мир"], "ru_ru", "the language is ru_ru; say --normalizer marks-pres"),
        ("whisper-basic", HINDI, "hi", "takes the vowel signs from words of Devanagari"),
        ("basic", CHINESE, "zh", "Chinese has no spaces between words, so basic compares whole"),
        ("marks-preserving", ["ภาษาไทย"], "", "Thai has no spaces"),
        ("openasr", GERMAN, "", ""),
        ("openasr", ["hello, café 5"], "en_us", ""),
        ("openasr", ["hello"], "spoken english", ""),
        ("marks-preserving", HINDI, "hi", ""),
        ("whisper-basic", GERMAN, "de", ""),
        ("unspaced", CHINESE, "zh", ""),
        ("basic", ["5 % !"], "", ""),
        ("basic", [], "", ""),
    ],
)
def test_references_that_a_rule_was_not_made_for_are_told(
    rule: str, references: list[str], language: str, told: str
) -> None:
    found = mismatch(rule, references, language)
    assert told in found and bool(found) == bool(told) and "\n" not in found


def test_a_few_foreign_words_are_no_reason_for_a_warning() -> None:
    assert mismatch("openasr", ["hello world"] * 99 + HINDI) == ""
