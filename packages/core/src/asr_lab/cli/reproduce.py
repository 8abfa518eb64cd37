"""`asr-lab reproduce`: replay a run and compare every digest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.cli.options import parse_options
from asr_lab.cli.reexecution import with_variables
from asr_lab.reproducibility.record import RunRecord
from asr_lab.utils.errors import UserError

SUMMARY = "Replay a run from what its folder says, and compare every digest of its chain."


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions:
    """What `reproduce` takes."""

    folder: Path = field(metadata={"positional": True})
    """Folder of the run, such as outputs/conformer-tiny-0001."""
    steps: str = ""
    """Steps to replay, `FIRST:LAST`, from the last checkpoint before the first; empty for all."""
    devices: int = 0
    """Processes to replay with; 0 for as many as the run had."""
    allow_env_diff: bool = False
    """Replay in a different environment, and tell the step at which the bits part."""
    json: bool = False
    """Print JSON instead of text."""

    def __post_init__(self) -> None:
        """Refuse what names no steps."""
        if self.devices < 0:
            raise ValueError(f"devices must be 0 or more; got {self.devices}")
        parse_steps(self.steps)


def parse_steps(text: str) -> tuple[int, int | None]:
    """Return the first and the last step of `FIRST:LAST`; None for the last of all.

    Raises UserError for anything else.
    """
    found = re.fullmatch(r"(\d*):(\d*)", text or ":")
    first, last = (int(found[1] or 0), int(found[2]) if found[2] else None) if found else (1, 0)
    if last is not None and last < max(first, 1):
        raise UserError(f"steps are FIRST:LAST, such as 200:400; got {text!r}")
    return first, last


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    options = parse_options(ReproduceOptions, argv, "reproduce", SUMMARY)
    if options is None:
        return 0
    with_variables(str(RunRecord.read(options.folder).config.get("repro")), ["reproduce", *argv])
    from asr_lab.training.reproducing import reproduce

    return reproduce(
        options.folder,
        steps=parse_steps(options.steps),
        devices=options.devices,
        allow_env_diff=options.allow_env_diff,
        as_json=options.json,
    )
