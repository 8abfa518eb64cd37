"""What the proof of resuming does not forgive: one piece that is lost, changed or shared."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints import Checkpoint, load, save
from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main
from asr_lab.models.base.outputs import LossPart
from asr_lab.reproducibility.hash import file_digest
from asr_lab.reproducibility.seeding import scope
from asr_lab.training import learner

Train = Callable[..., int]
FLAGS = (
    "--data.speeds 0.9 1.0 1.1 --data.noise-snr 5 20 --model.dropout 0.2 --train.ema 0.9 "
    "--train.accumulate 2 --train.steps 6 --train.eval-every 6 --train.digest-every 0"
)
"""Without a chain, which would refuse a changed checkpoint before a step is done."""
STOP = 3


def weights(run: Path) -> dict[str, str]:
    """Return the digests of all tensors at the end."""
    step, path = steps(run / "checkpoints")[-1]
    assert step == 6
    return {file.name: file_digest(file) for file in sorted(path.glob("*.safetensors"))}


@pytest.fixture
def whole(train: Train, tmp_path: Path) -> dict[str, str]:
    """Return the weights of a run that nothing disturbed."""
    assert train(FLAGS, "--output", tmp_path / "whole") == 0
    return weights(tmp_path / "whole")


@pytest.fixture
def stopped(train: Train, tmp_path: Path) -> Path:
    """Return the folder of a run that was stopped after the third step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROBE_SIGNAL", f"SIGTERM:{STOP}")
        assert train(FLAGS, "--output", tmp_path / "stopped") == 130
    return tmp_path / "stopped"


def resumed(stopped: Path, change: Callable[[Checkpoint], None]) -> dict[str, str]:
    """Change what a checkpoint holds, go on from it, and return the weights at the end."""
    run = stopped.with_name("resumed")
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(stopped, run)
    step, path = steps(run / "checkpoints")[-1]
    assert step == STOP
    found = load(path)
    change(found)
    save(path.parent, step, found.tensors, found.state)
    assert main(["resume", str(run)]) == 0
    return weights(run)


def one_bit(tensors: Mapping[str, torch.Tensor]) -> None:
    """Change one bit of one number, too high a bit to be rounded away by what is added to it."""
    next(iter(tensors.values())).view(torch.int32).flatten()[0] ^= 1 << 12


def edit(*names: str) -> Callable[[Checkpoint], None]:
    """Return what counts up one number of the state, by the names that lead to it."""

    def change(checkpoint: Checkpoint) -> None:
        place = checkpoint.state
        for name in names[:-1]:
            place = place[name]  # type: ignore[assignment]
        assert isinstance(place, dict) and isinstance(place[names[-1]], int)
        place[names[-1]] += 1

    return change


PIECES: dict[str, Callable[[Checkpoint], None]] = {
    "a bit of the weights": lambda found: one_bit(found.tensors["model"]),
    "a bit of the moments": lambda found: one_bit(found.tensors["optimizer"]),
    "a bit of the average": lambda found: one_bit(found.tensors["average"]),
    "the step": edit("run", "step"),
    "the step in the epoch": edit("run", "epoch_step"),
    "the epoch": edit("run", "epoch"),
}


def test_every_piece_of_a_checkpoint_is_needed_to_end_with_the_same_bits(
    whole: dict[str, str], stopped: Path
) -> None:
    assert resumed(stopped, lambda found: None) == whole
    for name, change in PIECES.items():
        assert resumed(stopped, change) != whole, name


def test_draws_that_depend_on_what_was_drawn_before_are_noticed(
    whole: dict[str, str], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "scope", lambda *purpose, device: nullcontext())
    torch.manual_seed(0)
    found = []
    for name in ("first", "second"):  # the generator goes on from one to the other
        assert train(FLAGS, "--output", tmp_path / name) == 0
        found.append(weights(tmp_path / name))
    assert found[0] != found[1]


def test_a_seed_that_all_micro_batches_share_is_noticed(
    whole: dict[str, str], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner, "scope", lambda seed, *purpose, device: scope(seed, "all"))
    assert train(FLAGS, "--output", tmp_path / "shared") == 0
    assert weights(tmp_path / "shared") != whole


def test_an_operation_that_rounds_once_in_another_way_is_noticed(
    whole: dict[str, str], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asr_lab.layers.ctc_model import CTCModel

    loss, calls = CTCModel.loss, []

    def disturbed(self: CTCModel, batch: object) -> Mapping[str, LossPart]:  # type: ignore[type-arg]
        calls.append(batch)
        parts = loss(self, batch)  # type: ignore[arg-type]
        if len(calls) != 5:
            return parts
        part = parts["ctc"]
        return {"ctc": LossPart(sum=part.sum * (1 + 2.0**-23), count=part.count)}

    monkeypatch.setattr(CTCModel, "loss", disturbed)
    assert train(FLAGS, "--output", tmp_path / "disturbed") == 0
    assert weights(tmp_path / "disturbed") != whole
