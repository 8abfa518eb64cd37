"""A run that compiles nothing starts without torch's compiler; deterministic mode reaches it."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main
from asr_lab.reproducibility.deterministic import COMPILER, COMPILER_VARIABLE, deterministic
from asr_lab.reproducibility.hash import config_digest
from asr_lab.testing.forks import forked
from asr_lab.training.config import TrainConfig
from asr_lab.training.optimizers import adamw
from asr_lab.training.run_folder import load_ahead

Command = Callable[..., list[str]]
RUN = f"""
import json, sys
from asr_lab.cli import main
train = json.loads(sys.argv[1])
ended = main(train), main(["resume", train[-1]])
print(json.dumps([ended, [name for name in ("torch", "torch._dynamo", "{COMPILER}")
                          if name in sys.modules]]))
"""


@pytest.fixture(scope="module")
def compiler() -> None:
    """Import torch's compiler once, for the forks to forget it again."""
    importlib.import_module(COMPILER)


def newly_imported() -> bool:
    """Import the settings of torch's compiler as if for the first time; return its switch."""
    del sys.modules[COMPILER]
    switch: bool = importlib.import_module(COMPILER).deterministic
    return switch


def test_neither_train_nor_resume_imports_torchs_compiler(command: Command, tmp_path: Path) -> None:
    flags = "--repro exact --train.steps 6 --train.ema 0.9 --train.log-every 1"
    words = [*command(flags), "--output", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(words)],
        env={**os.environ, "PROBE_SIGNAL": "SIGTERM:3", "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[130, 0], ["torch"]]


@pytest.fixture
def cut(train: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run that was stopped after three steps, with two checkpoints."""
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setenv("PROBE_SIGNAL", "SIGTERM:3")
        flags = "--train.steps 6 --train.save-every 2 --train.log-every 1 --output"
        assert train(flags, run) == 130
    assert [step for step, _ in steps(run / "checkpoints")] == [2, 3]
    return run


def test_a_resume_reads_its_checkpoint_once_and_beside_the_main_thread(cut: Path) -> None:
    newest = steps(cut / "checkpoints")[-1][1]

    def work() -> list[object]:
        read: list[tuple[str, bool]] = []

        def note(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and (path := Path(str(arguments[0]))).parent == newest:
                read.append((path.name, threading.current_thread() is threading.main_thread()))

        sys.addaudithook(note)
        status = main(["resume", str(cut)])
        return [status, sorted(one for one in read if one[0] != "manifest.json")]

    once = ["model.safetensors", "optimizer.safetensors", "state.json", "state.json"]
    assert forked(work).value == [0, [[name, False] for name in once]]


def test_what_is_read_ahead_is_the_newest_that_is_whole(cut: Path) -> None:
    (_, before), (_, newest) = steps(cut / "checkpoints")
    (newest / "optimizer.safetensors").write_bytes(b"torn")
    found, (problem,) = load_ahead(cut, torch.device("cpu")).result()
    assert found is not None and found.step == 2
    assert f"{newest} is damaged: optimizer.safetensors has 4 bytes" in problem
    shutil.rmtree(before.parent)
    assert load_ahead(cut, torch.device("cpu")).result() == (None, [])


def test_what_cannot_be_read_ahead_is_told_in_a_line(
    cut: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = steps(cut / "checkpoints")[-1][1] / "manifest.json"
    manifest = {**json.loads(file.read_text()), "format": 9}
    del manifest["sha256"]
    file.write_text(json.dumps({**manifest, "sha256": config_digest(manifest)}))
    record = (cut / "run.json").read_text()
    capsys.readouterr()
    assert main(["resume", str(cut)]) == 2
    said = capsys.readouterr().err
    assert "is format 9; this version reads up to 1; upgrade asr-lab-core" in said
    assert len(said.splitlines()) == 1
    assert json.loads(record)["restarts"] == json.loads((cut / "run.json").read_text())["restarts"]


def test_a_compiler_that_comes_into_deterministic_mode_is_deterministic(compiler: None) -> None:
    def work() -> list[object]:
        with deterministic():
            inside = newly_imported()
            again = os.environ.get(COMPILER_VARIABLE)
        config = importlib.import_module(COMPILER)
        return [inside, again, config.deterministic, os.environ.get(COMPILER_VARIABLE)]

    assert forked(work).value == [True, "1", False, None]


def test_a_compiler_that_comes_at_other_times_is_as_it_was(compiler: None) -> None:
    def work() -> list[object]:
        before = newly_imported()
        with deterministic():
            pass
        finders = [one for one in sys.meta_path if type(one).__module__.startswith("asr_lab")]
        with deterministic(False):
            return [before, newly_imported(), len(finders)]

    assert forked(work).value == [False, False, 0]


def test_a_compiler_that_is_there_is_switched_with_torch(compiler: None) -> None:
    def work() -> list[bool]:
        config = importlib.import_module(COMPILER)
        with deterministic():
            inside = config.deterministic, torch.are_deterministic_algorithms_enabled()
        return [*inside, config.deterministic, torch.are_deterministic_algorithms_enabled()]

    assert forked(work).value == [True, True, False, False]


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_deterministic_mode_puts_back_warnings_and_errors(mode: int) -> None:
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode(mode)
    try:
        with deterministic():
            assert torch.get_deterministic_debug_mode() == 2
        assert torch.get_deterministic_debug_mode() == mode
    finally:
        torch.set_deterministic_debug_mode(before)


def trained(optimizer: torch.optim.Optimizer, network: nn.Module, steps: int) -> None:
    """Train a network on numbers of its own."""
    draw = torch.Generator().manual_seed(1)
    for _ in range(steps):
        network(torch.randn(5, 4, generator=draw)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_the_optimizer_is_torchs_own_to_the_last_bit() -> None:
    config = TrainConfig(lr=0.1, weight_decay=0.2)
    networks, optimizers = [], []
    for own in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
        optimizer: torch.optim.Optimizer = adamw(network, config)
        if not own:
            settings = {"lr": config.lr, "betas": config.betas, "eps": config.eps, "fused": True}
            groups = [
                {key: group[key] for key in ("params", "weight_decay")}
                for group in optimizer.param_groups
            ]
            optimizer = torch.optim.AdamW(groups, **settings)  # type: ignore[arg-type]
        trained(optimizer, network, 7)
        networks.append(network)
        optimizers.append(optimizer)
    mine, theirs = (network.state_dict() for network in networks)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    saved, other = (optimizer.state_dict() for optimizer in optimizers)
    assert saved["param_groups"] == other["param_groups"]
    for number, state in other["state"].items():
        assert state.keys() == saved["state"][number].keys()
        assert all(torch.equal(state[key], saved["state"][number][key]) for key in state)


def test_the_optimizer_goes_on_from_what_it_saved_and_computes_no_gradients() -> None:
    network = nn.Linear(4, 3)
    first = adamw(network, TrainConfig())
    trained(first, network, 2)
    second = adamw(network, TrainConfig())
    second.load_state_dict(first.state_dict())
    calls: list[str] = []
    second.register_step_pre_hook(lambda *_: calls.append("before"))
    second.register_step_post_hook(lambda *_: calls.append("after"))
    trained(second, network, 1)
    assert calls == ["before", "after"]
    assert {float(state["step"]) for state in second.state.values()} == {3.0}
    assert all(weight.is_leaf and weight.grad is None for weight in network.parameters())
