"""`asr-lab verify`: check the files and digests of a run, or compare two runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.cli.options import parse_options
from asr_lab.utils.errors import UserError

SUMMARY = "Check the files and the digest chain of a run, or compare the chains of two."


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """What `verify` takes."""

    runs: tuple[str, ...] = field(metadata={"positional": True})
    """Folder of a run, or of two that are to be compared."""
    json: bool = False
    """Print JSON instead of text."""


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    options = parse_options(VerifyOptions, argv, "verify", SUMMARY)
    if options is None:
        return 0
    folders = [Path(folder) for folder in options.runs]
    if len(folders) > 2:
        raise UserError(f"verify takes one run, or two to compare; got {len(folders)}")
    from asr_lab.training import comparing, verifying

    if len(folders) == 2:
        return comparing.compare(folders[0], folders[1], as_json=options.json)
    return verifying.verify(folders[0], as_json=options.json)
