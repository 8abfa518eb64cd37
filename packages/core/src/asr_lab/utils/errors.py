"""Mistakes of the user, told in one line: what is wrong, what was found, what to do."""

import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake of whoever runs the program; the command line prints it without a traceback."""


class CombinedUserError(UserError):
    """Several mistakes, reported together."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep one line per problem."""
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


class UnknownNameError(UserError, LookupError):
    """Nothing of that name is there; the message says what comes close."""


class AmbiguousNameError(UserError, LookupError):
    """Several plugins registered that name; the message gives the qualified names."""


def tell(text: str) -> None:
    """Write `asr-lab: ` and `text` as a line to standard error, in one piece.

    `print` writes a line and its end apart where output is not buffered, as under torchrun: the
    lines of processes that fail together would run into each other.
    """
    sys.stderr.write(f"asr-lab: {text}\n")


def suggestion(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean x?` for the closest choices, or `; choose from …`."""
    known = sorted(choices)
    if close := get_close_matches(name, known, n=2):
        return f"; did you mean {' or '.join(close)}?"
    return f"; choose from {', '.join(known)}" if known else "; there are none"


def unknown(kind: str, name: str, choices: Iterable[str], listing: str = "") -> UnknownNameError:
    """Return the error for a `name` of some `kind` that is not among `choices`.

    `listing` is a command that shows them all.
    """
    hint = f" ({listing} lists all)" if listing else ""
    return UnknownNameError(f"no {kind} {name!r}{suggestion(name, choices)}{hint}")
