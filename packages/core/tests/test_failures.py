"""Failure finders: what is planted is found, and what people say is not taken for it."""

import json
import math
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.cli import main
from asr_lab.data.spoken import read
from asr_lab.evaluation.failures.finding import FAILURES, REFERENCES, Findings
from asr_lab.evaluation.failures.loops import COPIES, LETTER_COPIES, LETTERS, letter_loop, word_loop
from asr_lab.evaluation.failures.scripts import foreign, mixed_words, script
from asr_lab.evaluation.failures.search import find_failures
from asr_lab.evaluation.results import ScoredUtterance
from asr_lab.utils.metrics import character_errors, word_errors

SENTENCES = [one.text for one in list(read(None, "en", "test"))[:60]]
needs_languages = pytest.mark.skipif(
    find_spec("py3langid") is None, reason="needs the extra languages"
)


def scored(
    reference: str, hypothesis: str, name: str = "u", confidence: float = 0.9, loudest: float = -20
) -> ScoredUtterance:
    return ScoredUtterance(
        id=name,
        reference=reference,
        hypothesis=hypothesis,
        reference_normalised=reference,
        hypothesis_normalised=hypothesis,
        word_errors=word_errors(reference, hypothesis),
        character_errors=character_errors(reference, hypothesis),
        duration=4.0,
        score=-1.0,
        confidence=confidence,
        loudest=float(loudest),
    )


RIGHT = [scored(text, text, f"right-{number}") for number, text in enumerate(SENTENCES)]
SAID = "the train to the north leaves at nine"


def kinds(one: ScoredUtterance, others: list[ScoredUtterance] = RIGHT) -> list[str]:
    found = find_failures([*others, one])
    assert all(finding.id == one.id for finding in (*found.failures, *found.references))
    return [finding.kind for finding in (*found.failures, *found.references)]


def test_utterances_without_errors_have_no_findings() -> None:
    found = find_failures(RIGHT)
    assert found.failures == found.references == () and found.counts() == {}


@pytest.mark.parametrize(
    ("reference", "hypothesis", "loudest", "found"),
    [
        (SAID, "", -20, ["empty"]),
        (SAID, "the train" + " to the north" * 8, -20, ["loop"]),
        (SAID, "the train to the no no no no no no no no no", -20, ["loop"]),
        ("今天天气很好", "今天" * 13, -20, ["loop"]),
        (SAID, "the train " + "ha" * 20, -20, ["loop"]),
        ("", "thank you for watching", -80, ["hallucination"]),
        (SAID, "thank you for watching", -80, ["hallucination"]),
        ("", "you", -20, ["hallucination"]),
        (SAID, " ".join(map(str, range(1000, 1060))), -20, ["too much"]),
        ("поезд на север отходит в девять", "poyezd na syever", -20, ["script"]),
        ("поезд на север", "поeзд на север", -20, ["mixed"]),
        ("the train leaves", "the trane leafs", -20, []),
        ("no no no no no no no no", "no no no no no no no", -20, []),
        ("поезд google", "поезд гугл", -20, []),
    ],
)
def test_failures_are_told_by_kind(
    reference: str, hypothesis: str, loudest: float, found: list[str]
) -> None:
    assert kinds(scored(reference, hypothesis, confidence=0.1, loudest=loudest)) == found


@pytest.mark.parametrize(
    ("reference", "hypothesis", "confidence", "found"),
    [
        (SAID, SENTENCES[7], 0.1, ["swapped"]),
        (SAID, "completely other words in here", 0.95, ["unlike"]),
        (SAID, "completely other words in here", 0.5, []),
        (SAID, "the drain to the north leaves at nine", 0.95, []),
        ("", "the train leaves at nine", 0.95, ["missing"]),
        (" ".join(map(str, range(1000, 1060))), SAID, 0.1, ["impossible"]),
    ],
)
def test_references_that_are_probably_wrong_are_told(
    reference: str, hypothesis: str, confidence: float, found: list[str]
) -> None:
    assert kinds(scored(reference, hypothesis, confidence=confidence)) == found


