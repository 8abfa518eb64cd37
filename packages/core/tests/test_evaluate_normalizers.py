"""`asr-lab evaluate --normalizer`: several rules side by side, and what they are not made for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.evaluation.normalizers import BASIC, NONE, normalizer

Train = Callable[..., int]


@pytest.fixture
def evaluated(
    train: Train, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., int]:
    """Return a function that evaluates a short run; texts of the test set can be changed."""
    assert train("--train.steps 1 --output", tmp_path / "run") == 0
    capsys.readouterr()
    shutil.copytree(corpus / "test", tmp_path / "test")
    manifest = tmp_path / "test" / "manifest.jsonl"

    def command(*flags: str, changes: dict[str, str] | None = None) -> int:
        if changes is not None:
            lines = [json.loads(line) | changes for line in manifest.read_text().splitlines()]
            manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        chosen = ["--checkpoint", str(tmp_path / "run"), "--dataset", f"manifest:{manifest}"]
        return main(["evaluate", *chosen, "--workers", "0", "--device", "cpu", *flags])

    return command


def test_normalisers_are_counted_side_by_side_and_score_agrees(
    evaluated: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ["--output", str(tmp_path / "out")]
    assert evaluated("--normalizer", "none,basic,openasr", *output) == 0
    lines = capsys.readouterr().out.splitlines()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    rules = [NONE, BASIC, normalizer("openasr")]
    found = [result, *result["also"]]
    assert [one["normalizer"] for one in found] == [rule.id for rule in rules]
    assert [one["normalizer_digest"] for one in found] == [rule.digest for rule in rules]
    assert [line.split("normaliser ")[1][:-1] for line in lines[3:5]] == [r.id for r in rules[1:]]
    hypotheses = tmp_path / "out" / "hypotheses.jsonl"
    for one in found:
        assert main(["score", str(hypotheses), "--normalizer", one["normalizer"], "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert (again["words"], again["characters"]) == (one["words"], one["characters"])


def test_the_language_of_the_data_set_finds_its_rule_and_a_wrong_one_is_told(
    evaluated: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluated("--normalizer", "language", "--json", changes={"language": "tr_tr"}) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["normalizer"] == normalizer("turkic").id and told.err == ""
    assert evaluated("--normalizer", "openasr", "--json") == 0
    told = capsys.readouterr()
    warning = "openasr is a rule for English, and the language is tr_tr; say --normalizer turkic"
    assert told.err == f"asr-lab: {warning}\n" and json.loads(told.out)["warnings"] == [warning]


def test_texts_went_through_the_rule_that_the_result_names(
    evaluated: Callable[..., int], tmp_path: Path
) -> None:
    flags = ["--normalizer", "language", "--output", str(tmp_path / "out")]
    assert evaluated(*flags, changes={"language": "tr", "text": "IŞIK, İki"}) == 0
    rule = normalizer("turkic")
    assert json.loads((tmp_path / "out/result.json").read_text())["normalizer"] == rule.id
    for line in (tmp_path / "out/hypotheses.jsonl").read_text().splitlines():
        one = json.loads(line)
        assert one["reference_normalised"] == rule.apply(one["reference"]) == "ışık iki"
        assert one["hypothesis_normalised"] == rule.apply(one["hypothesis"])


@pytest.mark.parametrize(
    ("flags", "changes", "told"),
    [
        (["--normalizer", "basic,opensar"], None, "no normaliser 'opensar'; did you mean openasr"),
        (["--normalizer", "basic@0000"], None, "'basic@0000' is not in this version"),
        ([], {"text": "?!"}, "every reference is empty (normaliser basic@a391)"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    flags: list[str],
    changes: dict[str, str] | None,
    told: str,
    evaluated: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert evaluated(*flags, changes=changes) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
