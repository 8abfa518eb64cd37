"""Two processes train what one would, stop together, and fail together."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import pytest
import safetensors.torch
import torch

from asr_lab.checkpoints import read_portable
from asr_lab.checkpoints.directory import steps
from asr_lab.training.distributed import Group, own_gpu
from asr_lab.utils.errors import UserError

Command = Callable[..., list[str]]
Train = Callable[..., int]
SPLIT = (
    "--train.accumulate 2 --train.clip 0 --model.dropout 0 --data.speeds 0.9 1.1 "
    "--data.noise-snr 10 20"
)
TOLERANCE = 1e-4
"""Rounding of a dozen steps of plain gradient descent; dropout draws by process, so it is off."""


def last(run: Path) -> dict[str, torch.Tensor]:
    """Return the weights of the last checkpoint."""
    step, path = steps(run / "checkpoints")[-1]
    assert step == 12
    return safetensors.torch.load_file(path / "model.safetensors")


class Fared(TypedDict):
    """What a process notes about a command: exit status, and weights at each checkpoint."""

    status: int
    digests: list[str]


def launch(commands: dict[str, list[str]], folder: Path) -> dict[str, list[Fared]]:
    """Run commands in two processes; return how each process fared, by command."""
    file = folder / "commands.json"
    file.write_text(json.dumps(commands))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = [*torchrun, "-m", "probe_asr.together", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    (folder / "out.txt").write_text(done.stdout)
    (folder / "err.txt").write_text(done.stderr)
    return {
        name: [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]
        for name in commands
    }


def same_weights(found: dict[str, list[Fared]], tmp_path: Path) -> None:
    """Two processes have the same bits, and nearly the numbers of one."""
    first, second = (one["digests"] for one in found["two"])
    assert first == second and len(set(first)) == 3
    one, two = last(tmp_path / "one"), last(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one.keys() - {"level"}:  # a running statistic is that of the first process
        assert (one[name] - two[name]).abs().max() < TOLERANCE, name

    # Both go on from the same weights, of which one of them keeps a copy.
    first, second = (one["digests"] for one in found["tuned"])
    source = read_portable(tmp_path / "tuned" / "source.pt").tensors
    assert first == second
    assert all(torch.equal(source[name], tensor) for name, tensor in one.items())


def same_files(tmp_path: Path) -> None:
    """What a run of two leaves behind is that of one, and the evaluation is complete."""
    files = [sorted(p.name for p in (tmp_path / name).rglob("*")) for name in ("one", "two")]
    assert files[0] == files[1]
    records = [json.loads((tmp_path / n / "run.json").read_text()) for n in ("one", "two")]
    assert [record["execution"]["processes"] for record in records] == [1, 2]
    results = [record["results"]["test"] for record in records]
    assert results[0]["utterances"] == results[1]["utterances"] == 5
    assert results[0]["words"] == results[1]["words"]
    for name in ("metrics.jsonl", "test.hypotheses.jsonl"):
        counts = [len((tmp_path / n / name).read_text().splitlines()) for n in ("one", "two")]
        assert counts[0] == counts[1]


def told_once(tmp_path: Path) -> None:
    """A signal to one stops both, and mistakes reach both: neither waits for the other."""
    # A signal to the second process stops both after the same step, and is told once.
    assert [step for step, _ in steps(tmp_path / "stopped" / "checkpoints")] == [4]
    told = (tmp_path / "out.txt").read_text()
    assert told.count("step 4 is safe. Go on with: asr-lab resume") == 1
    assert told.count("2 processes") == 4
    assert json.loads((tmp_path / "stopped" / "run.json").read_text())["status"] == "interrupted"

    # Mistakes reach both: neither waits for the other.
    errors = (tmp_path / "err.txt").read_text()
    assert len(re.findall(r"asr-lab: \S*/one exists; choose another --output", errors)) == 2
    assert errors.count("2 processes need a multiple of 2") == 2
    assert len(re.findall(r"utterance 'utterance-0003': .* is cut off", errors)) == 2
    assert not (tmp_path / "odd").exists()
    assert json.loads((tmp_path / "bad-run" / "run.json").read_text())["status"] == "failed"


def test_two_processes_train_as_one_stop_together_and_fail_together(
    command: Command,
    train: Train,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROBE_SGD", "0.05")
    assert train(SPLIT, "--output", tmp_path / "one") == 0
    bad = tmp_path / "bad"
    shutil.copytree(corpus / "train", bad)
    for audio in sorted(bad.glob("*.wav"))[3:4]:
        audio.write_bytes(audio.read_bytes()[:2000])
    spoilt = f"--data manifest:{bad}/manifest.jsonl --data.cache-hours 0 --data.workers 0"
    found = launch(
        {
            "two": command(SPLIT, "--output", tmp_path / "two"),
            "stopped": command(SPLIT, "--output", tmp_path / "stopped"),
            "taken": command(SPLIT, "--output", tmp_path / "one"),
            "odd": command("--train.accumulate 3 --output", tmp_path / "odd"),
            "bad": command(SPLIT, spoilt, "--output", tmp_path / "bad-run"),
            "tuned": command(SPLIT, "--from", tmp_path / "one", "--output", tmp_path / "tuned"),
        },
        tmp_path,
    )
    statuses = {name: [one["status"] for one in both] for name, both in found.items()}
    assert statuses == {
        "two": [0, 0],
        "stopped": [130, 130],
        "taken": [2, 2],
        "odd": [2, 2],
        "bad": [2, 2],
        "tuned": [0, 0],
    }
    same_weights(found, tmp_path)
    same_files(tmp_path)
    told_once(tmp_path)


def test_a_group_of_one_needs_no_other() -> None:
    group = Group(torch.device("cpu"))
    assert group.first
    assert group.sum_counts({"ctc": 3}) == {"ctc": 3}
    assert group.any(True, False) == [True, False]
    assert group.gather("x") == ["x"]
    module = torch.nn.Linear(2, 2)
    assert group.wrap(module) is module
    assert torch.equal(group.sum_tensor(torch.ones(2)), torch.ones(2))
    group.barrier()


def test_a_process_has_the_gpu_of_its_number_or_says_how_many_there_are() -> None:
    assert [own_gpu(rank, 2) for rank in (0, 1)] == [torch.device("cuda", n) for n in (0, 1)]
    with pytest.raises(UserError, match="process 3 of this machine has no GPU, for there are 2"):
        own_gpu(2, 2)
