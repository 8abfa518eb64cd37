"""Lay out the help of a command: usage, then its flags in groups, each with its default."""

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from asr_lab.cli.flags import Flag
from asr_lab.cli.values import metavar, show

INDENT = "      "


@dataclass(frozen=True, kw_only=True)
class FlagGroup:
    """Flags that help shows under one title."""

    title: str
    flags: Sequence[Flag]


def render_help(command: str, summary: str, groups: Sequence[FlagGroup], notes: str = "") -> str:
    """Return the text that `--help` prints."""
    flags = [flag for group in groups for flag in group.flags]
    must = [flag for flag in flags if flag.required]
    named = [f"{flag.shown} {metavar(flag.hint)}" for flag in must if not flag.positional]
    places = [flag.shown for flag in flags if flag.positional]
    usage = " ".join(["usage: asr-lab", command, *places, *named, "[flags]"])
    lines = [usage, "", summary]
    for group in groups:
        lines += ["", group.title]
        for flag in group.flags:
            lines += _flag_lines(flag)
    return "\n".join([*lines, *(["", notes] if notes else [])])


def _flag_lines(flag: Flag) -> list[str]:
    values = "" if flag.positional or flag.hint is bool else f" {metavar(flag.hint)}"
    negated = f", --no-{flag.name}" if flag.hint is bool and flag.default else ""
    text = f"{flag.help} ({_default(flag)})" if _default(flag) else flag.help
    width = min(shutil.get_terminal_size().columns, 100)
    wrapped = textwrap.wrap(text, width, initial_indent=INDENT, subsequent_indent=INDENT)
    return [f"  {flag.shown}{negated}{values}", *wrapped]


def _default(flag: Flag) -> str:
    if flag.required:
        return "required"
    if flag.hint is bool:
        return "on by default" if flag.default else ""
    return "" if flag.default in ("", None, ()) else f"default: {show(flag.default)}"
