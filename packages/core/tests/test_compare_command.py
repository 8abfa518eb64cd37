"""`asr-lab compare`: what it prints and writes, and that every mistake is one line."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.data.spoken import read
from asr_lab.evaluation.normalizers import BASIC, NONE
from asr_lab.testing.results import write_result

SYSTEMS = {"large": 0.03, "small": 0.03, "poor": 0.4}
"""Share of words that each system mishears."""
Train = Callable[..., int]


@pytest.fixture(scope="module")
def spoken() -> list[dict[str, object]]:
    """Return 72 utterances of the embedded test set, of twelve speakers."""
    return [
        {"id": one.id, "reference": one.text, "duration": one.duration, "speaker": one.speaker}
        for one in list(read(None, "en", "test"))[::4]
    ]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, spoken: list[dict[str, object]]) -> Path:
    """Return a folder with results of three systems, and one by another normaliser."""
    folder = tmp_path_factory.mktemp("results")
    for seed, (name, share) in enumerate(SYSTEMS.items()):
        write_result(folder / name, spoken, share, seed)
    write_result(folder / "raw", spoken, 0.05, normalizer="none")
    return folder


@pytest.fixture
def here(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in that folder."""
    monkeypatch.chdir(results)
    return results


def mistake(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    before = sorted(Path.cwd().iterdir())
    assert main(["compare", *map(str, words)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.startswith("asr-lab: ") and told.err.count("\n") == 1
    assert sorted(Path.cwd().iterdir()) == before, "a mistake leaves nothing behind"
    return told.err.removeprefix("asr-lab: ").rstrip("\n")


def test_the_table_says_who_is_best_and_who_differs(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["poor", "small", "large", "--dataset", "spoken/en", "--output", str(tmp_path / "o")]
    assert main(["compare", *words]) == 0
    heading, best, second, worst, *rest = capsys.readouterr().out.splitlines()
    assert heading.split() == ["system", "WER", "vs", "best"], "what is not known is no column"
    assert best.startswith("large ") and best.split()[-2:] == ["a", "–"]
    assert second.startswith("small ") and " a " in second and "p = " in second
    assert worst.startswith("poor ") and " b " in worst and worst.endswith("p < 0.001")
    result = json.loads((here / "large/result.json").read_text())["words"]
    low, high = result["interval"]
    shown = f"{100 * result['error_rate']:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
    assert shown in best, "on all utterances, the rate is that of the result"
    assert rest[0] == f"69 utterances, {BASIC.id}, errors by levenshtein"
    assert "MAPSSWE" in rest[1] and "Holm over 3 pairs" in rest[1] and "t test over 12" in rest[1]
    assert any(line.startswith("this test set can tell these systems apart") for line in rest)
    assert rest[-1] == f"report {tmp_path / 'o'}/compare.html, compare.md, compare.json"


def test_another_normaliser_is_told_in_the_table_and_in_a_line_with_the_remedy(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", "spoken/en", "--output", str(tmp_path / "o")]
    assert main(["compare", "raw", "large", "small", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    why = f"normaliser {NONE.id}, not {BASIC.id}"
    (row,) = [line for line in lines if line.startswith("raw ") and "%" in line]
    assert row.endswith(f"not comparable: {why}") and "p " not in row
    remedy = "asr-lab score raw/hypotheses.jsonl --normalizer basic --rule levenshtein"
    assert f"raw is not comparable: {why} ({remedy})" in lines
    assert (
        main(remedy.removeprefix("asr-lab ").split() + ["--output", str(tmp_path / "again")]) == 0
    )
    capsys.readouterr()
    again = ["large", str(tmp_path / "again"), "--json", "--output", str(tmp_path / "p")]
    assert main(["compare", *again]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(one["comparable"] for one in found["systems"]), "the remedy helps"
    page = (tmp_path / "o/compare.html").read_text()
    assert (
        f"not comparable: {why}" in page
        and "not comparable: " in (tmp_path / "o/compare.md").read_text()
    )


def test_numbers_table_and_page_say_the_same(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["A=large", "B=poor", "--dataset", "spoken/en", "--players", "2", "--json"]
    assert main(["compare", *words, "--output", str(tmp_path / "o")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "o/compare.json").read_text())
    first, second = found["systems"]
    assert (first["name"], second["name"]) == ("A", "B") and first["letters"] != second["letters"]
    (pair,) = found["pairs"]
    expected = first["word_error_rate"] - second["word_error_rate"]
    assert math.isclose(pair["difference"]["difference"], expected)
    table, page = ((tmp_path / "o" / f"compare.{end}").read_text() for end in ("md", "html"))
    rate = f"{100 * second['word_error_rate']:.2f} %"
    assert rate in table and rate in page
    kinds = {one["by"] for one in found["slices"]}
    assert kinds == {"duration", "signal to noise, estimated", "speaker"}
    for by in kinds:
        parts = [one for one in found["slices"] if one["by"] == by]
        assert sum(one["utterances"] for one in parts) == 69
        assert f"## By {by}" in table and f"By {by}" in page
    assert page.count("<audio") == 2


def test_runs_are_compared_as_they_lie(
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--train.steps 1 --output outputs/one") == 0
    shutil.copytree("outputs/one", "outputs/two")
    capsys.readouterr()
    assert main(["compare", "outputs/one", "outputs/two/test.hypotheses.jsonl"]) == 0
    lines = capsys.readouterr().out.splitlines()
    known = ["params", "WER", "vs", "best", "RTFx", "memory", "size"]
    assert lines[0].split() == ["system", *known]
    assert {line.split()[0] for line in lines[1:3]} == {"one", "two"}
    assert "memory of one, two: with what training needs; evaluate has less" in lines
    assert not any("no audio" in line for line in lines), "runs name their data set"
    assert lines[-1] == "report outputs/compare-0001/compare.html, compare.md, compare.json"
    page = (tmp_path / "outputs/compare-0001/compare.html").read_text()
    assert "probe/probe" in page and "<audio" in page
    folder = tmp_path / "outputs/two"
    (folder / "test.hypotheses.jsonl").unlink()
    assert "has no test.hypotheses.jsonl beside it" in mistake(capsys, "outputs/one", folder)


def test_results_that_cannot_be_found_are_one_line(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "takes two or more results; got 1" in mistake(capsys, "large")
    assert "no file or folder 'lrge'" in mistake(capsys, "large", "lrge")
    assert f"no result in {tmp_path}; asr-lab evaluate" in mistake(capsys, "large", tmp_path)
    assert "poor.jsonl is no result; asr-lab score" in mistake(capsys, "large", "poor.jsonl")
    assert "large is there twice" in mistake(capsys, "large", "poor", here / "large")
    assert "is there twice (as A)" in mistake(capsys, "A=large", "large/result.json")
    assert "two results have the name 'A'" in mistake(capsys, "A=large", "A=poor")
    told = mistake(capsys, "large", here)
    assert "holds 4 results (large, poor, raw, small); name one" in told
    assert "no_such" in mistake(capsys, "large", "poor", "--dataset", "no_such")
    assert "utterances must be 0 or more" in mistake(capsys, "a", "b", "--utterances", "-1")


def test_results_without_common_utterances_are_one_line(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_result(tmp_path / "other", [{"id": "z", "reference": "one two"}])
    capsys.readouterr()
    told = mistake(capsys, "large", other)
    assert told.startswith("no utterance in common: large has 'spoken-en-test-")
    assert told.endswith("evaluate both on the same data")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("result.json", "{", "result.json is damaged: it is not JSON"),
        ("result.json", "[]", "result.json is damaged: it holds no object"),
        ("result.json", '{"rule": "sclite"}', "is no result of an evaluation: it has no 'norm"),
        ("hypotheses.jsonl", "", "hypotheses.jsonl is empty"),
        ("hypotheses.jsonl", "\n{}\n", "hypotheses.jsonl:2 is no scored hypothesis"),
        ("hypotheses.jsonl", "nonsense", "hypotheses.jsonl:1 is no scored hypothesis"),
        ("hypotheses.jsonl", '{"id": 3}', "hypotheses.jsonl:1 is no scored hypothesis"),
    ],
)
def test_a_damaged_result_is_one_line(
    name: str,
    content: str,
    told: str,
    here: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in ("result.json", "hypotheses.jsonl"):
        (damaged / file).write_bytes((here / "large" / file).read_bytes())
    lines = (damaged / "hypotheses.jsonl").read_text()
    assert f"{lines.count(chr(10)) + 1} has the id" in mistake(capsys, "poor", doubled(damaged))
    (damaged / "hypotheses.jsonl").write_text(lines)
    (damaged / name).write_text(content)
    assert told in mistake(capsys, "poor", damaged)


def doubled(folder: Path) -> Path:
    """Write the first line of the hypotheses once more, at the end."""
    path = folder / "hypotheses.jsonl"
    text = path.read_text()
    path.write_text(text + text.split("\n")[0] + "\n")
    return folder


def test_an_output_that_is_taken_is_refused_unless_told_otherwise(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["large", "poor", "--output", tmp_path / "o"]
    assert main(["compare", *map(str, words)]) == 0
    capsys.readouterr()
    assert "exists; choose another --output or say --overwrite" in mistake(capsys, *words)
    assert main(["compare", *map(str, words), "--overwrite"]) == 0
    capsys.readouterr()
    words[-1] = here / "poor"
    assert "holds no comparison" in mistake(capsys, *words, "--overwrite")


def test_without_the_data_set_everything_but_the_audio_is_there(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "large", "poor", "--output", str(tmp_path / "o")]) == 0
    assert "\nno audio: " in capsys.readouterr().out
    page = (tmp_path / "o/compare.html").read_text()
    assert "<audio" not in page and "<article" in page
    told = mistake(capsys, "large", "poor", "--dataset", "spoken/en/dev")
    assert told.startswith("--dataset spoken/en/dev has none of these utterances")
