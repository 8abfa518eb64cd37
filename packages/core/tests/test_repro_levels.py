"""What the levels of reproducibility demand and refuse, and how the variables get there."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from asr_lab.checkpoints.directory import steps
from asr_lab.cli.reexecution import GUARD, may_restart
from asr_lab.cli.run_options import parse_run
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.deterministic import deterministic
from asr_lab.reproducibility.hash import file_digest
from asr_lab.reproducibility.levels import LEVELS, VARIABLES, export_line, resolve_level
from asr_lab.training.config_io import from_dict
from asr_lab.training.distributed import Group
from asr_lab.training.levels import at_level, compiler_is_deterministic, refusals
from asr_lab.training.setup import prepare
from asr_lab.training.state import TrainState
from asr_lab.training.stream import BatchStream
from asr_lab.training.trainer import build_learner
from asr_lab.utils.errors import UserError

Command = Callable[..., list[str]]
Train = Callable[..., int]
PROGRAM = "import sys; from asr_lab.cli import main; sys.exit(main(sys.argv[1:]))"


def fresh(
    words: list[str], program: str = PROGRAM, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, where no variable is set but those given."""
    names = {GUARD, *(one.name for one in VARIABLES)}
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def record(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "run.json").read_text())
    return found


def weights(run: Path) -> dict[str, str]:
    """Return the digests of the tensors of the last checkpoint."""
    _, path = steps(run / "checkpoints")[-1]
    return {file.name: file_digest(file) for file in sorted(path.glob("*.safetensors"))}


# Variables


