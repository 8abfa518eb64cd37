"""`asr-lab bisect`: find the step, module and operation at which two runs part."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.cli.options import parse_options
from asr_lab.cli.reexecution import with_variables
from asr_lab.reproducibility.record import RunRecord

SUMMARY = "Replay two runs side by side, and find the first step, module and operation that differ."


@dataclass(frozen=True, kw_only=True)
class BisectOptions:
    """What `bisect` takes."""

    first: Path = field(metadata={"positional": True})
    """Folder of a run."""
    second: Path = field(metadata={"positional": True})
    """Folder of another run; of the same to look for an operation that does not repeat."""
    json: bool = False
    """Print JSON instead of text."""


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    options = parse_options(BisectOptions, argv, "bisect", SUMMARY)
    if options is None:
        return 0
    with_variables(str(RunRecord.read(options.first).config.get("repro")), ["bisect", *argv])
    from asr_lab.training.bisecting import bisect

    return bisect(options.first, options.second, as_json=options.json)
