"""The record of a run, `run.json`: what was asked for, with what, and how it ended; torch-free."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, get_args

from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_atomically

SCHEMA = 1
RECORD = "run.json"
SURROGATE = re.compile("[\ud800-\udfff]")
Status = Literal["running", "finished", "interrupted", "failed"]


class RecordError(UserError):
    """A run record that is missing, damaged or newer."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything that decides a run, and what became of it, as plain values."""

    run_id: str
    """Name of the run, unique among those of its owner."""
    command: tuple[str, ...] = ()
    """The command line, without the path of the program."""
    model: str = ""
    """Qualified name of the model."""
    preset: str = ""
    """Preset or file that the configuration started from."""
    changes: Mapping[str, object] = field(default_factory=dict)
    """What was changed of the preset, by flag."""
    config: Mapping[str, object] = field(default_factory=dict)
    """The whole configuration."""
    seeds: Mapping[str, int] = field(default_factory=dict)
    source: Mapping[str, object] = field(default_factory=dict)
    """What the weights were before: path, digest, run and more; empty if they were random."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of configuration, index, plan, tokenizer, …, by name."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What `environment()` and the plugins said at the start."""
    execution: Mapping[str, object] = field(default_factory=dict)
    """Device, precision, eager or compiled, processes."""
    restarts: tuple[Mapping[str, object], ...] = ()
    """One entry per resume: the step, and what had changed in the environment."""
    status: Status = "running"
    results: Mapping[str, object] = field(default_factory=dict)
    """Error rates and times of the finished run."""

    def to_dict(self) -> dict[str, object]:
        """Return what `run.json` holds; tuples become lists."""
        plain: dict[str, object] = json.loads(json.dumps({"schema": SCHEMA, **asdict(self)}))
        return plain

    def text(self) -> str:
        """Return what `run.json` holds, as JSON."""
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        # Names of files that are not UTF-8 hold halves of pairs, which only JSON's escapes can say.
        return SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"

    def write(self, folder: Path) -> Path:
        """Write `run.json` in place of the old one. Raises CannotWriteError."""
        path = folder / RECORD
        write_atomically(path, self.text())
        return path

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read the record of the run in `folder`.

        Raises RecordError if it is missing, damaged or of a newer version.
        """
        path = folder / RECORD
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecordError(f"{folder} is not the folder of a run: no {RECORD} in it") from error
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{path} is damaged: it is not JSON; restore it") from error
        if not isinstance(content, dict) or not isinstance(content.get("schema"), int):
            raise RecordError(f"{path} is not a run record; give the folder of a run")
        if content["schema"] > SCHEMA:
            raise RecordError(
                f"{path} is version {content['schema']}; this version reads up to {SCHEMA}; "
                "upgrade asr-lab-core"
            )
        return cls._from_dict(path, content)

    @classmethod
    def _from_dict(cls, path: Path, content: Mapping[str, object]) -> "RunRecord":
        values: dict[str, object] = {"source": {}, **content}  # the first versions lack the source
        del values["schema"]
        known = {one.name: type(getattr(EMPTY, one.name)) for one in fields(cls)}
        for name in sorted(set(values) ^ set(known)):
            state = "unknown" if name in values else "missing"
            raise RecordError(f"{path} is damaged: {name} is {state}; restore it")
        for name, kind in known.items():
            value = values[name]
            values[name] = tuple(value) if kind is tuple and isinstance(value, list) else value
            if not isinstance(values[name], kind):
                raise RecordError(f"{path} is damaged: {name} is no {kind.__name__}; restore it")
        if values["status"] not in get_args(Status):
            raise RecordError(f"{path} is damaged: status is {values['status']!r}; restore it")
        return cls(**values)  # type: ignore[arg-type]

    def restarted(self, step: int, changes: tuple[str, ...] = ()) -> "RunRecord":
        """Return a copy that says the run went on from `step`, in an environment with `changes`."""
        entry = {"step": step, "changes": list(changes)}
        return replace(self, restarts=(*self.restarts, entry), status="running")


EMPTY = RunRecord(run_id="")
