"""One optimizer step: how it is split changes nothing, and what is not finite does no harm."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main
from asr_lab.cli.run_options import parse_run
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.loader import Request
from asr_lab.data.plan import MicroBatch
from asr_lab.plugins import installed_plugins
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.setup import Setup, prepare
from asr_lab.training.trainer import build_learner

Command = Callable[..., list[str]]
Train = Callable[..., int]
TOLERANCE = 1e-5
"""Relative: a few hundred roundings of single precision."""


@pytest.fixture
def setup(command: Command, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """Return a run of plain gradient descent with all augmentation, and no dropout."""
    monkeypatch.setenv("PROBE_SGD", "1.0")
    words = command(
        "--model.dropout 0 --data.noise-snr 5 20 --data.gain-db 6 --data.freq-masks 2 "
        "--data.time-masks 2 --train.clip 0"
    )
    plugins = installed_plugins()
    return prepare(parse_run(words[1:], plugins.registry)[0], plugins)


def learner(setup: Setup) -> Learner:
    return build_learner(setup, Group(torch.device("cpu")), installed_plugins())


def batches(
    setup: Setup, split: Sequence[Sequence[int]], *, counted: bool = True
) -> list[AudioBatch]:
    """Load utterances, by position, in micro-batches."""
    dataset = setup.dataset()
    found = []
    for positions in split:
        speeds = np.array([(0.9, 1.0, 1.1)[one % 3] for one in positions], np.float32)
        batch = MicroBatch(np.array(positions, np.int64), speeds, counted)
        found.append(dataset[Request(0, batch)])
    return found


def after(
    setup: Setup, split: Sequence[Sequence[int]]
) -> tuple[dict[str, torch.Tensor], StepResult]:
    """Return the weights after one step over micro-batches, and the step's result."""
    one = learner(setup)
    result = one.step(batches(setup, split), 0)
    return parameters(one), result


def parameters(one: Learner) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in one.model.named_parameters()}


def test_gradients_do_not_depend_on_how_a_step_is_split(setup: Setup) -> None:
    everyone = np.random.default_rng(0).permutation(12).tolist()
    whole, expected = after(setup, [everyone])
    start = parameters(learner(setup))
    for cuts in ((6,), (1, 2), (3, 4, 9), tuple(range(1, 12))):
        split = [list(part) for part in np.split(np.array(everyone), cuts)]
        found, result = after(setup, split)
        assert result.losses["ctc"] == pytest.approx(expected.losses["ctc"], rel=TOLERANCE)
        assert result.gradient_norm == pytest.approx(expected.gradient_norm, rel=TOLERANCE)
        largest = max(float((whole[n] - start[n]).abs().max()) for n in whole)
        for name, weight in found.items():
            assert (weight - whole[name]).abs().max() <= TOLERANCE * largest, (cuts, name)
    others, _ = after(setup, [everyone[:-1]])
    assert any(not torch.allclose(others[n], whole[n], rtol=1e-3) for n in whole)


def test_a_filler_and_a_bad_utterance_count_for_nothing(setup: Setup) -> None:
    one, other = learner(setup), learner(setup)
    good = batches(setup, [[0, 1, 2]])
    filler = batches(setup, [[5]], counted=False)
    expected, found = one.step(good, 0), other.step([*good, *filler], 0)
    assert found.losses == expected.losses
    for first, second in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.allclose(first, second, rtol=TOLERANCE, atol=1e-7)


def test_a_step_of_fillers_alone_changes_nothing(setup: Setup) -> None:
    one = learner(setup)
    before = parameters(one)
    result = one.step(batches(setup, [[5], [3]], counted=False), 0)
    assert result.applied and result.losses == {"ctc": 0.0} and result.gradient_norm == 0.0
    assert all(torch.equal(weight, before[name]) for name, weight in parameters(one).items())


def test_gradients_are_clipped_to_the_norm(setup: Setup) -> None:
    start = parameters(learner(setup))
    config = replace(setup.config, train=replace(setup.config.train, clip=0.5, schedule="constant"))
    found, result = after(replace(setup, config=config), [[0, 1, 2]])
    assert result.gradient_norm > 0.5
    moved = torch.cat([(found[name] - start[name]).flatten() for name in start]) / result.lr
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-3)


