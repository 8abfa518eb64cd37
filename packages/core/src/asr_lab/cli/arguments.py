"""Split a command line into assignments to known flags."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from asr_lab.cli.flags import Assignment, Flag
from asr_lab.cli.values import arity

FLAG = re.compile(r"--?[A-Za-z]")


def is_flag(word: str) -> bool:
    """Return True for `--name` and `-n`, False for a value; `-5` and `-` are values."""
    return FLAG.match(word) is not None


def wants_help(argv: Sequence[str]) -> bool:
    """Return True if `--help` or `-h` stands anywhere."""
    return any(word in ("-h", "--help") for word in argv)


def peek(argv: Sequence[str], name: str) -> str | None:
    """Return the value of `--name` without knowing the other flags; None if it has none."""
    for word, after in zip(argv, [*argv[1:], "--end"], strict=True):
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
        if word == f"--{name}" and not is_flag(after):
            return after
    return None


def closest(name: str, known: Iterable[str], dashes: str = "") -> str:
    """Return `; did you mean --x?` for flags of the same name elsewhere, or that look alike."""
    group, _, short = name.rpartition(".")
    names = sorted(known)
    same = [other for other in names if other.rpartition(".")[2] == short]
    near = {other.rpartition(".")[2]: other for other in names if other.startswith(f"{group}.")}
    alike = [near[other] for other in get_close_matches(short, near, n=2)] if group else []
    found = same or alike or get_close_matches(name, names, n=2)
    return f"; did you mean {' or '.join(dashes + other for other in found)}?" if found else ""


class Scanner:
    """Reads words from left to right and collects assignments and problems."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        """Know the flags, by name."""
        self.known = {flag.name: flag for flag in flags}
        self.positional = [flag for flag in flags if flag.positional]
        self.found: dict[str, tuple[str, ...]] = {}
        self.problems: list[str] = []

    def read(self, argv: Sequence[str]) -> list[Assignment]:
        """Return what was assigned; unknown, repeated and empty flags become problems."""
        words = list(argv)
        while words:
            word = words.pop(0)
            if is_flag(word):
                self._flag(word, words)
            else:
                self._argument(word)
        return [Assignment(name=name, texts=texts) for name, texts in self.found.items()]

    def _flag(self, word: str, words: list[str]) -> None:
        written, equals, value = word.partition("=")
        name = written.removeprefix("--").replace("_", "-")
        flag = self.known.get(name)
        negated = self.known.get(name.removeprefix("no-")) if name.startswith("no-") else None
        if negated is not None and negated.hint is bool and not equals:
            self._store(negated, written, ("false",))
        elif flag is None or flag.positional:
            _take(words, None)
            self.problems.append(f"{written}: no such flag{closest(name, self.known, '--')}")
        elif flag.hint is bool:
            self._store(flag, written, (value,) if equals else ("true",))
        else:
            texts = (value,) if equals else _take(words, arity(flag.hint))
            if texts:
                self._store(flag, written, texts)
            else:
                self.problems.append(f"{written} needs a value")

    def _store(self, flag: Flag, written: str, texts: tuple[str, ...]) -> None:
        if flag.repeatable:
            self.found[flag.name] = self.found.get(flag.name, ()) + texts
        elif flag.name in self.found:
            self.problems.append(f"{written} is given twice")
        else:
            self.found[flag.name] = texts

    def _argument(self, word: str) -> None:
        for flag in self.positional:
            if flag.repeatable or flag.name not in self.found:
                self.found[flag.name] = self.found.get(flag.name, ()) + (word,)
                return
        self.problems.append(f"{word!r} is not expected here; a value stands after its flag")


def _take(words: list[str], most: int | None) -> tuple[str, ...]:
    """Remove and return the values at the front, up to `most` of them."""
    taken: list[str] = []
    while words and not is_flag(words[0]) and (most is None or len(taken) < most):
        taken.append(words.pop(0))
        if most != 1 and "," in taken[0]:
            break
    return tuple(taken)
