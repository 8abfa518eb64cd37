"""`asr-lab evaluate`: where results go, what is never overwritten, and what is printed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main

Train = Callable[..., int]


@pytest.fixture
def run(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the folder of a short run."""
    assert train("--train.steps 1 --output", tmp_path / "run") == 0
    capsys.readouterr()
    return tmp_path / "run"


@pytest.fixture
def evaluate(run: Path, corpus: Path) -> Train:
    """Return a function that evaluates the run on the test set with more flags."""

    def command(*flags: object, checkpoint: Path | None = None, dataset: str = "") -> int:
        words = [word for flag in flags for word in str(flag).split()]
        chosen = dataset or f"manifest:{corpus}/test/manifest.jsonl"
        base = ["--checkpoint", str(checkpoint or run), "--dataset", chosen]
        return main(["evaluate", *base, "--workers", "0", "--device", "cpu", *words])

    return command


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def mistake(capsys: pytest.CaptureFixture[str], status: int) -> str:
    told = capsys.readouterr().err
    assert status == 2 and told.startswith("asr-lab: ") and told.count("\n") == 1, told
    return told.removeprefix("asr-lab: ").rstrip("\n")


def test_results_go_into_numbered_folders_beside_the_checkpoint(
    evaluate: Train, run: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        assert evaluate() == 0
        folder = run / f"evaluate-manifest-all-000{number}"
        told = capsys.readouterr().out.splitlines()
        assert told[0] == f"probe/probe · {run}/best.pt on manifest:{corpus}/test/manifest.jsonl"
        assert told[1].startswith("WER ") and "(5 utterances, normaliser " in told[1]
        assert told[2].startswith("interval  bootstrap by utterance, 2000 resamples (")
        assert told[-1] == f"files  {folder}/result.json, hypotheses.jsonl"
        result = json.loads((folder / "result.json").read_text())
        assert (result["checkpoint"], result["run_id"]) == ("best.pt", "run")
        hypotheses = (folder / "hypotheses.jsonl").read_text().splitlines()
        texts = [json.loads(line)["reference"] for line in hypotheses]
        manifest = (corpus / "test" / "manifest.jsonl").read_text().splitlines()
        assert sorted(texts) == sorted(json.loads(line)["text"] for line in manifest)


def test_a_file_and_the_folder_of_its_run_give_the_same_result(
    evaluate: Train, run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.pt"
    shutil.copy(run / "best.pt", copy)
    assert evaluate("--output", tmp_path / "a") == 0
    assert evaluate("--output", tmp_path / "b", checkpoint=copy) == 0
    first, second = (tmp_path / name / "hypotheses.jsonl" for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_the_rule_of_counting_is_chosen_by_a_flag_and_stored(
    evaluate: Train, tmp_path: Path
) -> None:
    for rule in ("levenshtein", "sclite"):
        assert evaluate(f"--rule {rule} --output", tmp_path / rule) == 0
        assert json.loads((tmp_path / rule / "result.json").read_text())["rule"] == rule


def test_loader_processes_and_batches_do_not_change_the_result(
    evaluate: Train, tmp_path: Path
) -> None:
    assert evaluate("--output", tmp_path / "a") == 0
    assert evaluate("--batch-seconds 1.5 --output", tmp_path / "b") == 0
    found = []
    for name in "ab":
        lines = (tmp_path / name / "hypotheses.jsonl").read_text().splitlines()
        found.append({(one["id"], one["hypothesis"]) for one in map(json.loads, lines)})
    assert found[0] == found[1]


def test_json_output_is_the_result_file(
    evaluate: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--json --output", tmp_path / "a") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "a" / "result.json").read_text())


def test_only_an_old_evaluation_is_overwritten_and_only_if_it_was_said(
    evaluate: Train, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, file = tmp_path / "old", tmp_path / "file"
    file.write_text("dear")
    assert evaluate("--output", old) == 0
    (old / "extra.txt").write_text("from before")
    before = contents(tmp_path)
    capsys.readouterr()
    for taken in (old, run, file):
        line = mistake(capsys, evaluate("--output", taken))
        assert line == f"{taken} exists; choose another --output or say --overwrite"
    for taken in (run, file):
        line = mistake(capsys, evaluate("--overwrite --output", taken))
        assert line == f"{taken} holds no evaluation; choose another --output"
    assert contents(tmp_path) == before
    assert evaluate("--overwrite --output", old) == 0
    assert not (old / "extra.txt").exists()


def test_an_evaluation_that_fails_leaves_the_old_one_and_no_empty_folder(
    evaluate: Train, run: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    assert evaluate("--output", old) == 0
    bad = tmp_path / "bad"
    shutil.copytree(corpus / "test", bad)
    (bad / "utterance-0001.wav").write_bytes(b"")
    before = contents(tmp_path)
    dataset = f"manifest:{bad}/manifest.jsonl"
    for flags in (f"--overwrite --output {old}", f"--output {tmp_path}/new", ""):
        capsys.readouterr()
        assert "'utterance-0001'" in mistake(capsys, evaluate(flags, dataset=dataset))
    assert contents(tmp_path) == before
    assert sorted(p.name for p in run.iterdir() if p.is_dir()) == ["checkpoints"]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--decoder oracle", "no decoder 'oracle'; choose from ctc"),
        ("--precision fp16", "--precision fp16: needs a CUDA GPU"),
        ("--max-duration 0.1", "is longer than --max-duration 0.1"),
        ("--beam 0", "--beam must be 1 (greedy) or more"),
    ],
)
def test_what_cannot_be_done_is_told_before_the_work(
    flags: str, reason: str, evaluate: Train, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    assert reason in mistake(capsys, evaluate(flags))
    assert contents(run) == before
    assert sorted(p.name for p in run.iterdir() if p.is_dir()) == ["checkpoints"]


def test_another_version_of_the_model_is_noted(
    evaluate: Train, probe: Path, tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    from asr_lab.checkpoints import read_portable, write_portable

    older = tmp_path / "older.pt"
    write_portable(older, replace(read_portable(run / "best.pt"), distribution_version="0.5"))
    assert evaluate(checkpoint=older) == 0
    assert capsys.readouterr().err == "asr-lab: trained with probe-asr 0.5; 1.0 is installed\n"
