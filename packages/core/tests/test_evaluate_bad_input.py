"""`asr-lab evaluate` on data that are not as they should be: each oddity is one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asr_lab.cli import main
from asr_lab.evaluation.oddities import base, oddities
from asr_lab.testing.speech import write_corpus
from asr_lab.tokenizers import CharacterTokenizer

Row = dict[str, Any]
Evaluate = Callable[..., int]
TEXTS = ["bed cab", "fade", "dace ace", "dab"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a corpus of four utterances."""
    write_corpus(tmp_path / "data", TEXTS, seed=3)
    return tmp_path / "data"


@pytest.fixture
def evaluate(checkpoint: Path, probe: Path, data: Path, tmp_path: Path) -> Evaluate:
    """Return a function that evaluates the corpus into `tmp_path/out`, with these rows."""

    def command(rows: list[Row], flags: str = "") -> int:
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (data / "manifest.jsonl").write_text(lines, "utf-8")
        where = f"--dataset manifest:{data}/manifest.jsonl --output {tmp_path}/out"
        words = f"--checkpoint {checkpoint} {where} --workers 0 --device cpu {flags}"
        return main(["evaluate", *words.split()])

    return command


@pytest.fixture
def rows(data: Path) -> list[Row]:
    """Return the rows of the manifest."""
    return [json.loads(line) for line in (data / "manifest.jsonl").read_text().splitlines()]


def result(tmp_path: Path) -> Row:
    """Return the result."""
    found: Row = json.loads((tmp_path / "out" / "result.json").read_text())
    return found


def texts(tmp_path: Path) -> list[tuple[str, str]]:
    """Return ids and what was recognised."""
    lines = (tmp_path / "out" / "hypotheses.jsonl").read_text().splitlines()
    return [(one["id"], one["hypothesis"]) for one in map(json.loads, lines)]


def test_what_is_heard_where_a_reference_is_empty_is_an_insertion(
    evaluate: Evaluate, rows: list[Row], tmp_path: Path
) -> None:
    rows[0]["text"], rows[1]["text"] = "", " ... "
    assert evaluate(rows) == 0
    found = result(tmp_path)
    assert found["utterances"] == 4
    assert found["words"]["insertions"] == 3 and found["words"]["reference_length"] == 3


def test_an_empty_set_is_one_line(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert evaluate([]) == 2
    told = capsys.readouterr()
    assert "is empty; it has no utterance" in told.err and told.err.count("\n") == 1
    assert told.out == "" and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("доброе утро", "4 of 4 references have characters that the model cannot write"),
        ("ace bed", ""),
    ],
)
def test_references_of_another_language_are_scored_and_a_line_says_so(
    text: str,
    warning: str,
    evaluate: Evaluate,
    rows: list[Row],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert evaluate([{**row, "text": text} for row in rows]) == 0
    told = capsys.readouterr().err
    assert told.count("\n") == bool(warning) and warning in told
    assert result(tmp_path)["utterances"] == 4
    assert len(result(tmp_path)["warnings"]) == bool(warning)


def test_the_language_of_the_model_is_compared_with_that_of_the_data() -> None:
    tokenizer = CharacterTokenizer(" abc")
    texts = [("ab", "Ab"), ("cab", "cab"), ("c", "c"), ("b", "b")]
    found = oddities(texts, ["de_de", "de_de", "de", "en"], "en_us", tokenizer)
    assert found == ("the model was trained on 'en_us', and the data set is 'de_de'",)
    assert oddities(texts, ["EN-gb", "en", "de", ""], "en_us", tokenizer) == ()
    assert oddities(texts, ["de"] * 4, "", tokenizer) == ()
    assert base("zh-Hant_TW") == "zh"


def test_a_few_foreign_references_are_no_oddity_and_capitals_are_none() -> None:
    texts = [("ab", "ab"), ("ab", "ab"), ("ж", "Ж"), ("ab", "AB")]
    assert oddities(texts, [""] * 4, "en", CharacterTokenizer(" ab")) == ()
    assert oddities(texts, [""] * 4, "en", CharacterTokenizer(" AB")) != ()
    capitals = [("ab", "AB")] * 4
    assert oddities(capitals, [""] * 4, "en", CharacterTokenizer(" AB")) == ()


def many(data: Path, rows: list[Row], count: int, bad: int) -> list[Row]:
    """Return as many rows, of which one is of a file that is cut off."""
    whole = data / rows[0]["audio_filepath"]
    (data / "cut.wav").write_bytes(whole.read_bytes()[:600])
    found = [{**rows[number % 4], "id": f"u{number:04}"} for number in range(count)]
    found[bad]["audio_filepath"] = "cut.wav"
    return found


def test_one_damaged_file_among_a_thousand_is_left_out_counted_and_named(
    evaluate: Evaluate,
    rows: list[Row],
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = many(data, rows, 1000, 321)
    capsys.readouterr()
    assert evaluate(found) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("asr-lab: utterance 'u0321': ")
    assert "or say --on-bad-utterance skip" in told.err and not (tmp_path / "out").exists()
    assert evaluate(found, "--on-bad-utterance skip") == 0
    told = capsys.readouterr()
    assert "(999 utterances, 1 skipped, " in told.out and told.err == ""
    assert told.out.count("\nbad    u0321: ") == 1
    report = result(tmp_path)
    assert (report["utterances"], report["skipped"]) == (999, 1)
    assert list(report["bad_utterances"]) == ["u0321"]
    expected = [f"u{number:04}" for number in range(1000) if number != 321]
    assert [name for name, _ in texts(tmp_path)] == expected, "in the order of the data set"


def test_an_utterance_that_cannot_be_recognised_costs_no_other_its_text(
    evaluate: Evaluate,
    rows: list[Row],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate(rows) == 0
    before = texts(tmp_path)
    shutil.rmtree(tmp_path / "out")
    name = before[2][0]
    monkeypatch.setenv("PROBE_STUMBLE", name)
    capsys.readouterr()
    assert evaluate(rows, "--on-bad-utterance skip") == 0
    reason = f"could not be recognised (RuntimeError: cannot make out {name})"
    assert capsys.readouterr().out.count(f"bad    {name}: {reason}\n") == 1
    assert texts(tmp_path) == [*before[:2], before[3]]
    assert result(tmp_path)["bad_utterances"] == {name: reason}


def test_without_leave_to_skip_it_ends_with_the_error_of_the_model_and_a_name(
    evaluate: Evaluate, rows: list[Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_STUMBLE", "utterance-0002")
    with pytest.raises(RuntimeError, match="cannot make out") as failed:
        evaluate(rows)
    assert failed.value.__notes__ == ["while recognising utterance 'utterance-0002'"]
    assert not (tmp_path / "out").exists()