def test_without_confidences_no_reference_is_doubted_for_them() -> None:
    unsure = [scored(text, text, str(number), math.nan) for number, text in enumerate(SENTENCES)]
    one = scored(SAID, "completely other words in here", "x", math.nan)
    found = find_failures([*unsure, one])
    assert found.references == () and found.calibration is None
    assert any("references" in reason for reason in found.not_searched)


@needs_languages
def test_another_language_is_told_and_a_bad_recognition_is_not() -> None:
    heard = "der zug nach norden fährt um neun uhr ab und kommt am abend an"
    assert kinds(scored(SAID, heard, confidence=0.1)) == ["language"]
    garbled = "the drain do a norse leave and mine two"
    assert kinds(scored(SAID, garbled, confidence=0.1)) == []


@given(
    phrase=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6),
    copies=st.integers(1, 9),
    before=st.lists(st.sampled_from("xyz"), max_size=3, unique=True),
)
def test_loops_of_words_are_found_from_the_number_of_copies_on(
    phrase: list[str], copies: int, before: list[str]
) -> None:
    words = [*before, *phrase * copies]
    found = word_loop(words)
    if copies >= max(COPIES.values()):
        assert found is not None and found.copies >= min(copies, 3)
    if copies == 1 and len(set(phrase)) == len(phrase):
        assert found is None


def test_loops_of_letters_need_copies_and_length() -> None:
    assert letter_loop("ha" * (LETTERS // 2)) is not None
    assert letter_loop("ha" * (LETTERS // 2 - 1)) is None
    assert letter_loop("abcdefghij" * (LETTER_COPIES - 1)) is None
    assert letter_loop("") is None and word_loop([]) is None


def test_scripts_are_told_by_letters() -> None:
    letters = {"a": "LATIN", "ж": "CYRILLIC", "ω": "GREEK", "漢": "HAN", "か": "HIRAGANA"}
    more = {"ก": "THAI", "ब": "DEVANAGARI", "ا": "ARABIC", "한": "HANGUL", "1": "", "!": ""}
    for letter, name in (letters | more).items():
        assert script(letter) == name
    assert foreign("abc где", "abc") == ("CYRILLIC", 0.5)
    assert foreign("カタカナ", "漢字とかな") == ("", 0.0)
    assert foreign("абв", "123") == ("", 0.0) and foreign("123", "абв") == ("", 0.0)
    assert mixed_words("поeзд train 漢字かな x2") == ["поeзд"]


def test_every_kind_has_a_meaning_and_lines_name_the_first_utterances() -> None:
    many = [scored(SAID, "", f"e{number}") for number in range(5)]
    found = find_failures([*RIGHT, *many])
    assert found.lines()[0] == "failures  5 empty (e0, e1, e2, …)"
    assert set(found.counts()) <= {*FAILURES, *REFERENCES}
    assert json.loads(json.dumps(found.to_dict()))["counts"] == {"empty": 5}
    nothing = Findings(failures=(), references=(), calibration=None, not_searched=())
    assert nothing.lines() == []


def test_evaluate_and_score_store_and_print_what_was_found(
    checkpoint: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = checkpoint.parent.parent / "eval-data" / "manifest.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for row in rows:
        row["audio_filepath"] = str(data.parent / row["audio_filepath"])
    rows[0]["text"] = "zzz " * 4
    bad = tmp_path / "bad.jsonl"
    bad.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ["--checkpoint", str(checkpoint), "--dataset", f"manifest:{bad}"]
    out = tmp_path / "out"
    more = ["--workers", "0", "--device", "cpu", "--output", str(out)]
    assert main(["evaluate", *words, *more]) == 0
    printed = capsys.readouterr().out
    assert "\nconfidence  ECE " in printed
    first = json.loads((out / "result.json").read_text())["findings"]
    assert first["calibration"]["utterances"] == len(rows)
    assert main(["score", str(out / "hypotheses.jsonl"), "--output", str(tmp_path / "again")]) == 0
    assert "\nconfidence  ECE " in capsys.readouterr().out
    assert json.loads((tmp_path / "again/result.json").read_text())["findings"] == first
