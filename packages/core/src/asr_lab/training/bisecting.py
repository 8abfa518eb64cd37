"""`asr-lab bisect RUN RUN`: replay two runs side by side up to the first thing that differs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.plugins import Plugins, installed_plugins
from asr_lab.precision.devices import choose_device
from asr_lab.reproducibility.chain import different_tensors
from asr_lab.reproducibility.hash import root_digest
from asr_lab.reproducibility.sums import Sums
from asr_lab.training.chaining import loss_digest, utterance_facts
from asr_lab.training.comparing import Comparison, comparison, settings_changes
from asr_lab.training.distributed import Group
from asr_lab.training.levels import at_level
from asr_lab.training.replaying import RecordedRun, Replay
from asr_lab.training.tracing import Call, Trace, parting
from asr_lab.utils.errors import UserError

SHOWN = 8
"""Tensors that are told one by one."""
FACTS = ("id", "audio", "tokens", "key", "speed", "validity")
"""What is known of an utterance, in the order of `utterance_facts`."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Where two runs part."""

    equal_until: int
    """Last step after which both were in the same state."""
    step: int | None = None
    """First step that differs; None if the replays do not differ at all."""
    kind: str = ""
    """`data`, `operation`, `state` or `start`; `transient` where it does not repeat."""
    utterance: str = ""
    """The first utterance that differs."""
    fact: str = ""
    """What differs in it: audio, tokens, …; of what does not repeat, the run."""
    module: str = ""
    op: str = ""
    call: str = ""
    """The first operation that differs, in one line."""
    tensors: tuple[str, ...] = ()
    """Tensors that differ after the step."""
    settings: tuple[str, ...] = ()
    """Settings that differ."""

    def lines(self) -> list[str]:
        """Return what to tell a person."""
        if self.kind == "":
            return [f"identical to step {self.equal_until:,}; there is nothing to find"]
        shown = ", ".join(self.tensors[:SHOWN])
        more = f" and {len(self.tensors) - SHOWN} more" if len(self.tensors) > SHOWN else ""
        told = {
            "data": f"data: {self.fact} of utterance {self.utterance!r}",
            "operation": self.call,
            "state": "every operation gives the same; the state was changed after them",
            "start": "the state differs before the step",
            "transient": f"what happened in {self.fact} does not happen again in a replay",
        }
        lines = [
            f"equal   to step {self.equal_until:,}",
            f"step    {self.step}",
            f"where   {told[self.kind]}",
        ]
        if self.tensors:
            lines.append(f"tensors {shown}{more}")
        return [*lines, *(f"note    {change}" for change in self.settings[:SHOWN])]


def bisect(first: Path, second: Path, *, as_json: bool = False) -> int:
    """Find where two runs part, and print it; 1 if they do.

    Raises UserError for runs that cannot be replayed here.
    """
    found = find(first, second, installed_plugins())
    print(json.dumps(asdict(found)) if as_json else "\n".join(found.lines()))
    return int(found.kind != "")


def find(first: Path, second: Path, plugins: Plugins) -> Finding:
    """Return where two runs part. Raises what `bisect` raises."""
    known = comparison(first, second)
    if known.identical and first.resolve() != second.resolve():
        return Finding(equal_until=known.equal_until)
    runs = [RecordedRun.read(folder, plugins) for folder in (first, second)]
    for run in runs:
        if int(str(run.record.execution.get("processes", 1))) > 1:
            raise UserError(
                f"{run.folder} was trained by several processes, which bisect cannot replay; "
                "asr-lab reproduce and verify can"
            )
    settings = tuple(
        change
        for change in settings_changes(runs[0].record, runs[1].record)
        if change.startswith("config.")
    )
    pair = _Pair(runs, plugins, known)
    with at_level(runs[0].setup.config, pair.groups[0], first):
        return replace(pair.find(), settings=settings)


