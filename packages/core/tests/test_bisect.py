"""What makes two runs part is found by replaying them: step, tensor, operation, utterance."""

import ctypes
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor, nn

from asr_lab.cli import main
from asr_lab.plugins import installed_plugins
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.tracing import Call, Trace, parting

Train = Callable[..., int]
Fault = Callable[[Learner], Tensor]
FLAGS = (
    "--train.ema 0.9 --train.digest-every 4 --train.save-every 4 --train.keep 9 "
    "--train.steps 8 --train.eval-every 8"
)


def flip(tensor: Tensor) -> None:
    """Change a bit of the first element, by no operation of torch; no later step rounds it away."""
    ctypes.c_uint8.from_address(tensor.data_ptr() + 1).value ^= 1


@contextmanager
def disturbed(name: str, step: int, disturb: Callable[[Learner], object]) -> Iterator[None]:
    """Disturb the run in the folder of that name after a step, counted from 1."""
    undisturbed = Learner.step

    def learn(one: Learner, *arguments: object) -> StepResult:
        result = undisturbed(one, *arguments)  # type: ignore[arg-type]
        if Path(one.config.output).name == name and arguments[1] == step - 1:
            disturb(one)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "step", learn)
        yield


@contextmanager
def imprecise(name: str, step: int, call: int) -> Iterator[None]:
    """Let ReLU return one unit in the last place more, in a run, a step, at one of its calls."""
    now: dict[str, object] = {"run": "", "step": 0, "calls": 0}
    plain = Learner.step

    def learn(one: Learner, *arguments: object) -> StepResult:
        now.update(run=Path(one.config.output).name, step=arguments[1], calls=0)
        return plain(one, *arguments)  # type: ignore[arg-type]

    def relu(values: Tensor) -> Tensor:
        result = values.clamp_min(0)
        now["calls"] = int(str(now["calls"])) + 1
        if now == {"run": name, "step": step - 1, "calls": call}:
            result = torch.nextafter(result, torch.tensor(torch.inf))
        return result

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(Learner, "step", learn)
        library = torch.library.Library("aten", "IMPL")  # noqa: TOR901 (destroyed below)
        library.impl("relu", relu, "CPU")
        try:
            yield
        finally:
            library._destroy()


