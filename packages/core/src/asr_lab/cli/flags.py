"""Flags made from the fields of dataclasses, and dataclasses made from flags.

The sentence under a field is its help; field metadata `{"positional": True}` makes an argument
without a flag.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import TypeVar, get_type_hints

from asr_lab.cli.values import convert
from asr_lab.utils.errors import CombinedUserError, UserError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag of a command."""

    name: str
    """Without leading dashes: `train.batch-seconds`."""
    hint: object
    """Type of the value."""
    default: object = None
    help: str = ""
    """One sentence or more."""
    required: bool = False
    positional: bool = False
    """True for an argument that is written without its name."""

    @property
    def repeatable(self) -> bool:
        """True for a flag that may be given again to add values."""
        return self.hint == tuple[str, ...]

    @property
    def shown(self) -> str:
        """How the command line writes it."""
        return self.name.upper() if self.positional else f"--{self.name}"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """A value that somebody wrote, still as text."""

    name: str
    texts: tuple[str, ...]
    source: str = ""
    """File it stands in; empty for the command line."""

    @property
    def shown(self) -> str:
        """Where the value stands, for an error."""
        return shown_name(self.name, self.source)


def shown_name(name: str, source: str) -> str:
    """Return a name as its source writes it: `--train.lr`, or `my.yaml: train.lr`."""
    return f"{source}: {name}" if source else f"--{name}"


@dataclass
class Parsed:
    """Converted values by flag name, where they came from, and every problem so far."""

    values: dict[str, object] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def assign(self, assignments: Sequence[Assignment], flags: Sequence[Flag]) -> None:
        """Convert the assignments in order; later ones win, and bad ones become problems."""
        known = {flag.name: flag for flag in flags}
        for assignment in assignments:
            flag = known[assignment.name]
            try:
                self.values[flag.name] = convert(flag.hint, assignment.texts)
                self.sources[flag.name] = assignment.source
            except ValueError as error:
                where = flag.shown if flag.positional else assignment.shown
                self.problems.append(f"{' '.join([where, *assignment.texts])}: {error}")

    def require(self, flags: Sequence[Flag]) -> None:
        """Note every required flag that has no value."""
        tried = " ".join(self.problems)
        for flag in flags:
            if flag.required and flag.name not in self.values and flag.shown not in tried:
                self.problems.append(f"{flag.shown} is missing: {first_sentence(flag.help)}")

    def build(
        self, kind: type[T], prefix: str = "", more: Mapping[str, object] | None = None
    ) -> T | None:
        """Return the dataclass that the values of one prefix describe, `more` fields included.

        None, and a problem, if the class refuses them with ValueError.
        """
        changes = self._changes(kind, prefix)
        return self._try(lambda: kind(**{**changes, **(more or {})}), prefix)

    def change(self, default: T, prefix: str) -> T | None:
        """Return a copy of a dataclass instance with the values of one prefix, like `build`."""
        changes = self._changes(type(default), prefix)
        return self._try(lambda: replace(default, **changes), prefix)  # type: ignore[type-var]

    def _changes(self, kind: type, prefix: str) -> dict[str, object]:
        assert is_dataclass(kind)
        names = {item.name: flag_name(prefix, item.name) for item in fields(kind)}
        return {field: self.values[name] for field, name in names.items() if name in self.values}

    def _try(self, make: Callable[[], T], prefix: str) -> T | None:
        try:
            return make()
        except ValueError as error:
            self.problems.append(self._refusal(str(error), prefix))
            return None

    def _refusal(self, message: str, prefix: str) -> str:
        """Name the flag if the message starts with a field's name, else the group."""
        name = flag_name(prefix, message.split(" ")[0])
        if name in self.values:
            return shown_name(f"{prefix}{message}", self.sources[name])
        return f"--{prefix}*: {message}" if prefix else message

    def check(self) -> None:
        """Raise all problems together, if there are any."""
        raise_problems(self.problems)


def raise_problems(problems: Sequence[str]) -> None:
    """Raise UserError for one problem, CombinedUserError for several, nothing for none."""
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        raise CombinedUserError(problems)


def flag_name(prefix: str, field_name: str) -> str:
    """Return the name of the flag for a field; `from_` is called so because Python has a `from`."""
    return f"{prefix}{field_name}".rstrip("_").replace("_", "-")


def flags_of(default: object, prefix: str = "", skip: frozenset[str] = frozenset()) -> list[Flag]:
    """Return a flag for every field of a dataclass, or of an instance, whose values are defaults.

    `skip` names fields that get no flag.
    """
    assert is_dataclass(default)
    kind = default if isinstance(default, type) else type(default)
    hints, docs = get_type_hints(kind), field_docs(kind)
    flags = []
    for item in fields(default):
        if item.name in skip or not item.init:
            continue
        value, required = _default_of(item, default)
        flags.append(
            Flag(
                name=flag_name(prefix, item.name),
                hint=hints[item.name],
                default=value,
                help=docs.get(item.name, ""),
                required=required,
                positional=bool(item.metadata.get("positional")),
            )
        )
    return flags


def _default_of(item: Field[object], owner: object) -> tuple[object, bool]:
    """Return a field's default, and whether a value is required because there is none."""
    if not isinstance(owner, type):
        return getattr(owner, item.name), False
    if item.default_factory is not MISSING:
        return item.default_factory(), False
    return (None, True) if item.default is MISSING else (item.default, False)


def field_docs(kind: type) -> dict[str, str]:
    """Return the string literal that stands under each field, inherited ones included."""
    docs: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if is_dataclass(base):
            docs.update(_own_docs(base))
    return docs


def _own_docs(kind: type) -> dict[str, str]:
    try:
        (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body
    except (OSError, SyntaxError, TypeError):
        return {}
    docs = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for statement, after in zip(body, body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match after:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    docs[statement.target.id] = " ".join(text.split())
    return docs


def first_sentence(text: str) -> str:
    """Return a help text up to the first full stop or semicolon, starting in lower case."""
    start = re.split(r";|\. (?=[A-Z])", text)[0].removesuffix(".")
    return start if start[1:2].isupper() else start[:1].lower() + start[1:]