def test_the_learning_rate_follows_the_schedule(train: Train, tmp_path: Path) -> None:
    flags = "--train.schedule linear --train.warmup 4 --train.lr 0.1 --train.final-lr 0"
    assert train(flags, "--output", tmp_path / "run") == 0
    lines = map(json.loads, (tmp_path / "run" / "metrics.jsonl").read_text().splitlines())
    rates = [line["lr"] for line in lines if "lr" in line]
    expected = [0.025, 0.05, 0.075, 0.1, *(0.1 * left / 8 for left in range(8, 0, -1))]
    assert rates == pytest.approx(expected)


# What is not finite


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    path = dict(steps(run / "checkpoints"))[step]
    return safetensors.torch.load_file(path / "model.safetensors")


def lines(run: Path) -> list[dict[str, float | None]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_step_that_is_not_finite_is_skipped_and_leaves_no_trace(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = "--model.poison 3 --train.save-every 1 --train.keep 20 --train.ema 0.9"
    assert train(flags, "--output", run) == 0
    assert "note   1 step skipped: loss or gradient was not finite" in capsys.readouterr().out
    trained = [line for line in lines(run) if "lr" in line]
    assert [line["skipped"] for line in trained] == [0, 0] + [1] * 10
    assert trained[2]["loss/ctc"] is None and trained[2]["gradient_norm"] is None
    second, third, fourth = (weights(run, step) for step in (2, 3, 4))
    assert all(torch.equal(second[name], third[name]) for name in second)  # statistics too
    assert any(not torch.equal(third[name], fourth[name]) for name in second)
    assert all(tensor.isfinite().all() for tensor in weights(run, 12).values())


def test_under_stop_the_first_such_step_ends_the_run_and_its_utterances_are_named(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train("--model.poison 3 --train.non-finite stop --output", run) == 2
    told = capsys.readouterr().err
    assert told.startswith(
        "asr-lab: loss or gradient was not finite in 1 step in a row; the state before step 3 is "
        f"saved in {run}; its utterances are utterance-00"
    )
    assert told.endswith("try a lower --train.lr or --precision fp32\n")
    assert [step for step, _ in steps(run / "checkpoints")] == [2]
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    # The third pass of the process that goes on is another step's.
    assert main(["resume", str(run)]) == 2
    assert "the state before step 5 is saved" in capsys.readouterr().err


def test_too_many_such_steps_in_a_row_end_the_run_all_the_same(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train("--model.poison -1 --train.non-finite-limit 4 --output", run) == 2
    assert "not finite in 5 steps in a row" in capsys.readouterr().err
    assert [step for step, _ in steps(run / "checkpoints")] == [4]
    assert len(lines(run)) == 4


def test_skipped_steps_apart_do_not_add_up(setup: Setup) -> None:
    one = learner(setup)
    good = batches(setup, [[0, 1]])
    one.unwrapped.passes, poisoned = 0, replace(one.unwrapped.config, poison=2)  # type: ignore[assignment, call-arg]
    one.unwrapped.config = poisoned
    results = [one.step(good, step) for step in range(3)]
    assert [result.applied for result in results] == [True, False, True]
    assert not any(result.overflow for result in results)  # FP32 has no scale to blame


def test_the_average_starts_from_the_weights_and_ignores_skipped_steps(
    setup: Setup,
) -> None:
    config = replace(setup.config, train=replace(setup.config.train, ema=0.9))
    one = learner(replace(setup, config=config))
    assert one.average is not None
    one.unwrapped.config = replace(one.unwrapped.config, poison=1)  # type: ignore[call-arg]
    before = {name: weight.clone() for name, weight in one.average.weights.items()}
    good = batches(setup, [[0, 1]])
    assert not one.step(good, 0).applied
    assert all(torch.equal(before[name], weight) for name, weight in one.average.weights.items())
    assert one.step(good, 1).applied
    assert any(not torch.equal(before[n], weight) for n, weight in one.average.weights.items())
