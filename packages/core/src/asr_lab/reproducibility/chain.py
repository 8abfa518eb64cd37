"""The digest chain of a run, `chain.jsonl`: what the state was, step by step; torch-free.

A line is an entry. Each entry of a step holds a SHA-256, its head, of itself and the head before
it, so that no line can be changed without all that follow. What is said of a checkpoint is bound to
the head before it, and no part of the chain itself: when a run is saved does not change its head.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr_lab.utils.errors import UserError
from asr_lab.utils.files import append_line, cut

CHAIN = "chain.jsonl"
FORMAT = 1
START = ""
"""The head before the first entry."""
BLOCK = 2**20
"""Bytes of the end of a chain that are read first."""


class ChainError(UserError):
    """A chain that is missing, damaged or of a newer version."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is said of the state after a step."""

    step: int
    digests: Mapping[str, str] = field(default_factory=dict)
    """128-bit digests by what they cover: weights, optimizer, gradients, data, …"""
    tensors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Digests of single tensors, by group and name; only where a checkpoint was saved."""
    head: str = ""
    """SHA-256 of this entry and the head before it."""

    @property
    def saved(self) -> bool:
        """True if the entry is about a checkpoint."""
        return bool(self.tensors)

    def after(self, head: str) -> "Entry":
        """Return the entry with its head, where `head` is the one before it."""
        content = [
            head,
            self.step,
            dict(self.digests),
            {k: dict(v) for k, v in self.tensors.items()},
        ]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return replace(self, head=hashlib.sha256(text.encode()).hexdigest())

    def line(self) -> str:
        """Return the entry as `chain.jsonl` holds it, names in order: a run that goes on may have
        its tensors in another."""
        digests = dict(sorted(self.digests.items()))
        values: dict[str, object] = {"format": FORMAT, "step": self.step, "digests": digests}
        if self.saved:
            groups = sorted(self.tensors.items())
            values["tensors"] = {group: dict(sorted(named.items())) for group, named in groups}
        return json.dumps({**values, "head": self.head}, separators=(",", ":"))


@dataclass
class Chain:
    """All entries of a run."""

    path: Path
    entries: list[Entry] = field(default_factory=list)
    """Entries of steps, in order."""
    saves: dict[int, Entry] = field(default_factory=dict)
    """What is said of checkpoints, by step; of a step saved twice, the last."""
    torn: bool = False
    """True if a crash left half of a last line, which is not counted."""

    @classmethod
    def read(cls, folder: Path) -> "Chain":
        """Read and check the chain of the run in `folder`.

        Raises ChainError, naming the line, if there is none, it is newer, or a line was changed.
        """
        chain = cls(folder / CHAIN)
        try:
            content = chain.path.read_bytes()
        except OSError as error:
            raise ChainError(f"{folder} has no {CHAIN}; it can be compared with nothing") from error
        *lines, last = content.split(b"\n")
        chain.torn = bool(last)
        for number, line in enumerate(lines, 1):
            chain._take(number, line)
        return chain

    def _take(self, number: int, line: bytes) -> None:
        """Keep the entry of a line, if it follows from those before it."""
        entry, version = _parsed(line)
        if version > FORMAT:
            raise ChainError(
                f"{self.path} is version {version}; this version reads up to {FORMAT}; "
                "upgrade asr-lab-core"
            )
        forward = entry is not None and (entry.saved or entry.step > self.step)
        if entry is None or not forward or entry.after(self.head).head != entry.head:
            raise ChainError(
                f"{self.path}:{number} has been changed, or a line before it is missing; "
                "restore it or use another run"
            )
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        if entry.saved:
            self.saves[entry.step] = entry
        else:
            self.entries.append(entry)

    @property
    def head(self) -> str:
        """Head of the last step's entry."""
        return self.entries[-1].head if self.entries else START

    @property
    def step(self) -> int:
        """Step of the last entry; 0 if there is none."""
        return self.entries[-1].step if self.entries else 0


@dataclass
class ChainEnd:
    """The end of a chain that a run writes to; what lies before is not read."""

    path: Path
    head: str = START
    """Head of the last step's entry."""
    step: int = 0
    """Step of that entry; 0 if there is none."""
    size: int = 0
    """Bytes of the file up to here."""
    saved: Entry | None = None
    """What is said of the checkpoint of the step that was asked for."""

    @classmethod
    def at(cls, folder: Path, step: int) -> "ChainEnd":
        """Stand behind what the chain of the run in `folder` says of steps up to `step`.

        Reads no more than what lies behind, and a little before: a long run resumes as quickly.
        """
        path, block = folder / CHAIN, BLOCK
        if not path.exists():
            return cls(path)
        size = path.stat().st_size
        while True:
            start = max(0, size - block)
            with path.open("rb") as file:
                file.seek(start)
                content = file.read()
            found = cls._behind(path, content, start, step)
            if found.head or start == 0:
                return found
            block *= 8

    @classmethod
    def _behind(cls, path: Path, content: bytes, start: int, step: int) -> "ChainEnd":
        """Return the end among the lines of `content`, which begins at a byte of the file."""
        found, at = cls(path), start
        for line in content.split(b"\n")[:-1]:
            at += len(line) + 1
            entry, _ = _parsed(line)
            if entry is not None and entry.step <= step:
                found.size = at
                if not entry.saved:
                    found.head, found.step = entry.head, entry.step
                elif entry.step == step:
                    found.saved = entry
        return found

    def cut(self) -> None:
        """Drop what lies behind, and half a line, from the file; it will be done again.

        Raises CannotWriteError.
        """
        if self.path.exists() and self.path.stat().st_size > self.size:
            cut(self.path, self.size)

    def append(self, entry: Entry) -> None:
        """Add an entry, and wait until it is on the disk. Raises CannotWriteError."""
        assert entry.saved or entry.step > self.step
        linked = entry.after(self.head)
        append_line(self.path, linked.line(), durable=True)
        self.size = self.path.stat().st_size
        if not linked.saved:
            self.head, self.step = linked.head, linked.step


def _parsed(line: bytes) -> tuple[Entry | None, int]:
    """Return the entry of a line, None if it is not one, and the version of its format."""
    try:
        values = json.loads(line)
        version, step, head = values["format"], values["step"], values["head"]
        digests, tensors = values["digests"], values.get("tensors", {})
        known = set(values) <= {"format", "step", "digests", "tensors", "head"}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None, 0
    whole = isinstance(version, int) and isinstance(step, int) and isinstance(head, str)
    whole = whole and known and version >= 1
    if not whole or not isinstance(digests, dict) or not isinstance(tensors, dict):
        return None, version if isinstance(version, int) else 0
    return Entry(step=step, digests=digests, tensors=tensors, head=head), version


def different_tensors(
    first: Mapping[str, Mapping[str, str]], second: Mapping[str, Mapping[str, str]]
) -> list[str]:
    """Return the tensors whose digests differ or that only one has, as `GROUP/NAME`."""
    return [
        f"{group}/{name}"
        for group in sorted({*first, *second})
        for name in sorted({*first.get(group, {}), *second.get(group, {})})
        if first.get(group, {}).get(name) != second.get(group, {}).get(name)
    ]


def different_digests(first: Entry, second: Entry) -> list[str]:
    """Return what two entries of the same step say differently."""
    names = sorted({*first.digests, *second.digests})
    return [name for name in names if first.digests.get(name) != second.digests.get(name)]
