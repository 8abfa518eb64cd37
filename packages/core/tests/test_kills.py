"""A run that is killed at any moment of any write goes on and ends with the same bits."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main
from asr_lab.reproducibility.chain import Chain
from asr_lab.reproducibility.hash import file_digest
from asr_lab.reproducibility.record import RunRecord
from asr_lab.testing.forks import forked, kill_at
from asr_lab.utils.files import EVENT, PARTIAL

Command = Callable[..., list[str]]
FLAGS = (
    "--data.speeds 0.9 1.0 1.1 --data.noise-snr 5 20 --data.freq-masks 2 --model.dropout 0.2 "
    "--train.ema 0.9 --train.accumulate 2 --train.steps 2 --train.eval-every 2 "
    "--train.save-every 1 --train.keep 1 --train.digest-every 1 --data.workers 0"
)
"""All that draws random numbers, all that a checkpoint must keep, and a save at every step."""


def outcome(run: Path) -> dict[str, str]:
    """Return the digests of what a run leaves behind that must not depend on kills."""
    ((step, last),) = steps(run / "checkpoints")
    assert step == 2
    assert not list(run.rglob(f"{PARTIAL}*"))
    files = [*last.glob("*.safetensors"), run / "test.hypotheses.jsonl"]
    found = {file.name: file_digest(file) for file in files}
    chain = Chain.read(run)
    assert [entry.step for entry in chain.entries] == [1, 2] and not chain.torn
    return {**found, "chain": file_digest(chain.path)}


def events_of(folder: Path, words: list[str]) -> list[str]:
    """Run a command in a fork and return the names of the fail points that it passes, in order."""

    def noting() -> list[str]:
        found: list[str] = []

        def note(event: str, arguments: tuple[object, ...]) -> None:
            if event == EVENT:
                found.append(plain(folder, *map(str, arguments)))

        sys.addaudithook(note)
        assert main(words) == 0
        return found

    ended = forked(noting)
    assert ended.status == 0 and isinstance(ended.value, list)
    return ended.value


def plain(folder: Path, point: str, path: str) -> str:
    """Return the name of a fail point without what differs from save to save."""
    name = os.path.relpath(path, folder)
    return f"{point} {re.sub(r'[0-9a-f]{8}', 'N', name)}"


# What is after one thing is before the next, and the disk is the same; and files that are replaced
# whole are all replaced alike. Before the record has its name there is no run to go on with.
ALL = re.compile(r"(?!before link|.*\.\.$)")
DISTINCT = re.compile(
    r"(?!.*\.\.$)(before(?! link)|after (fsync folder|link|remove)) "
    r".*(checkpoints|run\.json|\.jsonl$|\.$)"
)


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(DISTINCT, id="distinct"),
        pytest.param(ALL, id="all", marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_at_any_fail_point_goes_on_to_the_same_bits(
    points: re.Pattern[str], command: Command, tmp_path: Path
) -> None:
    assert main(command(FLAGS, "--output", tmp_path / "first")) == 0  # everything is imported
    whole = tmp_path / "whole"
    names = events_of(whole, command(FLAGS, "--output", whole))
    expected = outcome(whole)
    chosen = [name for name in dict.fromkeys(names) if points.match(name)]
    assert len(chosen) > 20
    for name in chosen:
        # The last time, for there is an older checkpoint then, which must not be the only one.
        number = max(n for n, other in enumerate(names) if other == name)
        cut = tmp_path / str(number)
        assert killed(command(FLAGS, "--output", cut), number), name
        finished = RunRecord.read(cut).status == "finished"
        again = forked(lambda: main(["resume", str(cut)]))  # noqa: B023 (it is over by then)
        assert (again.status, again.value) == (0, 2 if finished else 0), name
        assert outcome(cut) == expected, name


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(DISTINCT, id="distinct"),
        pytest.param(ALL, id="all", marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_again_while_it_resumes_goes_on_to_the_same_bits(
    points: re.Pattern[str], command: Command, tmp_path: Path
) -> None:
    """It was killed behind a checkpoint, with a line of the chain that has to be cut off."""
    whole, cut, again = tmp_path / "whole", tmp_path / "cut", tmp_path / "again"
    assert main(command(FLAGS, "--output", tmp_path / "first")) == 0
    names = events_of(whole, command(FLAGS, "--output", whole))
    expected = outcome(whole)
    behind = max(n for n, name in enumerate(names) if name == "after append chain.jsonl")
    assert killed(command(FLAGS, "--output", cut), behind)
    assert [step for step, _ in steps(cut / "checkpoints")] == [1]
    assert [entry.step for entry in Chain.read(cut).entries] == [1, 2]
    shutil.copytree(cut, again)
    resuming = events_of(again, ["resume", str(again)])
    assert outcome(again) == expected
    first = resuming.index("before cut chain.jsonl")
    assert resuming[first + 1 : first + 4] == [
        "after cut chain.jsonl",
        "before fsync chain.jsonl",
        "after fsync chain.jsonl",
    ]
    # What follows the first step of a resumed run is what follows it in any run.
    until = next(n for n, name in enumerate(resuming) if "metrics.jsonl" in name and n > first)
    chosen = [n for n in range(until + 4) if points.match(resuming[n])]
    assert len(chosen) > 8
    for number in chosen:
        shutil.rmtree(again)
        shutil.copytree(cut, again)
        assert killed(["resume", str(again)], number), resuming[number]
        assert forked(lambda: main(["resume", str(again)])).value == 0, resuming[number]
        assert outcome(again) == expected, resuming[number]


def test_a_run_killed_while_it_writes_its_first_file_can_be_started_again(
    command: Command, tmp_path: Path
) -> None:
    words = command(FLAGS, "--output", tmp_path / "run")
    for number in (0, *range(6)):  # its own name is made safe; write, fsync and link of run.json
        assert killed(words, number)
    assert RunRecord.read(tmp_path / "run").status == "running"
    assert forked(lambda: main(["resume", str(tmp_path / "run")])).value == 0
    assert not list((tmp_path / "run").rglob(f"{PARTIAL}*"))


def killed(words: list[str], number: int) -> bool:
    """Run a command in a fork that dies at a fail point; return True if it did."""

    def doomed() -> None:
        kill_at(number, EVENT)
        main(words)

    return forked(doomed).status == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_killed_twenty_times_at_random_moments_ends_with_the_same_bits() -> None:
    driver = Path(__file__).parents[1] / "benchmarks" / "kills.py"
    words = [sys.executable, str(driver), "--kills", "20", "--seed", "1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
