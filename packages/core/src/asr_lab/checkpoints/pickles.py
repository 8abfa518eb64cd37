"""Read pickles of plain data without Python's unpickler: no code of the file can run.

A pickle is a program for a stack machine. This machine knows the few instructions that plain data
need; a global is looked up in a table that the caller gives, never imported. Memory is bounded by
the size of the pickle: nothing is allocated because a number in it says so.
"""

import pickletools
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from asr_lab.utils.errors import UserError

Builder = Callable[[tuple[object, ...]], object]
"""Makes an object from the arguments in a pickle; raises PickleError for bad ones."""

MOST_NODES = 1_000_000
MOST_INSTRUCTIONS = 20_000_000
DEEPEST = 64
LITERALS = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
SHORT_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleError(UserError):
    """A pickle that is broken, or holds more than plain data."""


class ForbiddenGlobalError(PickleError):
    """A pickle that asks for something outside the table, which may be code."""


class Helper:
    """Something that a pickle builds data with and that is no data itself."""


@dataclass(frozen=True)
class Global(Helper):
    """A name in the table that builds objects."""

    name: str
    build: Builder


@dataclass(eq=False)
class Machine:
    """Runs one pickle."""

    builders: Mapping[str, Builder]
    """What may be called, by `module.name`."""
    constants: Mapping[str, object]
    """What may be named, by `module.name`."""
    persistent: Builder
    """Finds what the pickle refers to from outside, such as a storage."""
    stack: list[object] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)

    def run(self, data: bytes) -> object:
        """Return the plain object that the pickle describes.

        Raises PickleError, and ForbiddenGlobalError naming the global that was refused.
        """
        try:
            with warnings.catch_warnings():
                # Escapes in old text instructions that Python means to drop one day.
                warnings.simplefilter("ignore", DeprecationWarning)
                for name, argument in _instructions(data):
                    self.execute(name, argument)
            result = self.stack.pop()
        except (IndexError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, PickleError):
                raise
            raise PickleError(f"its pickle is broken: {error}") from error
        check_tree(result)
        return result

    def execute(self, name: str, argument: object) -> None:
        """Carry out one instruction."""
        if name in LITERALS:
            self.stack.append(argument)
        elif name in CONSTANTS:
            self.stack.append(CONSTANTS[name])
        elif name in SHORT_TUPLES:
            self.stack.append(tuple(self._pop(SHORT_TUPLES[name])))
        elif (operation := OPERATIONS.get(name)) is not None:
            operation(self, argument)
        else:
            raise PickleError(f"its pickle has the instruction {name}, which plain data never need")

    def _pop(self, count: int) -> list[object]:
        """Remove and return the topmost values, none from below the last mark."""
        start = len(self.stack) - count
        if start < (self.marks[-1] if self.marks else 0):
            raise PickleError("its pickle takes more from the stack than is there")
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _pop_mark(self) -> list[object]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def mark(self, _: object) -> None:
        """Remember where the values of a list, tuple or dictionary begin."""
        self.marks.append(len(self.stack))

    def empty_list(self, _: object) -> None:
        """Begin a list."""
        self.stack.append([])

    def empty_dict(self, _: object) -> None:
        """Begin a dictionary."""
        self.stack.append({})

    def tuple_from_mark(self, _: object) -> None:
        """Make a tuple of what stands above the mark."""
        self.stack.append(tuple(self._pop_mark()))

    def append(self, _: object) -> None:
        """Add one value to a list."""
        self._extend(self._pop(1))

    def appends(self, _: object) -> None:
        """Add what stands above the mark to a list."""
        self._extend(self._pop_mark())

    def _extend(self, values: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise PickleError("its pickle appends to what is no list")
        target.extend(values)

    def set_item(self, _: object) -> None:
        """Add a key and a value to a dictionary."""
        self._update(self._pop(2))

    def set_items(self, _: object) -> None:
        """Add the keys and values above the mark to a dictionary."""
        self._update(self._pop_mark())

    def _update(self, values: list[object]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise PickleError("its pickle sets a key of what is no dictionary")
        keys = values[::2]
        # Other keys are of no use here, and hashing a tuple can be made to take for ever.
        if not all(isinstance(key, str | int) for key in keys):
            raise PickleError("its pickle has a dictionary whose keys are neither text nor numbers")
        target.update(zip(keys, values[1::2], strict=True))

    def put(self, argument: object) -> None:
        """Remember the topmost value under a number."""
        assert isinstance(argument, int)
        self.memo[argument] = self.stack[-1]

    def memoize(self, _: object) -> None:
        """Remember the topmost value under the next number."""
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, argument: object) -> None:
        """Push a remembered value."""
        assert isinstance(argument, int)
        self.stack.append(self.memo[argument])

    def global_name(self, argument: object) -> None:
        """Push what the table has under `module name`."""
        self._push_global(str(argument).replace(" ", "."))

    def stack_global(self, _: object) -> None:
        """Push what the table has under the two topmost texts."""
        self._push_global(".".join(str(part) for part in self._pop(2)))

    def _push_global(self, name: str) -> None:
        if name in self.constants:
            self.stack.append(self.constants[name])
        elif name in self.builders:
            self.stack.append(Global(name, self.builders[name]))
        else:
            raise ForbiddenGlobalError(name)

    def reduce(self, _: object) -> None:
        """Call what a global stands for."""
        target, arguments = self._pop(2)
        if not isinstance(target, Global) or not isinstance(arguments, tuple):
            raise PickleError("its pickle calls what cannot be called")
        self.stack.append(target.build(arguments))

    def build(self, _: object) -> None:
        """Leave out the attributes of a dictionary (torch stores version numbers there)."""
        self._pop(1)
        if not isinstance(self.stack[-1], dict):
            raise PickleError("its pickle sets attributes of an object")

    def persistent_id(self, _: object) -> None:
        """Push what the pickle refers to from outside."""
        (identity,) = self._pop(1)
        if not isinstance(identity, tuple):
            raise PickleError("its pickle refers to something unknown")
        self.stack.append(self.persistent(identity))

    def nothing(self, _: object) -> None:
        """Skip an instruction that says nothing about the data."""


OPERATIONS: Mapping[str, Callable[[Machine, object], None]] = {
    "APPEND": Machine.append,
    "APPENDS": Machine.appends,
    "BINGET": Machine.get,
    "BINPERSID": Machine.persistent_id,
    "BINPUT": Machine.put,
    "BUILD": Machine.build,
    "EMPTY_DICT": Machine.empty_dict,
    "EMPTY_LIST": Machine.empty_list,
    "FRAME": Machine.nothing,
    "GLOBAL": Machine.global_name,
    "LONG_BINGET": Machine.get,
    "LONG_BINPUT": Machine.put,
    "MARK": Machine.mark,
    "MEMOIZE": Machine.memoize,
    "PROTO": Machine.nothing,
    "REDUCE": Machine.reduce,
    "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
    "STACK_GLOBAL": Machine.stack_global,
    "STOP": Machine.nothing,
    "TUPLE": Machine.tuple_from_mark,
}


def _instructions(data: bytes) -> Iterator[tuple[str, object]]:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if count > MOST_INSTRUCTIONS:
            raise PickleError("its pickle is too long")
        yield opcode.name, argument


def check_tree(root: object) -> None:
    """Refuse what a reader could not walk through: loops, great depth, sharing without end.

    Raises PickleError.
    """
    pending, seen = [(root, 0)], 0
    while pending:
        value, depth = pending.pop()
        if isinstance(value, Helper):
            raise PickleError("it holds something other than tensors and plain values")
        children: list[object] = []
        if isinstance(value, dict):
            children = list(value.values())
        elif isinstance(value, list | tuple):
            children = list(value)
        seen += len(children)
        if depth > DEEPEST or seen > MOST_NODES:
            raise PickleError("its pickle is nested without end")
        pending.extend((child, depth + 1) for child in children)