class _Pair:
    """Two runs that are replayed side by side."""

    def __init__(self, runs: Sequence[RecordedRun], plugins: Plugins, known: Comparison) -> None:
        self.runs, self.plugins, self.known = runs, plugins, known
        self.groups = [Group(choose_device(run.setup.config.device)) for run in runs]
        before = known.equal_until if known.differs_at else (known.saved_at or 1) - 1
        both = set.intersection(*(set(run.checkpoints(before)) for run in runs))
        self.start = max(both, default=0)
        self.end = known.differs_at or min(known.lengths)

    def _replays(self) -> list[Replay]:
        """Start both runs from the last checkpoint that both have before they part."""
        pairs = zip(self.runs, self.groups, strict=True)
        replays = [Replay(run, group, self.plugins, self.start) for run, group in pairs]
        for one in replays:
            one.recorder.every = 1
        return replays

    def find(self) -> Finding:
        """Compare step by step, and look into the first step that differs."""
        replays = self._replays()
        states = [_state(one) for one in replays]
        if names := different_tensors(*states):
            return Finding(equal_until=0, step=self.start, kind="start", tensors=tuple(names))
        while replays[0].state.step < self.end:
            before = replays[0].state.step
            batches = [one.next() for one in replays]
            if bad := different_utterance(*batches):
                utterance, fact = bad
                return Finding(
                    equal_until=before,
                    step=before + 1,
                    kind="data",
                    utterance=utterance,
                    fact=fact,
                )
            results = [one.step(b) for one, b in zip(replays, batches, strict=True)]
            names = different_tensors(*(_state(one, gradients=True) for one in replays))
            if names or loss_digest(results[0]) != loss_digest(results[1]):
                return self._inside(before, names)
        return self._transient(replays)

    def _transient(self, replays: Sequence[Replay]) -> Finding:
        """Say which of the runs does not come out again as it was."""
        odd = [str(one.run.folder) for one in replays if not _as_recorded(one)]
        if not odd:
            return Finding(equal_until=self.end)
        return Finding(
            equal_until=self.known.equal_until,
            step=self.end,
            kind="transient",
            fact=" and ".join(odd),
            tensors=self.known.tensors,
        )

    def _inside(self, before: int, names: Sequence[str]) -> Finding:
        """Do the step behind `before` again, and compare operation by operation."""
        found = None
        if not self._compiled():
            # The first once more: an operation that does not repeat differs from itself.
            replays = [*self._replays(), self._replays()[0]]
            found = parting(*(_traced(one, before) for one in replays))
        finding = Finding(equal_until=before, step=before + 1, kind="state", tensors=tuple(names))
        if found is None:
            return finding
        return replace(
            finding, kind="operation", module=found.module, op=found.op, call=found.describe()
        )

    def _compiled(self) -> bool:
        return any(run.setup.config.train.compile for run in self.runs)


def _traced(one: Replay, before: int) -> list[Call]:
    """Replay to a step, and return the operations of the next."""
    while one.state.step < before:
        one.step(one.next())
    batches = one.next()
    with Trace(one.learner.model, one.learner.optimizer).running() as trace:
        one.learner.step(batches, one.state.step)
    return trace.calls


def _state(one: Replay, *, gradients: bool = False) -> dict[str, dict[str, str]]:
    """Return the digests of all tensors, with the gradients of the last step if wanted."""
    sums = one.recorder.taken() if gradients else Sums()
    for group, named in one.learner.tensors()[0].items():
        sums.add(group, named)
    return sums.digests()


def _as_recorded(one: Replay) -> bool:
    """Return True if the state that a replay has come to is that of the run's chain."""
    roots = {group: root_digest(named) for group, named in _state(one).items()}
    entries = [entry for entry in one.run.chain.entries if entry.step == one.state.step]
    return all(
        entry.digests.get(group) == root for entry in entries for group, root in roots.items()
    )


def different_utterance(
    first: Sequence[AudioBatch], second: Sequence[AudioBatch]
) -> tuple[str, str] | None:
    """Return the first utterance of a step that differs, and in what; None if none does."""
    here, there = (
        [facts for b in step for facts in utterance_facts(b)] for step in (first, second)
    )
    for one, other in zip(here, there, strict=False):
        for name, x, y in zip(FACTS, one, other, strict=True):
            if x != y:
                return str(one[0]), name
    if [len(batch) for batch in first] != [len(batch) for batch in second]:
        longer = max(here, there, key=len)
        return str(longer[min(len(here), len(there), len(longer) - 1)][0]), "batch"
    return None
