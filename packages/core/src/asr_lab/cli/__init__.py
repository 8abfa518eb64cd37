"""The `asr-lab` command: finds the command among the plugins, runs it, and words its errors."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import cast

from asr_lab.cli.tables import short_names, table
from asr_lab.plugins.loading import Plugins, installed_plugins
from asr_lab.plugins.specs import CommandSpec, load_target
from asr_lab.utils.errors import CombinedUserError, UserError, tell

USER_MISTAKE = 2
INTERRUPTED = 130
BROKEN_PIPE = 141
QUIET_ABOUT_PLUGINS = ("plugins", "doctor")
"""Commands that show themselves which plugins failed."""
ADVICE = {
    errno.ENOSPC: "free some space or choose another disk with --output",
    errno.EDQUOT: "free some space or choose another disk with --output",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "choose a folder that you may read and write",
    errno.EPERM: "choose a folder that you may read and write",
    errno.ENOTDIR: "a part of the path is a file",
}
"""What to do about the operating system's refusals; any other OSError is our mistake."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `asr-lab` command and return its exit status.

    0 is success, 1 an answer that is no, 2 a mistake of the user, 130 an interrupt.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        tell(_worded(error))
        return USER_MISTAKE
    except BrokenPipeError:
        return _leave_closed_pipe()
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        where = f"{error.filename}: " if error.filename else ""
        reason = os.strerror(error.errno).lower()
        tell(f"{where}{reason}; {ADVICE[error.errno]}")
        return USER_MISTAKE
    except KeyboardInterrupt:
        tell("interrupted")
        return INTERRUPTED


def _worded(error: UserError) -> str:
    """Return one line, or a count and one line per problem."""
    problems = error.problems if isinstance(error, CombinedUserError) else (str(error),)
    lines = [" ".join(problem.split()) for problem in problems]
    if len(lines) == 1:
        return lines[0]
    return "\n  ".join([f"{len(lines)} problems", *lines])


def _leave_closed_pipe() -> int:
    """Point stdout to nowhere, so that the interpreter does not complain when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return BROKEN_PIPE


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"asr-lab {version('asr-lab-core')}")
        return 0
    plugins = installed_plugins()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(plugins), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else USER_MISTAKE
    name, *rest = arguments
    if name.startswith("-"):
        raise UserError(f"{name}: a command comes first (asr-lab --help lists all)")
    owner, spec = plugins.registry.find(CommandSpec, name)
    if owner != "core" or spec.name not in QUIET_ABOUT_PLUGINS:
        for failed in plugins.failed:
            reason = f"plugin {failed.name} is not loaded: {failed.reason}"
            tell(f"{reason} (asr-lab plugins shows all)")
    return _command(owner, spec)(rest)


def _command(owner: str, spec: CommandSpec) -> Callable[[Sequence[str]], int]:
    """Import a command; a plugin whose command cannot be imported is told in one line."""
    try:
        run = load_target(spec.run)
    except Exception as error:
        if owner == "core":
            raise
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"command {owner}/{spec.name} cannot be loaded: {reason}") from error
    return cast(Callable[[Sequence[str]], int], run)


def _overview(plugins: Plugins) -> str:
    commands = plugins.registry.all(CommandSpec)
    names = short_names(commands)
    rows = [(f"  {name}", spec.summary) for name, (_, spec) in zip(names, commands, strict=True)]
    lines = [
        "usage: asr-lab COMMAND [flags]    (asr-lab COMMAND --help shows the flags)",
        "",
        "Train and evaluate speech recognisers of several architectures on the same data.",
        "",
        table(rows),
    ]
    if plugins.failed:
        failed = ", ".join(status.name for status in plugins.failed)
        lines += ["", f"not loaded: {failed} (asr-lab plugins says why)"]
    return "\n".join(lines)
