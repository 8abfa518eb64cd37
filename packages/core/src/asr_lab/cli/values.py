"""Text to values and back: what can be written after a flag, or in a configuration file."""

import math
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from asr_lab.utils.errors import suggestion

TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
METAVARS = {int: "INT", float: "NUMBER", str: "TEXT", Path: "PATH", bool: "true|false"}


def without_none(hint: object) -> tuple[object, bool]:
    """Return `X` and True for `X | None`, else the hint itself and False."""
    if get_origin(hint) not in (Union, UnionType) or NoneType not in get_args(hint):
        return hint, False
    rest = [inner for inner in get_args(hint) if inner is not NoneType]
    return (rest[0] if len(rest) == 1 else hint), True


def element_hints(hint: object) -> tuple[object, ...]:
    """Return the hints of a tuple's elements; `tuple[X, ...]` has one."""
    return tuple(inner for inner in get_args(hint) if inner is not Ellipsis)


def arity(hint: object) -> int | None:
    """Return how many words a value takes; None for one or more."""
    hint, _ = without_none(hint)
    if get_origin(hint) is not tuple:
        return 1
    return None if Ellipsis in get_args(hint) else len(get_args(hint))


def metavar(hint: object) -> str:
    """Return how help writes a value of this type.

    Raises TypeError for a type that no flag can have.
    """
    hint, optional = without_none(hint)
    if get_origin(hint) is Literal:
        shown = "|".join(map(str, get_args(hint)))
    elif get_origin(hint) is tuple:
        inner = [metavar(element) for element in element_hints(hint)]
        shown = f"{inner[0]} ..." if arity(hint) is None else " ".join(inner)
    elif isinstance(hint, type) and hint in METAVARS:
        shown = METAVARS[hint]
    else:
        raise TypeError(f"a flag cannot be a {hint}; use one of bool, int, float, str, Literal, …")
    return f"{shown}|none" if optional else shown


def show(value: object) -> str:
    """Return a value as one would type it."""
    if isinstance(value, tuple | list):
        return " ".join(map(show, value)) or "none"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def convert(hint: object, texts: Sequence[str]) -> object:
    """Return the value that the words `texts` stand for.

    Raises ValueError, whose message says what the words are not.
    """
    hint, optional = without_none(hint)
    if optional and list(texts) == ["none"]:
        return None
    if get_origin(hint) is tuple:
        return _convert_tuple(hint, texts)
    if len(texts) != 1:
        raise ValueError(f"needs one value; got {len(texts)}")
    return _convert_word(hint, texts[0])


def _convert_tuple(hint: object, texts: Sequence[str]) -> tuple[object, ...]:
    elements = element_hints(hint)
    if len(texts) == 1 and elements[0] in (int, float):
        texts = [word for word in texts[0].split(",") if word.strip()]
    count = arity(hint)
    if count is None:
        return tuple(_convert_word(elements[0], text) for text in texts)
    if len(texts) != count:
        raise ValueError(f"needs {count} values; got {len(texts)}")
    return tuple(map(_convert_word, elements, texts))


def _convert_word(hint: object, text: str) -> object:
    if get_origin(hint) is Literal:
        choices = {str(choice): choice for choice in get_args(hint)}
        if text not in choices:
            raise ValueError(f"not a choice{suggestion(text, choices)}")
        return choices[text]
    if hint is bool:
        if text.lower() not in TRUTH:
            raise ValueError("neither true nor false")
        return TRUTH[text.lower()]
    if hint is int:
        return _number(int, text, "not a whole number")
    if hint is float:
        value = _number(float, text, "not a number")
        if not math.isfinite(value):
            raise ValueError("not a finite number")
        return value
    return Path(text) if hint is Path else text


def _number(kind: type[int] | type[float], text: str, problem: str) -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(problem) from None
