"""`asr-lab verify RUN RUN`: whether two runs are the same, bit for bit, and if not, since when."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from asr_lab.reproducibility.chain import Chain, different_digests, different_tensors
from asr_lab.reproducibility.environment import environment_changes
from asr_lab.reproducibility.record import RunRecord
from asr_lab.utils.errors import UserError

SHOWN = 8
"""Tensors and settings that are told one by one."""
OWN = ("config.output", "config.overwrite")
"""Settings in which equal runs may differ."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Where two runs part."""

    compared: int
    """Steps of which both chains have an entry."""
    equal_until: int
    """Last step before they part; 0 if the first entries differ already."""
    differs_at: int | None
    different: tuple[str, ...] = ()
    """What differs there."""
    saved_at: int | None = None
    """First step that both saved in different states."""
    tensors: tuple[str, ...] = ()
    """Tensors that differ in those checkpoints."""
    settings: tuple[str, ...] = ()
    """Settings and facts about the machines that differ."""
    lengths: tuple[int, int] = (0, 0)
    """Last step of each chain."""

    def lines(self) -> list[str]:
        """Return what to tell a person."""
        notes = [f"note    {change}" for change in self.settings[:SHOWN]]
        shown = ", ".join(self.tensors[:SHOWN])
        more = f" and {len(self.tensors) - SHOWN} more" if len(self.tensors) > SHOWN else ""
        saved = [f"saved   at step {self.saved_at}, different in {shown}{more}"]
        if len(self.settings) > SHOWN:
            notes.append(f"note    and {len(self.settings) - SHOWN} more differences like these")
        if self.differs_at is None:
            entries = f"{self.compared} {'entry' if self.compared == 1 else 'entries'}"
            if self.saved_at is not None:
                lines = [f"differ  only in what was saved; {entries} to step {self.equal_until:,}"]
                return [*lines, *saved, *notes]
            lines = [f"identical  {entries} to step {self.equal_until:,}"]
            if self.lengths[0] != self.lengths[1]:
                which = "first" if self.lengths[0] > self.lengths[1] else "second"
                lines.append(f"note    the {which} goes on to step {max(self.lengths):,}")
            return [*lines, *notes]
        before = f"step {self.equal_until:,}" if self.equal_until else "none"
        lines = [
            f"differ  last equal: {before}; first different: step {self.differs_at:,}",
            f"        in {', '.join(self.different)}",
        ]
        return [*lines, *(saved if self.saved_at is not None else []), *notes]

    @property
    def identical(self) -> bool:
        """True if nothing differs that both runs say."""
        return self.differs_at is None and self.saved_at is None


def compare(first: Path, second: Path, *, as_json: bool = False) -> int:
    """Compare the chains of two runs, and print the result; 1 if they differ.

    Raises UserError for what is no run, and for runs without a common step.
    """
    found = comparison(first, second)
    print(json.dumps(asdict(found)) if as_json else "\n".join(found.lines()))
    return int(not found.identical)


def comparison(first: Path, second: Path) -> Comparison:
    """Return where two runs part. Raises what `compare` raises."""
    records = [RunRecord.read(folder) for folder in (first, second)]
    chains = [Chain.read(folder) for folder in (first, second)]
    here, there = ({entry.step: entry for entry in chain.entries} for chain in chains)
    common = sorted(set(here) & set(there))
    if not common:
        raise UserError(f"{first} and {second} have no entry for the same step; compare others")
    equal_until, differs_at, different = 0, None, list[str]()
    for step in common:
        if different := different_digests(here[step], there[step]):
            differs_at = step
            break
        equal_until = step
    saved_at, tensors = _saved(chains[0], chains[1])
    return Comparison(
        compared=len(common),
        equal_until=equal_until,
        differs_at=differs_at,
        different=tuple(different),
        saved_at=saved_at,
        tensors=tuple(tensors),
        settings=tuple(settings_changes(records[0], records[1])),
        lengths=(chains[0].step, chains[1].step),
    )


def _saved(first: Chain, second: Chain) -> tuple[int | None, list[str]]:
    """Return the first step that both saved in different states, and the tensors that differ."""
    for step in sorted(set(first.saves) & set(second.saves)):
        if names := different_tensors(first.saves[step].tensors, second.saves[step].tensors):
            return step, names
    return None, []


def settings_changes(first: RunRecord, second: RunRecord) -> list[str]:
    """Return one line for each setting, and each fact about the machine, that differs."""
    plain = [
        {**_flat(_own(one.config), "config."), **_flat(one.execution, ""), **one.environment}
        for one in (first, second)
    ]
    for facts in plain:
        for name in (*OWN, "seconds_to_first_step"):
            facts.pop(name, None)
    return environment_changes(plain[0], plain[1])


def _own(config: Mapping[str, object]) -> dict[str, object]:
    """Leave out what repeats other settings: those that somebody wrote."""
    return {name: value for name, value in config.items() if name != "changes"}


def _flat(values: Mapping[str, object], prefix: str) -> dict[str, str]:
    """Return nested settings as texts by dotted name."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = str(value)
    return found
