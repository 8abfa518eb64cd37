"""What the documentation says of a published run: two files are enough to compare with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.reproducibility.hash import file_digest

Command = Callable[..., list[str]]
FLAGS = (
    "--train.digest-every 3 --train.save-every 6 --model.dropout 0.2 --data.noise-snr 5 20 "
    "--on-bad-utterance skip"
)


def compared(
    capsys: pytest.CaptureFixture[str], first: Path, second: Path
) -> tuple[int, dict[str, object]]:
    """Return status and answer of `verify`."""
    capsys.readouterr()
    status = main(["verify", str(first), str(second), "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.fixture
def published(command: Command, tmp_path: Path, corpus: Path) -> Path:
    """Return what somebody published of a run: its record and its chain."""
    run, folder = tmp_path / "theirs", tmp_path / "published"
    shutil.copytree(corpus / "train", tmp_path / "their-data")
    data = f"--data manifest:{tmp_path}/their-data/manifest.jsonl"
    assert main(command(FLAGS, data, "--output", run)) == 0
    folder.mkdir()
    for name in ("run.json", "chain.jsonl"):
        shutil.copy(run / name, folder / name)
    shutil.rmtree(run)
    shutil.move(tmp_path / "their-data", tmp_path / "our-data")
    return folder


def test_a_run_with_the_recorded_command_and_the_data_elsewhere_is_identical(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((published / "run.json").read_text())
    environment = record["environment"]
    assert environment["package.asr-lab-core"]
    # What is installed from a wheel has a version, and no revision.
    assert ("code.revision" in environment) == ("code.changes" in environment)
    assert record["execution"]["repro"] == "exact"
    sets = {"data": "our-data", "dev-data": "", "eval-data": ""}
    words = ["train", "--model", record["model"], "--config", record["preset"]]
    for name, value in record["changes"].items():
        flag = name.replace("_", "-")
        if flag in ("output", *sets):
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"--{flag}", *map(str, values)]
    config = record["config"]
    words += ["--data", f"manifest:{tmp_path}/our-data/manifest.jsonl"]
    words += ["--dev-data", config["dev_data"], "--eval-data", config["eval_data"]]
    assert main([*words, "--output", str(tmp_path / "ours")]) == 0
    status, found = compared(capsys, published, tmp_path / "ours")
    assert status == 0 and found["differs_at"] is None and found["equal_until"] == 12
    assert main([*words, "--seed", "1", "--output", str(tmp_path / "other")]) == 0
    status, found = compared(capsys, published, tmp_path / "other")
    assert status == 1 and found["differs_at"] == 3


def test_equal_runs_have_equal_files_of_tensors_and_other_times(
    command: Command, tmp_path: Path
) -> None:
    files = []
    for name in ("one", "two"):
        assert main(command(FLAGS, "--output", tmp_path / name)) == 0
        path = tmp_path / name / "checkpoints" / "step-00000012" / "manifest.json"
        files.append(json.loads(path.read_text())["files"])
    first, second = files
    assert (
        first.keys()
        == second.keys()
        == {"model.safetensors", "optimizer.safetensors", "state.json"}
    )
    for name in first:
        assert (first[name] == second[name]) == (name != "state.json")
    path = tmp_path / "one" / "checkpoints" / "step-00000012" / "model.safetensors"
    assert first["model.safetensors"]["sha256"] == file_digest(path)
