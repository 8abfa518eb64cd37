"""`asr-lab resume`: go on with a run that was stopped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.cli.options import parse_options
from asr_lab.cli.reexecution import with_variables
from asr_lab.reproducibility.record import RunRecord


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """What `resume` takes."""

    folder: Path = field(metadata={"positional": True})
    """Folder of the run, such as outputs/conformer-tiny-0001."""
    json: bool = False
    """Print JSON Lines instead of text."""


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    summary = "Go on with a run from its last complete checkpoint, with the settings it has."
    options = parse_options(ResumeOptions, argv, "resume", summary)
    if options is None:
        return 0
    with_variables(str(RunRecord.read(options.folder).config.get("repro")), ["resume", *argv])
    from asr_lab.training.run import resume

    return resume(options.folder, as_json=options.json)
