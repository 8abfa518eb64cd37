"""A run that is killed or stopped and goes on ends with the same bits as one that was not."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main
from asr_lab.reproducibility.hash import file_digest

Command = Callable[..., list[str]]
Train = Callable[..., int]
RANDOM = (
    "--data.speeds 0.9 1.0 1.1 --data.noise-snr 5 20 --data.gain-db 3 --data.freq-masks 2 "
    "--data.time-masks 2 --model.dropout 0.2 --train.ema 0.9 --train.accumulate 2"
)
"""All that draws random numbers, and all that a checkpoint must keep."""
EVERYTHING = f"{RANDOM} --data.workers 2 --data.cache-hours 0"


def weights(run: Path) -> dict[str, str]:
    """Return the digests of the tensors of the last checkpoint."""
    step, path = steps(run / "checkpoints")[-1]
    assert step == 12
    found = {file.name: file_digest(file) for file in sorted(path.glob("*.safetensors"))}
    assert len(found) >= 2
    return found


def metrics(run: Path) -> list[dict[str, float]]:
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def untimed(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in metrics(run)]


def digests(run: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((run / "run.json").read_text())["digests"]
    own = ("file:best.pt", "file:test.result.json")  # they hold the run's id, and times
    return {name: value for name, value in found.items() if name not in own}


def status(run: Path) -> str:
    return str(json.loads((run / "run.json").read_text())["status"])


@pytest.fixture
def whole(train: Train, tmp_path: Path) -> Path:
    """Return the folder of a run that nothing disturbed."""
    assert train(EVERYTHING, "--output", tmp_path / "whole") == 0
    return tmp_path / "whole"


def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bits(
    command: Command, whole: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    code = "import sys; from asr_lab.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *command(EVERYTHING, "--output", cut)],
        env={**os.environ, "PROBE_SIGNAL": "SIGKILL:8"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, done.stderr[-2000:]
    assert metrics(cut)[-1]["step"] == 8 and status(cut) == "running"
    assert [step for step, _ in steps(cut / "checkpoints")] == [5]
    assert main(["resume", str(cut)]) == 0
    assert weights(cut) == weights(whole)
    assert untimed(cut) == untimed(whole)
    record = json.loads((cut / "run.json").read_text())
    assert record["status"] == "finished"
    assert [restart["step"] for restart in record["restarts"]] == [5]


@pytest.mark.parametrize("signal", ["SIGINT:3", "SIGTERM:7"])
def test_a_signal_saves_and_says_how_to_go_on(
    signal: str,
    train: Train,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut, step = tmp_path / "cut", int(signal[-1])
    monkeypatch.setenv("PROBE_SIGNAL", signal)
    assert train(EVERYTHING, "--output", cut) == 130
    told = capsys.readouterr().out
    assert f"saving …\nstep {step} is safe. Go on with: asr-lab resume {cut}\n" in told
    assert status(cut) == "interrupted"
    assert steps(cut / "checkpoints")[-1][0] == step
    monkeypatch.delenv("PROBE_SIGNAL")
    monkeypatch.setenv("PROBE_WEATHER", "rain")
    resume = re.findall(r"asr-lab (resume .*)", told)[0]
    assert main(resume.split()) == 0
    assert f"resume from step {step}" in capsys.readouterr().out
    assert weights(cut) == weights(whole)
    assert untimed(cut) == untimed(whole)
    (restart,) = json.loads((cut / "run.json").read_text())["restarts"]
    assert restart == {"step": step, "changes": ["probe.weather: fair -> rain"]}


def test_a_signal_under_json_is_told_in_json(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    assert train("--json --output", tmp_path / "run") == 130
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "event": "interrupted",
        "step": 2,
        "folder": str(tmp_path / "run"),
    }


def test_a_signal_at_the_last_step_does_not_stop_what_is_done(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:12")
    assert train("--output", tmp_path / "run") == 0
    assert status(tmp_path / "run") == "finished"


def test_neither_processes_nor_prefetching_nor_the_cache_change_the_weights(
    train: Train, whole: Path, tmp_path: Path
) -> None:
    expected = weights(whole)
    loading = [(workers, prefetch, 0) for workers in (0, 1, 3, 8) for prefetch in (1, 4)]
    for number, (workers, prefetch, hours) in enumerate([*loading, (2, 4, 4)]):
        flags = f"--data.workers {workers} --data.prefetch {prefetch} --data.cache-hours {hours}"
        assert train(RANDOM, flags, "--output", tmp_path / str(number)) == 0
        assert weights(tmp_path / str(number)) == expected, flags
        assert digests(tmp_path / str(number)) == digests(whole), flags
    assert train(RANDOM, "--seed 1 --output", tmp_path / "other") == 0
    assert weights(tmp_path / "other") != expected


def test_draws_that_depend_on_the_loader_process_are_noticed(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def own(seed: int, epoch: int, ids: Sequence[str]) -> torch.Tensor:
        return torch.randint(2**60, (len(ids),))

    monkeypatch.setattr("asr_lab.data.loader.utterance_keys", own)
    for workers in (1, 3):
        flags = f"--data.workers {workers} --data.cache-hours 0"
        assert train(RANDOM, flags, "--output", tmp_path / str(workers)) == 0
    one, three = (digests(tmp_path / name) for name in ("1", "3"))
    assert one["chain"] != three["chain"] and one["plan"] == three["plan"]
    assert weights(tmp_path / "1") != weights(tmp_path / "3")


def test_a_run_that_failed_at_its_evaluation_begins_with_it(
    train: Train, whole: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dev, run = tmp_path / "dev", tmp_path / "run"
    shutil.copytree(corpus / "dev", dev)
    audio = dev / "utterance-0002.wav"
    content = audio.read_bytes()
    audio.write_bytes(b"")
    manifest = f"--dev-data manifest:{dev}/manifest.jsonl"
    assert train(EVERYTHING, manifest, "--output", run) == 2
    assert "utterance-0002" in capsys.readouterr().err
    assert status(run) == "failed"
    audio.write_bytes(content)
    assert main(["resume", str(run)]) == 0
    assert weights(run) == weights(whole)
    assert metrics(run)[-1].keys() == metrics(whole)[-1].keys() >= {"dev/word_error_rate"}
    assert json.loads((run / "run.json").read_text())["results"]["state"]["best_step"] == 12


def test_a_run_without_a_checkpoint_begins_again(
    train: Train, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut"
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    assert train(EVERYTHING, "--output", cut) == 130
    shutil.rmtree(cut / "checkpoints")
    monkeypatch.delenv("PROBE_SIGNAL")
    assert main(["resume", str(cut)]) == 0
    assert weights(cut) == weights(whole)
    assert untimed(cut) == untimed(whole)


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_taken(
    train: Train,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = tmp_path / "cut"
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:7")
    assert train(EVERYTHING, "--output", cut) == 130
    _, last = steps(cut / "checkpoints")[-1]
    with (last / "optimizer.safetensors").open("r+b") as file:
        file.truncate(100)
    monkeypatch.delenv("PROBE_SIGNAL")
    capsys.readouterr()
    assert main(["resume", str(cut)]) == 0
    said = capsys.readouterr()
    assert f"checkpoint {last} is damaged: optimizer.safetensors has 100 bytes" in said.err
    assert "resume from step 5" in said.out
    assert weights(cut) == weights(whole)


def test_resuming_refuses_what_is_no_run_or_is_finished(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    for folder, reason in {
        tmp_path / "nowhere": "is not the folder of a run: no run.json in it",
        tmp_path: "is not the folder of a run: no run.json in it",
        whole: f"is finished; its model is {whole}/best.pt",
    }.items():
        assert main(["resume", str(folder)]) == 2
        assert capsys.readouterr().err == f"asr-lab: {folder} {reason}\n"


@pytest.mark.parametrize(
    ("split", "what"), [("train", "training data"), ("dev", "dev set"), ("test", "test set")]
)
def test_resuming_on_changed_data_is_refused_and_says_which(
    split: str,
    what: str,
    train: Train,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy, run = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(corpus / split, copy)
    flag = {"train": "--data", "dev": "--dev-data", "test": "--eval-data"}[split]
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    assert train(f"{flag} manifest:{copy}/manifest.jsonl --output", run) == 130
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    manifest = copy / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace("ab", "ba", 1))
    capsys.readouterr()
    assert main(["resume", str(run)]) == 2
    told = capsys.readouterr().err
    assert re.fullmatch(
        rf"asr-lab: the {what} of this run has changed \(\w{{8}} is recorded, \w{{8}} found; the "
        rf"first is utterance '(utterance-\d+)', {copy}/\1\.wav\); put back what it was or start "
        r"a new run\n",
        told,
    ), told
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
