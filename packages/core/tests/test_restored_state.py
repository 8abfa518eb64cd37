"""Whatever is switched, seeded or half written is put back, however the block ends."""

import errno
import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asr_lab.precision import get_precision_manager
from asr_lab.precision.manager import BF16Manager, FP16Manager, PrecisionManager, TF32Manager
from asr_lab.reproducibility.deterministic import deterministic
from asr_lab.reproducibility.seeding import derive_key, scope
from asr_lab.utils.files import CannotWriteError, append_line, write_atomically

CPU = torch.device("cpu")
ENDINGS = [KeyError, SystemExit, KeyboardInterrupt]


def switches() -> tuple[object, ...]:
    """Return every switch of the process that a training step touches."""
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.cudnn_sdp_enabled(),
        torch.backends.cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
    )


def generators() -> tuple[object, ...]:
    """Return the state of every global generator of random numbers."""
    numbers = numpy.random.get_state(legacy=False)["state"]["key"].tolist()
    return torch.get_rng_state().tolist(), tuple(numbers)


BLOCKS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "fp32": lambda: PrecisionManager(CPU).step(),
    "tf32": lambda: TF32Manager(CPU).step(),
    "bf16": lambda: BF16Manager(CPU).step(),
    "autocast": lambda: BF16Manager(CPU).autocast(),
    "deterministic": lambda: deterministic(),
    "scope": lambda: scope(7, "dropout", 3),
}
INSIDE: dict[str, Callable[[], bool]] = {
    "fp32": lambda: torch.get_float32_matmul_precision() == "highest",
    "tf32": lambda: torch.get_float32_matmul_precision() == "high",
    "bf16": lambda: not torch.backends.cuda.cudnn_sdp_enabled(),
    "autocast": lambda: torch.is_autocast_enabled("cpu"),
    "deterministic": lambda: torch.are_deterministic_algorithms_enabled(),
    "scope": lambda: torch.initial_seed() == derive_key(7, "dropout", 3) % 2**64,
}


@settings(max_examples=15)
@given(st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=5), st.sampled_from(ENDINGS))
def test_blocks_nested_in_any_order_leave_every_switch_as_it_was(
    names: list[str], ending: type[BaseException]
) -> None:
    seen = []
    with ExitStack() as outermost:
        outermost.callback(lambda: seen.append((switches(), generators())))
        seen.append((switches(), generators()))
        outermost.enter_context(pytest.raises(ending))
        for number, name in enumerate(names):
            outermost.enter_context(BLOCKS[name]())
            assert INSIDE[name]()
            if "scope" in names[: number + 1]:
                torch.rand(3), numpy.random.rand()
        raise ending
    assert seen[0] == seen[1]


@pytest.mark.parametrize("before", ["highest", "high", "medium"])
def test_a_step_gives_back_the_precision_that_somebody_else_chose(before: str) -> None:
    original = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(before)
        with TF32Manager(CPU).step(), PrecisionManager(CPU).step():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(original)


def test_draws_go_on_after_a_scope_as_if_it_had_not_been() -> None:
    def three(between: Callable[[], object]) -> list[float]:
        torch.manual_seed(1)
        numpy.random.seed(1)
        first = [float(torch.rand(())), float(numpy.random.rand())]
        between()
        return [*first, float(torch.rand(())), float(numpy.random.rand())]

    def drawing() -> None:
        with scope(3, "epoch", 2):
            torch.rand(1000), numpy.random.rand(1000), random.random()

    with scope(0, "test"):
        assert three(drawing) == three(lambda: None)


# The loss scale of FP16, whose rules are the same on a CPU


def scaled_steps(manager: FP16Manager, overflows: list[bool]) -> list[float]:
    """Return the loss scale after each step, some of which overflow."""
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    scales = []
    for overflow in overflows:
        optimizer.zero_grad()
        manager.backward(model(torch.ones(1, 1)).sum() * (float("inf") if overflow else 1.0))
        manager.unscale(optimizer)
        assert manager.step(optimizer) is not overflow
        scales.append(manager.scaler.get_scale())
    return scales


@settings(max_examples=15)
@given(st.lists(st.booleans(), max_size=5), st.lists(st.booleans(), min_size=1, max_size=5))
def test_a_restored_loss_scale_goes_on_as_the_one_that_was_saved(
    before: list[bool], after: list[bool]
) -> None:
    whole, stopped, resumed = (FP16Manager(CPU) for _ in range(3))
    for manager in (whole, stopped, resumed):
        manager.scaler.set_growth_interval(3)
    expected = scaled_steps(whole, before + after)[len(before) :]
    scaled_steps(stopped, before)
    resumed.load_state_dict(stopped.state_dict())
    assert scaled_steps(resumed, after) == expected


def test_unscaled_gradients_are_those_without_a_scale() -> None:
    model, inputs = nn.Linear(3, 2), torch.randn(5, 3)
    optimizer, manager = torch.optim.SGD(model.parameters(), lr=1.0), FP16Manager(CPU)
    model(inputs).square().sum().backward()
    expected = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    optimizer.zero_grad()
    manager.backward(model(inputs).square().sum())
    # A power of two scales without rounding.
    assert torch.equal(model.bias.grad, expected[1] * 65536)  # type: ignore[arg-type]
    manager.unscale(optimizer)
    for weight, wanted in zip(model.parameters(), expected, strict=True):
        assert weight.grad is not None
        assert torch.equal(weight.grad, wanted)


@pytest.mark.parametrize("mode", ["fp32", "bf16"])
def test_a_precision_without_a_scale_has_nothing_to_keep_and_applies_every_step(mode: str) -> None:
    manager, model = get_precision_manager(mode, "cpu"), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    manager.backward(model(torch.ones(1, 1)).sum())
    gradient = model.weight.grad
    assert gradient is not None
    manager.unscale(optimizer)
    assert gradient.item() == 1
    assert manager.step(optimizer) is True
    assert manager.state_dict() == {}
    assert not manager.scales


# Files, under a system that fails at any of its calls


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
def test_a_system_call_that_fails_leaves_the_old_file_and_nothing_else(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    write_atomically(path, b"old")

    def fail(*arguments: object) -> None:
        raise error

    expected = CannotWriteError if isinstance(error, OSError) else type(error)
    with monkeypatch.context() as patched, pytest.raises(expected):
        patched.setattr(os, call, fail)
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, sync, rename = list[str](), os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "content")
        sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        calls.append("name")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_atomically(tmp_path / "a", b"x")
    assert calls == ["content", "name", "folder"]
    calls.clear()
    append_line(tmp_path / "log", "one")
    assert calls == []
    append_line(tmp_path / "log", "two", durable=True)
    assert calls == ["content"]
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
