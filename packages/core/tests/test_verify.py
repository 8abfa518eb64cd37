"""Files that have changed are named, and two runs are told apart at the right step and tensor."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.reproducibility.chain import Chain

Train = Callable[..., int]
FLAGS = "--train.digest-every 3 --train.save-every 6 --train.keep 9 --train.steps 12"


@pytest.fixture
def run(train: Train, tmp_path: Path) -> Path:
    """Return a finished run with entries every third step and checkpoints every sixth."""
    assert train(FLAGS, "--output", tmp_path / "run") == 0
    return tmp_path / "run"


def verify(capsys: pytest.CaptureFixture[str], *folders: Path) -> tuple[int, str]:
    """Return the status and what was said, which is one line for a refusal."""
    capsys.readouterr()
    status = main(["verify", *map(str, folders)])
    said = capsys.readouterr()
    if status == 2:
        assert said.err.count("\n") == 1
        return status, said.err.removeprefix("asr-lab: ").rstrip("\n")
    return status, said.out


def test_an_untouched_run_is_as_it_was_written_and_any_change_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = verify(capsys, run)
    assert status == 0
    assert [line.split()[:2] for line in said.splitlines()] == [
        ["ok", "run.json"],
        ["ok", "chain.jsonl"],
        ["ok", "step-00000006"],
        ["ok", "step-00000012"],
        ["ok", "best.pt"],
        ["ok", "test.hypotheses.jsonl"],
        ["ok", "test.result.json"],
    ]
    assert said.count("files intact, every tensor as the chain says") == 2
    for name, told in {
        "best.pt": "its content has changed since the run finished",
        "test.result.json": "its content has changed since the run finished",
        "checkpoints/step-00000006/model.safetensors": "the content of model.safetensors has",
    }.items():
        path = run / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        status, said = verify(capsys, run)
        assert status == 1
        (bad,) = [line for line in said.splitlines() if line.startswith("BAD")]
        assert told in bad and Path(name).parts[-1 if "/" not in name else 1] in bad
        path.unlink()
        assert verify(capsys, run)[0] == 1
        path.write_bytes(content)
    assert main(["verify", str(run), "--json"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert all(check["ok"] for check in checks) and len(checks) == 7


def test_the_checkpoint_of_another_run_is_not_that_of_the_chain(
    run: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(FLAGS, "--seed 1 --output", tmp_path / "other") == 0
    name = "checkpoints/step-00000006"
    shutil.rmtree(run / name)
    shutil.copytree(tmp_path / "other" / name, run / name)
    status, said = verify(capsys, run)
    assert status == 1
    assert "is not what the chain says of step 6" in said


def test_a_chain_that_lost_its_end_is_not_the_one_of_the_record(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "chain.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    head = Chain.read(run).head[:12]
    path.write_text("".join(lines[:4]))
    status, said = verify(capsys, run)
    assert status == 1
    assert f"run.json knows the head {head}, which is not the last one here" in said


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda run: (run / "run.json").unlink(), "{run} is not the folder of a run: no run.json"),
        (lambda run: (run / "chain.jsonl").unlink(), "{run} has no chain.jsonl; it can be"),
        (
            lambda run: (run / "run.json").write_text('{"schema": 9}'),
            "{run}/run.json is version 9; this version reads up to 1; upgrade asr-lab-core",
        ),
        (
            lambda run: (run / "chain.jsonl").write_text("{}\n"),
            "{run}/chain.jsonl:1 has been changed, or a line before it is missing; restore it",
        ),
    ],
)
def test_what_cannot_be_verified_is_refused_in_one_line(
    change: Callable[[Path], object], line: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run)
    status, said = verify(capsys, run)
    assert status == 2 and said.startswith(line.format(run=run))


def test_more_than_two_runs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = verify(capsys, tmp_path, tmp_path, tmp_path)
    assert (status, said) == (2, "verify takes one run, or two to compare; got 3")


def test_equal_runs_are_identical_and_others_part_at_a_step_and_in_tensors(
    run: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same, other, short = tmp_path / "same", tmp_path / "other", tmp_path / "short"
    assert train(FLAGS, "--output", same) == 0
    status, said = verify(capsys, run, same)
    assert (status, said) == (0, "identical  4 entries to step 12\n")
    shutil.copytree(same, short)
    lines = (short / "chain.jsonl").read_text().splitlines(keepends=True)
    (short / "chain.jsonl").write_text("".join(lines[:3]))
    status, said = verify(capsys, run, short)
    assert status == 0
    assert said == "identical  2 entries to step 6\nnote    the first goes on to step 12\n"
    # The same until the learning rate has fallen for a while.
    assert train(FLAGS, "--seed 1 --train.schedule linear --output", other) == 0
    status, said = verify(capsys, run, other)
    assert status == 1
    assert said.startswith("differ  last equal: none; first different: step 3\n")
    assert "saved   at step 6, different in model/" in said
    assert "note    config.seed: 0 -> 1" in said
    assert main(["verify", str(run), str(other), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["equal_until"], found["differs_at"], found["saved_at"]) == (0, 3, 6)


def test_runs_that_part_late_are_equal_until_then(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, poison in (("a", 0), ("b", 8)):
        assert train(FLAGS, f"--model.poison {poison} --output", tmp_path / name) == 0
    status, said = verify(capsys, tmp_path / "a", tmp_path / "b")
    assert status == 1
    assert said.startswith("differ  last equal: step 6; first different: step 9\n")
    assert "saved   at step 12, different in model/" in said


def test_runs_without_a_common_step_cannot_be_compared(
    run: Path, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--train.steps 5 --train.digest-every 5 --output", tmp_path / "five") == 0
    status, said = verify(capsys, run, tmp_path / "five")
    assert status == 2 and said.endswith("have no entry for the same step; compare others")
