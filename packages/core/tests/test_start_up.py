"""A run that compiles nothing starts without torch's compiler; deterministic mode reaches it."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from asr_lab.reproducibility.deterministic import COMPILER, COMPILER_VARIABLE, deterministic
from asr_lab.testing.forks import forked
from asr_lab.training.config import TrainConfig
from asr_lab.training.optimizers import adamw

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