def bisect(capsys: pytest.CaptureFixture[str], *folders: Path) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    status = main(["bisect", *map(str, folders), "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out) if status < 2 else {"refused": said.err}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """Return a run that nothing disturbs; nothing writes to it."""
    folder = tmp_path_factory.mktemp("first") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent / "plugins" / "probe")
        installed_plugins.cache_clear()
        sets = [("data", "train"), ("dev-data", "dev"), ("eval-data", "test")]
        names = [f"--{flag}=manifest:{corpus}/{name}/manifest.jsonl" for flag, name in sets]
        words = [*FLAGS.split(), *names, "--output", str(folder)]
        assert main(["train", "--model", "probe", *words]) == 0
    installed_plugins.cache_clear()
    return folder


@pytest.fixture
def two(first: Path, train: Train, tmp_path: Path) -> Callable[..., list[Path]]:
    """Return a function that trains the same again, as `b`, and gives both folders."""

    def run(*flags: str) -> list[Path]:
        assert train(FLAGS, *flags, "--output", tmp_path / "b") == 0
        return [first, tmp_path / "b"]

    return run


def weight(one: Learner) -> Tensor:
    return one.unwrapped.get_parameter("encoder.linear.weight")


FAULTS: dict[str, Fault] = {
    "model/encoder.linear.weight": weight,
    "optimizer/exp_avg_sq/encoder.linear.weight": lambda one: one.optimizer.state[weight(one)][
        "exp_avg_sq"
    ],
    "average/encoder.linear.weight": lambda one: one.average.weights[  # type: ignore[union-attr]
        "encoder.linear.weight"
    ],
    "model/level": lambda one: one.unwrapped.get_buffer("level"),
}


@pytest.mark.parametrize("tensor", FAULTS)
def test_a_flipped_bit_is_found_with_its_step_and_tensor(
    tensor: str, two: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    with disturbed("b", 6, lambda one: flip(FAULTS[tensor](one))):
        folders = two()
        assert main(["verify", *map(str, folders)]) == 1, "the planted bit has not survived"
        status, found = bisect(capsys, *folders)
    assert status == 1
    assert (found["step"], found["equal_until"], found["kind"]) == (6, 5, "state"), found
    assert found["tensors"] == [tensor]


def test_an_operation_that_is_one_unit_off_once_is_found_with_step_module_and_op(
    two: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    with imprecise("b", 7, call=1):
        folders = two()
        assert main(["verify", *map(str, folders)]) == 1
        status, found = bisect(capsys, *folders)
    assert status == 1
    assert (found["step"], found["kind"]) == (7, "operation")
    assert (found["module"], found["op"]) == ("encoder", "aten.relu.default")
    assert found["call"] == (
        "module encoder, op aten.relu.default, call 1, forward: equal inputs, different results"
    )


def test_one_changed_sample_is_found_with_its_utterance(
    two: Callable[..., list[Path]],
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copy = tmp_path / "corpus"
    shutil.copytree(corpus / "train", copy)
    audio = copy / "utterance-0007.wav"
    samples, rate = soundfile.read(audio, dtype="int16")
    samples[len(samples) // 2] ^= np.int16(1)
    soundfile.write(audio, samples, rate, subtype="PCM_16")
    status, found = bisect(capsys, *two(f"--data manifest:{copy}/manifest.jsonl"))
    assert status == 1
    assert (found["kind"], found["utterance"], found["fact"]) == (
        "data",
        "utterance-0007",
        "audio",
    )
    assert 1 <= int(str(found["step"])) <= 8


def test_what_does_not_repeat_is_told_with_the_tensors_of_the_checkpoints(
    two: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    with disturbed("b", 8, lambda one: flip(FAULTS["model/level"](one))):
        folders = two()
    status, found = bisect(capsys, *folders)
    assert (status, found["kind"], found["step"]) == (1, "transient", 8)
    assert found["fact"] == str(folders[1])
    assert found["tensors"] == ["model/level"]


def test_equal_runs_have_nothing_to_find_and_people_are_told_so(
    two: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    folders = two()
    assert bisect(capsys, *folders)[0] == 0
    assert bisect(capsys, folders[0], folders[0])[0] == 0
    assert main(["bisect", *map(str, folders)]) == 0
    assert capsys.readouterr().out == "identical to step 8; there is nothing to find\n"


def test_another_setting_is_named_beside_what_it_did(
    two: Callable[..., list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bisect", *map(str, two("--train.lr 0.03"))]) == 1
    said = capsys.readouterr().out
    assert "step    1\nwhere   outside of any module, op aten._fused_adamw_" in said
    assert "note    config.train.lr: 0.02 -> 0.03" in said


def test_a_trace_names_the_module_of_every_operation_forward_and_backward() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with Trace(model, optimizer).running() as trace:
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    where = {(call.op.split(".")[1], call.phase, call.module) for call in trace.calls}
    assert {
        ("addmm", "forward", "0"),
        ("relu", "forward", "1"),
        ("threshold_backward", "backward", "1"),
        ("mm", "backward", "2"),
        ("_fused_adamw_", "optimizer", ""),
    } <= where
    assert not any(call.phase == "forward" and not call.module for call in trace.calls)


def call(op: str = "a", taken: str = "x", given: str = "y") -> Call:
    return Call(op=op, module="m", phase="forward", taken=(taken,), given=(given,))


def test_the_first_difference_counts_and_says_what_it_is() -> None:
    assert parting([call(), call()], [call(), call()]) is None
    cases = [
        ([call(), call()], [call(), call(given="z")], "a", 2, "result"),
        ([call(), call("b")], [call(), call("b", taken="w", given="z")], "b", 1, "input"),
        ([call(), call("b")], [call(), call("c")], "b", 1, "operation"),
        ([call(), call()], [call()], "a", 2, "operation"),
    ]
    for first, second, op, number, what in cases:
        found = parting(first, second)
        assert found is not None
        assert (found.op, found.number, found.what) == (op, number, what)
    again = parting([call(), call()], [call(), call(given="z")], [call(), call(given="w")])
    assert again is not None and (again.number, again.what) == (2, "unstable")
    earlier = parting([call(), call()], [call(given="z"), call()], [call(), call(given="w")])
    assert earlier is not None and (earlier.number, earlier.what) == (1, "result")
