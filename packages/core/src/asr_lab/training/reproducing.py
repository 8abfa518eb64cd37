"""`asr-lab reproduce` behind its flags: replay a run, and compare every digest with its chain."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_lab.plugins import Plugins, installed_plugins
from asr_lab.reproducibility.chain import different_digests
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.distributed import Group, is_first_process, process_group
from asr_lab.training.levels import at_level
from asr_lab.training.replaying import RecordedRun, Replay
from asr_lab.utils.errors import UserError

SHOWN = 8
"""Differences of the environment that are told in one line."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """What came out of a replay."""

    folder: str
    start: int
    """Step behind which it began; 0 for the beginning of the run."""
    end: int
    """Last step that was replayed."""
    compared: int
    """Entries of the chain that were compared."""
    equal_until: int
    """Step of the last entry before the first that differs."""
    differs_at: int | None
    """Step of the first entry that differs."""
    different: tuple[str, ...]
    """What differs there: data, gradients, model, optimizer, …"""
    environment: tuple[str, ...]
    """What is different here from where the run was made."""

    def lines(self) -> list[str]:
        """Return what to tell a person."""
        origin = f"from the checkpoint of step {self.start}" if self.start else "from the start"
        lines = [f"run     {self.folder} · replayed to step {self.end:,} {origin}"]
        lines += [f"note    {change}" for change in self.environment]
        if self.differs_at is None:
            entries = f"{self.compared} {'entry' if self.compared == 1 else 'entries'}"
            return [*lines, f"equal   {entries} of the chain, to step {self.equal_until:,}"]
        what = ", ".join(self.different)
        before = f"step {self.equal_until:,}" if self.equal_until else "none"
        return [*lines, f"differs at step {self.differs_at:,}: {what}; last equal: {before}"]


def reproduce(
    folder: Path,
    *,
    steps: tuple[int, int | None] = (0, None),
    devices: int = 0,
    allow_env_diff: bool = False,
    as_json: bool = False,
) -> int:
    """Replay a run and print what came of it; 1 if a digest differs.

    `devices` is the number of processes, 0 for as many as the run had. With `allow_env_diff` the
    step of divergence is the answer, and the status 0. Raises UserError for a run that cannot be
    replayed here.
    """
    wanted = devices or _processes(RunRecord.read(folder))
    plugins = installed_plugins()
    run = RecordedRun.read(folder, plugins)
    span = _span(run, steps)
    changes = run.environment_changes(plugins)
    if changes and not allow_env_diff:
        raise UserError(
            f"the environment differs from the run's: {_short(changes)}; restore it, or say "
            "--allow-env-diff to learn where the bits part"
        )
    if wanted > 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        found = _in_processes(wanted, folder, steps)
    else:
        config = run.setup.config
        with process_group(config.device) as group, at_level(config, group, folder):
            found = replay(run, group, plugins, span, changes)
    if is_first_process():
        print(json.dumps(asdict(found)) if as_json else "\n".join(found.lines()))
    return int(found.differs_at is not None and not allow_env_diff)


def _processes(record: RunRecord) -> int:
    found = record.execution.get("processes", 1)
    return found if isinstance(found, int) else 1


def _in_processes(count: int, folder: Path, steps: tuple[int, int | None]) -> Reproduction:
    """Replay in several processes, and return what the first of them told."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    span = f"{steps[0]}:{'' if steps[1] is None else steps[1]}"
    flags = ["--steps", span, "--json", "--allow-env-diff"]  # the difference is known here
    command = [sys.executable, *launch, "-m", "asr_lab.cli", "reproduce", str(folder), *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise UserError(f"the replay in {count} processes failed; what they said stands above")
    told = json.loads(done.stdout.splitlines()[-1])
    lists = {name: tuple(told[name]) for name in ("different", "environment")}
    return Reproduction(**{**told, **lists})


def _span(run: RecordedRun, steps: tuple[int, int | None]) -> tuple[int, int]:
    """Return the step of the checkpoint to start from, and the last entry to compare.

    Raises UserError for steps that the chain says nothing about.
    """
    first, last = steps[0], run.chain.step if steps[1] is None else steps[1]
    start = max(run.checkpoints(first), default=0) if first else 0
    entries = [entry.step for entry in run.chain.entries]
    inside = [step for step in entries if start < step <= last]
    if not inside:
        raise UserError(
            f"the chain of {run.folder} says nothing of steps {start + 1} to {last}; its "
            f"{len(entries)} entries are of steps {entries[0]} to {entries[-1]}"
        )
    return start, max(inside)


def replay(
    run: RecordedRun,
    group: Group,
    plugins: Plugins,
    span: tuple[int, int],
    changes: Sequence[str] = (),
) -> Reproduction:
    """Replay steps of a run, and compare each entry of its chain, until one differs.

    `span` are the step of the checkpoint to start from and the last step; `changes` are those of
    the environment.
    """
    start, end = span
    expected = {entry.step: entry for entry in run.chain.entries if start < entry.step <= end}
    again = Replay(run, group, plugins, start)
    equal_until, compared, different = 0, 0, list[str]()
    while again.state.step < end and not different:
        batches = again.next()
        again.check_audio(batches)
        result = again.step(batches)
        step = again.state.step
        if step in expected:
            found = again.recorder.entry(again.state, result)
            told = group.gather(different_digests(expected[step], found))[0]
            different = told if isinstance(told, list) else []
            compared += 1
            equal_until = step if not different else equal_until
    return Reproduction(
        folder=str(run.folder),
        start=start,
        end=again.state.step,
        compared=compared,
        equal_until=equal_until,
        differs_at=again.state.step if different else None,
        different=tuple(different),
        environment=tuple(changes),
    )


def _short(changes: Sequence[str]) -> str:
    more = f" (and {len(changes) - SHOWN} more)" if len(changes) > SHOWN else ""
    return f"{', '.join(changes[:SHOWN])}{more}"
