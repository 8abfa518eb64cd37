"""Options of the simple commands: one dataclass, one line of summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from asr_lab.cli.arguments import Scanner, wants_help
from asr_lab.cli.flags import Flag, Parsed, flags_of
from asr_lab.cli.help import FlagGroup, render_help

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ListingOptions:
    """What every listing takes."""

    json: bool = False
    """Print JSON instead of a table."""


def parse_flags(argv: Sequence[str], flags: Sequence[Flag]) -> Parsed:
    """Return the values of a command line, with every problem noted in the result."""
    scanner = Scanner(flags)
    assignments = scanner.read(argv)
    parsed = Parsed(problems=scanner.problems)
    parsed.assign(assignments, flags)
    parsed.require(flags)
    return parsed


def parse_options(kind: type[T], argv: Sequence[str], command: str, summary: str) -> T | None:
    """Return the options that `argv` describes; print help and return None if it asks for that.

    Raises UserError, with all problems together.
    """
    flags = flags_of(kind)
    if wants_help(argv):
        print(render_help(command, summary, [FlagGroup(title="flags", flags=flags)]))
        return None
    parsed = parse_flags(argv, flags)
    parsed.check()
    options = parsed.build(kind)
    parsed.check()
    return options
