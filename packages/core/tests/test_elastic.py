"""At the level `elastic`, any number of processes trains the same bits, and it may change."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints.directory import steps
from asr_lab.reproducibility.hash import file_digest
from asr_lab.training.distributed import Group
from asr_lab.training.elastic import TreeSum

Command = Callable[..., list[str]]
Train = Callable[..., int]
FLAGS = (
    "--train.accumulate 4 --train.steps 6 --train.eval-every 6 --train.save-every 2 --train.keep 9 "
    "--train.ema 0.9 --model.dropout 0.2 --data.speeds 0.9 1.1 --data.noise-snr 5 20 "
    "--data.workers 0 --no-model.follow"
)
"""Four micro-batches a step, with all that draws random numbers."""


def digests(run: Path) -> dict[str, str]:
    """Return the digests of all tensors of all checkpoints."""
    found = {
        f"{step} {file.name}": file_digest(file)
        for step, path in steps(run / "checkpoints")
        for file in sorted(path.glob("*.safetensors"))
    }
    assert len(found) == 9  # weights, moments and average of three checkpoints
    return found


def metrics(run: Path) -> list[dict[str, float]]:
    """Return losses, norms and error rates of all steps; times are those of a process."""
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def test_one_two_and_four_processes_and_a_change_on_the_way_train_the_same_bits(
    command: Command, train: Train, tmp_path: Path
) -> None:
    def group(name: str, size: int, level: str = "elastic") -> dict[str, object]:
        words = command(f"--repro {level}", FLAGS, "--output", tmp_path / name)
        return {"size": size, "command": words, "variables": {}}

    resume = ["resume", str(tmp_path / "changed")]
    groups = [
        group("one", 1),
        group("two", 2),
        group("four", 4),
        {**group("changed", 4), "variables": {"PROBE_SIGNAL": "SIGTERM:2"}},
        {"size": 1, "command": resume, "variables": {"PROBE_SIGNAL": "SIGTERM:4"}},
        {"size": 2, "command": resume, "variables": {}},
        group("plain-two", 2, "replay"),
    ]
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    done = subprocess.run(
        [sys.executable, "-m", "probe_asr.groups", str(tmp_path / "groups.json")],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    statuses = json.loads(done.stdout.splitlines()[-1])
    assert statuses == [[0], [0] * 2, [0] * 4, [130] * 4, [130], [0] * 2, [0] * 2], done.stderr
    expected = digests(tmp_path / "one")
    for name in ("two", "four", "changed"):
        assert digests(tmp_path / name) == expected, name
        assert metrics(tmp_path / name) == metrics(tmp_path / "one"), name
    # Without the tree, the number of processes shows: the test can fail.
    assert train(FLAGS, "--output", tmp_path / "plain-one") == 0
    assert digests(tmp_path / "plain-one") != digests(tmp_path / "plain-two")


@pytest.mark.parametrize("shares", [1, 2, 4, 8])
def test_a_tree_gives_the_same_sum_however_its_leaves_are_shared_out(shares: int) -> None:
    leaves = torch.randn(8, 1000, generator=torch.Generator().manual_seed(0)).unbind()

    def total(terms: list[torch.Tensor]) -> torch.Tensor:
        tree = TreeSum()
        for term in terms:
            tree.add(term)
        return tree.total()

    whole = total(list(leaves))
    share = 8 // shares
    parts = [total(list(leaves[n * share : (n + 1) * share])) for n in range(shares)]
    assert torch.equal(total(parts), whole)
    assert not torch.equal(sum(leaves[1:], leaves[0]), whole)  # the order matters


def test_a_group_of_one_has_nothing_to_add() -> None:
    values = torch.randn(3, 5)
    assert Group(torch.device("cpu")).sum_as_tree(values) is values
