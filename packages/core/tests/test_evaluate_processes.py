"""`asr-lab evaluate` in several processes: the files of one, and a failure is told once by one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.evaluation.processes import Alone, ToldElsewhereError, agree, in_processes, share
from asr_lab.testing.speech import write_corpus
from asr_lab.utils.errors import UserError

TEXTS = [f"{first} {second}" for first in ("ace", "bed", "cab") for second in ("dab", "fed")]
BATCHES = "--batch-size 2 --workers 0 --device cpu"
MEASURED = ("decode_seconds", "wall_seconds", "rtfx", "rtfx_with_loading", "execution")
Words = Callable[..., list[str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a corpus of six utterances, so that four processes have unequal shares."""
    folder = tmp_path_factory.mktemp("shared")
    write_corpus(folder, TEXTS, seed=5)
    return folder


@pytest.fixture
def words(checkpoint: Path, probe: Path, data: Path, tmp_path: Path) -> Words:
    """Return a function that gives the words of a command that evaluates into `tmp_path/NAME`."""

    def command(name: str, flags: str = "") -> list[str]:
        where = f"--checkpoint {checkpoint} --dataset manifest:{data}/manifest.jsonl"
        return f"evaluate {where} {BATCHES} --output {tmp_path}/{name} {flags}".split()

    return command


def files(folder: Path) -> tuple[dict[str, object], dict[str, bytes]]:
    """Return the result without what was measured, and all other files."""
    result = json.loads((folder / "result.json").read_text())
    kept = {key: value for key, value in result.items() if key not in MEASURED}
    others = (path for path in folder.iterdir() if path.name != "result.json")
    return kept, {path.name: path.read_bytes() for path in others}


def in_the_middle(data: Path) -> str:
    """Return the id of an utterance that is neither in the first nor in the last batch."""
    rows = [json.loads(line) for line in (data / "manifest.jsonl").read_text().splitlines()]
    order = sorted(range(len(rows)), key=lambda place: -round(rows[place]["duration"] * 1000))
    return f"utterance-{order[2]:04}"


def devices(folder: Path) -> tuple[int, int]:
    """Return how many processes there were, and how many batches in all."""
    execution = json.loads((folder / "result.json").read_text())["execution"]
    return execution["devices"], execution["batches"]


def in_groups(groups: list[dict[str, object]], folder: Path) -> tuple[list[list[object]], str]:
    """Run commands in groups of processes, as torchrun starts them; return statuses and stderr."""
    (folder / "groups.json").write_text(json.dumps(groups))
    done = subprocess.run(
        [sys.executable, "-m", "probe_asr.groups", str(folder / "groups.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    statuses: list[list[object]] = json.loads(done.stdout.splitlines()[-1])
    return statuses, done.stderr


def test_two_and_four_processes_of_torchrun_write_what_one_does_and_fail_together(
    words: Words, data: Path, tmp_path: Path
) -> None:
    extra = "--write trn stm ctm"
    assert main(words("one", extra)) == 0
    groups: list[dict[str, object]] = [
        {"size": 2, "command": words("two", extra), "variables": {}},
        {"size": 4, "command": words("four", extra), "variables": {}},
        {"size": 2, "command": words("one"), "variables": {}},
        {
            "size": 2,
            "command": words("stumbled"),
            "variables": {"PROBE_STUMBLE": "utterance-0003"},
        },
        {"size": 2, "command": words("died"), "variables": {"PROBE_DIE": in_the_middle(data)}},
    ]
    statuses, errors = in_groups(groups, tmp_path)
    lines = [line for line in errors.splitlines() if line.startswith("asr-lab: ")]
    assert statuses == [[0] * 2, [0] * 4, [2] * 2, [2] * 2, [2, None]], errors
    for name, count in (("two", 2), ("four", 4)):
        assert files(tmp_path / name) == files(tmp_path / "one"), name
        assert devices(tmp_path / name) == (count, 3)
    assert devices(tmp_path / "one") == (1, 3)

    # Each mistake is one line, of one process; what one of them dies of is told by the other.
    assert len([line for line in lines if "one exists; choose another --output" in line]) == 1
    assert len([line for line in lines if "RuntimeError: cannot make out utterance" in line]) == 1
    assert len([line for line in lines if "another process ended without a word" in line]) == 1
    assert not any((tmp_path / name).exists() for name in ("stumbled", "died"))


def test_processes_that_the_command_starts_write_what_one_does(
    words: Words, tmp_path: Path
) -> None:
    assert main(words("one")) == 0
    assert main(words("two", "--devices 2")) == 0
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert devices(tmp_path / "two") == (2, 3)


class Pair:
    """Two processes, of which the other did what it is said to have done."""

    size = 2

    def __init__(self, rank: int, other: object) -> None:
        self.rank, self.other = rank, other

    def gather(self, thing: object) -> list[object]:
        """Return both things."""
        return [thing, self.other] if self.rank == 0 else [self.other, thing]


class Broken(Pair):
    """Two processes whose connection is lost."""

    def gather(self, thing: object) -> list[object]:
        """Fail as torch does."""
        raise RuntimeError("connection closed by peer")


def fail() -> int:
    raise UserError("the disk is full")


def test_a_failure_is_told_by_the_first_process_and_raised_in_all() -> None:
    from asr_lab.evaluation.processes import Outcome

    failed: Outcome[int] = Outcome(problem="the disk is full")
    for work in (agree, share):
        with pytest.raises(UserError, match="the disk is full") as first:
            work(Pair(0, failed), lambda: 1)
        assert not isinstance(first.value, ToldElsewhereError)
        with pytest.raises(ToldElsewhereError):
            work(Pair(1, failed), lambda: 1)
        with pytest.raises(UserError, match="the disk is full"):
            work(Pair(0, Outcome(2)), fail)
        with pytest.raises(UserError, match="another process ended without a word"):
            work(Broken(0, None), lambda: 1)
    assert share(Pair(1, Outcome(1)), lambda: 2) == [1, 2]
    assert agree(Pair(1, Outcome(1)), lambda: 2) == 2


def test_a_process_alone_fails_with_its_own_error() -> None:
    with pytest.raises(ZeroDivisionError):
        share(Alone(), lambda: 1 // 0)
    assert agree(Alone(), lambda: 3) == 3


def test_values_come_in_the_order_of_processes_and_an_error_in_one_is_told(
    probe: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = import_module("probe_asr.ranks").name
    assert in_processes(name, 3) == ["process 0", "process 1", "process 2"]
    with pytest.raises(UserError, match="ValueError: there is no fourth"):
        in_processes(name, 4)
    assert "Traceback" in capfd.readouterr().err


def test_a_process_that_is_killed_is_told(probe: Path) -> None:
    die = import_module("probe_asr.ranks").die
    with pytest.raises(UserError, match="process 2 of 2 was killed by SIGKILL; if memory ran out"):
        in_processes(die, 2)