def test_a_level_that_was_asked_for_starts_the_command_again_with_its_variables(
    command: Command, train: Train, tmp_path: Path
) -> None:
    done = fresh(command("--repro exact --train.steps 2 --output", tmp_path / "asked"))
    assert done.returncode == 0, done.stderr
    found = record(tmp_path / "asked")["environment"]
    assert isinstance(found, dict)
    assert found["variable.PYTHONHASHSEED"] == "0"
    assert found["variable.CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert train("--train.steps 2 --output", tmp_path / "here") == 0  # auto, in this process
    assert weights(tmp_path / "asked") == weights(tmp_path / "here")


@pytest.mark.slow
def test_resuming_starts_again_with_the_variables_too(
    command: Command, train: Train, tmp_path: Path
) -> None:
    cut = tmp_path / "cut"
    stopped = fresh(command("--repro exact --output", cut), PROBE_SIGNAL="SIGTERM:4")
    assert stopped.returncode == 130, stopped.stderr
    resumed = fresh(["resume", str(cut)])
    assert resumed.returncode == 0, resumed.stderr
    assert train("--output", tmp_path / "here") == 0
    assert weights(cut) == weights(tmp_path / "here")
    refused = fresh(command("--repro exact --output", tmp_path / "no"), LOCAL_RANK="0")
    assert refused.returncode == 2
    assert refused.stderr.endswith("then: export PYTHONHASHSEED=0\n")


@pytest.mark.parametrize(
    ("variables", "modules", "answer"),
    [
        ({}, "sys", True),
        ({GUARD: "1"}, "sys", False),
        ({"WORLD_SIZE": "2"}, "sys", False),
        ({"TORCHELASTIC_RUN_ID": "none"}, "sys", False),
        ({}, "pytest", False),
    ],
)
def test_only_a_process_of_the_commands_own_is_started_again_and_only_once(
    variables: dict[str, str], modules: str, answer: bool
) -> None:
    ask = "from asr_lab.cli.reexecution import may_restart; print(may_restart(sys.argv[1:]))"
    found = fresh(["train", "--seed", "1"], program=f"import sys, {modules}; {ask}", **variables)
    assert found.stdout == f"{answer}\n", found.stderr
    inside = f"import sys; sys.argv[1:] = ['train']; {ask}"  # a program that calls the command
    assert fresh(["of its own"], program=inside).stdout == "False\n"


@pytest.mark.skipif(not sys.flags.hash_randomization, reason="the variable is set here")
def test_a_process_that_is_not_the_commands_own_is_never_started_again(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not may_restart(sys.orig_argv[1:])  # pytest
    assert train("--repro replay --output", tmp_path / "run") == 2
    assert capsys.readouterr().err == (
        "asr-lab: --repro replay needs PYTHONHASHSEED before Python starts; leave this program, "
        "then: export PYTHONHASHSEED=0\n"
    )
    assert not (tmp_path / "run").exists()


def test_a_hash_seed_that_was_set_too_late_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    (variable,) = [one for one in VARIABLES if one.name == "PYTHONHASHSEED"]
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    assert variable.is_set is (not sys.flags.hash_randomization)


def test_variables_are_set_in_one_line_and_other_values_may_serve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert export_line(list(VARIABLES)) == (
        "export PYTHONHASHSEED=0 CUBLAS_WORKSPACE_CONFIG=:4096:8 NCCL_ALGO=Ring"
    )
    (workspace,) = [one for one in VARIABLES if one.name == "CUBLAS_WORKSPACE_CONFIG"]
    for value, good in {":4096:8": True, ":16:8": True, ":0:0": False}.items():
        monkeypatch.setenv(workspace.name, value)
        assert workspace.is_set is good


@pytest.mark.slow
def test_the_weights_do_not_depend_on_the_order_of_sets(
    command: Command, train: Train, tmp_path: Path
) -> None:
    done = fresh(command("--output", tmp_path / "other"), PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stderr
    assert train("--output", tmp_path / "here") == 0
    assert weights(tmp_path / "other") == weights(tmp_path / "here")


# Levels


def test_auto_is_exact_where_that_is_free() -> None:
    assert [resolve_level("auto", device) for device in ("cpu", "cuda")] == ["exact", "off"]
    assert [resolve_level(level, "cuda") for level in LEVELS] == list(LEVELS)


@pytest.mark.parametrize(("level", "deterministic"), [("off", "false"), ("auto", "true")])
def test_the_level_is_recorded_with_the_kernels_and_ends_with_the_run(
    level: str, deterministic: str, train: Train, tmp_path: Path
) -> None:
    assert train(f"--repro {level} --output", tmp_path / "run") == 0
    execution = record(tmp_path / "run")["execution"]
    assert isinstance(execution, dict)
    assert execution["repro"] == {"off": "off", "auto": "exact"}[level]
    assert execution["kernels"]["deterministic"] == deterministic
    assert execution["kernels"]["attention"] == "flash efficient plain"
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_run_computes_on_as_many_threads_as_it_began_with(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    try:
        torch.set_num_threads(3)
        assert train("--output", tmp_path / "run") == 130
        torch.set_num_threads(1)
        config = from_dict(record(tmp_path / "run")["config"], installed_plugins().registry)  # type: ignore[arg-type]
        with at_level(config, Group(torch.device("cpu")), tmp_path / "run"):
            assert torch.get_num_threads() == 3
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.gpu
def test_two_runs_on_a_gpu_have_the_same_bits_and_one_that_was_stopped_has_them_too(
    command: Command, tmp_path: Path
) -> None:
    flags = "--repro exact --device cuda --model.dropout 0.2 --data.noise-snr 5 20 --output"
    for name in ("first", "second"):
        done = fresh(command(flags, tmp_path / name))
        assert done.returncode == 0, done.stderr
    assert fresh(command(flags, tmp_path / "cut"), PROBE_SIGNAL="SIGKILL:8").returncode == -9
    assert fresh(["resume", str(tmp_path / "cut")]).returncode == 0
    first, second, cut = (weights(tmp_path / name) for name in ("first", "second", "cut"))
    assert first == second == cut


@pytest.mark.gpu
def test_nothing_is_promised_on_a_gpu_unless_it_was_asked_for(
    command: Command, tmp_path: Path
) -> None:
    done = fresh(command("--device cuda --train.steps 2 --output", tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    execution = record(tmp_path / "run")["execution"]
    assert isinstance(execution, dict)
    assert (execution["repro"], execution["kernels"]["deterministic"]) == ("off", "false")


# Refusals


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--precision delayed", "--precision delayed computes with what earlier steps left behind"),
        ("--train.compile", "inductor's max_autotune times them and takes the fastest"),
        ("--model.put", "put_ without accumulate has no deterministic kernel (model.py, line"),
        ("--model.put", "; use index_put_ or index_copy_, or say --repro off"),
    ],
)
def test_what_a_level_cannot_promise_is_refused_in_one_line(
    flags: str,
    words: str,
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    inductor = importlib.import_module("torch._inductor.config")
    with inductor.patch(max_autotune="compile" in flags):
        assert train(flags, "--output", tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert words in told and told.count("\n") == 1


def test_deterministic_mode_reaches_the_compiler_of_newer_torch() -> None:
    newer = Version(torch.__version__) >= Version("2.10")
    assert compiler_is_deterministic() is newer
    if newer:
        config = importlib.import_module("torch._inductor.config")
        with deterministic():
            assert config.deterministic
        assert not config.deterministic


def test_the_same_is_not_refused_where_nothing_is_promised(train: Train, tmp_path: Path) -> None:
    flags = "--repro off --precision delayed --model.put --train.steps 2 --output"
    assert train(flags, tmp_path / "run") == 0


@pytest.fixture
def elastic(command: Command) -> Callable[..., list[str]]:
    """Return a function that reads flags and gives what the level `elastic` refuses of a run."""

    def problems(flags: str, size: int = 1) -> list[str]:
        words = command(f"--repro elastic {flags}")[1:]
        config, _ = parse_run(words, installed_plugins().registry)
        found = refusals(config, "elastic", Group(torch.device("cpu"), 0, size))
        return [problem for problem in found if "PYTHONHASHSEED" not in problem]

    return problems


def test_elastic_needs_a_whole_tree_of_micro_batches(elastic: Callable[..., list[str]]) -> None:
    assert elastic("--train.accumulate 4", 2) == []
    assert elastic("--train.accumulate 6") == [
        "--repro elastic adds micro-batches as a balanced tree; --train.accumulate 6 is no power "
        "of two"
    ]
    assert elastic("--train.accumulate 4", 3) == [
        "--repro elastic needs a power of two of processes; there are 3"
    ]


def test_elastic_refuses_models_whose_utterances_see_each_other(command: Command) -> None:
    plugins = installed_plugins()
    for flag, words in {
        "--model.coupled": "normalises over batches",
        "--model.follow": "level of the model follows the utterances that a process sees",
    }.items():
        flags = f"--repro elastic --train.accumulate 2 {flag}"
        setup = prepare(parse_run(command(flags)[1:], plugins.registry)[0], plugins)
        group = Group(torch.device("cpu"))
        with pytest.raises(UserError, match=words):
            learner = build_learner(setup, group, plugins)
            learner.step(next(BatchStream(setup, group).batches(TrainState())), 0)
