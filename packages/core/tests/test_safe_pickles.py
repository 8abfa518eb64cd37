"""The machine that reads pickles: plain data as Python reads them, and nothing else."""

import pickle
import struct
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr_lab.checkpoints.pickles import Machine, PickleError


def run(program: bytes) -> object:
    """Run a pickle that may call nothing."""

    def refuse(arguments: tuple[object, ...]) -> object:
        raise PickleError(f"refers to {arguments}")

    return Machine({"a.echo": lambda arguments: list(arguments)}, {"a.one": 1}, refuse).run(program)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(value=PLAIN, protocol=st.sampled_from([3, 4, 5]))
def test_pickles_of_plain_values_are_read_as_python_reads_them(
    value: object, protocol: int
) -> None:
    assert run(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=60))
@example(b"P\\\x00\n")
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused(program: bytes) -> None:
    try:
        run(program)
    except PickleError as error:
        assert "\n" not in str(error)


@given(data=st.data(), value=PLAIN)
def test_a_changed_pickle_is_read_or_refused(data: st.DataObject, value: object) -> None:
    program = bytearray(pickle.dumps(value, 4))
    program[data.draw(st.integers(0, len(program) - 1))] = data.draw(st.integers(0, 255))
    try:
        run(bytes(program))
    except PickleError:
        pass


def shared_lists(depth: int) -> object:
    """Return a list of two lists, which are one, and so on: 2^depth ways through it."""
    value: object = []
    for _ in range(depth):
        value = [value, value]
    return value


def loop() -> object:
    """Return a list that holds itself."""
    value: list[object] = []
    value.append(value)
    return value


def deep() -> bytes:
    """Return a pickle of five thousand nested lists."""
    return b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b"."


REFUSED: dict[str, Callable[[], bytes]] = {
    "sharing": lambda: pickle.dumps(shared_lists(60), 2),
    "loop": lambda: pickle.dumps(loop(), 2),
    "depth": deep,
    "large number of a memo entry": lambda: b"\x80\x02Nr\xff\xff\xff\xff0.",
    "long text that is not there": lambda: b"\x80\x04\x8d" + struct.pack("<q", 2**60) + b"x.",
    "long bytes that are not there": lambda: b"\x80\x04\x8e" + struct.pack("<q", 2**60) + b"x.",
    "tuple as a key": lambda: pickle.dumps({((), ()): 1}, 2),
    "key without value": lambda: b"\x80\x02}(K\x01u.",
    "list that is none": lambda: b"\x80\x02NK\x01a.",
    "dictionary that is none": lambda: b"\x80\x02NK\x01K\x01s.",
    "set": lambda: pickle.dumps({1, 2}, 4),
    "instance": lambda: b"\x80\x02ca\necho\n)\x81.",
    "old instance": lambda: b"\x80\x02(ia\necho\n.",
    "attributes": lambda: b"\x80\x02N}b.",
    "call of a number": lambda: b"\x80\x02K\x01)R.",
    "call with a list": lambda: b"\x80\x02ca\necho\n]R.",
    "function as a value": lambda: b"\x80\x02ca\necho\n.",
    "taking below a mark": lambda: b"\x80\x02K\x01(\x85.",
    "empty stack": lambda: b"\x80\x02.",
    "no end": lambda: b"\x80\x02N",
    "memo that was never set": lambda: b"\x80\x02h\x05.",
    "reference that is no tuple": lambda: b"\x80\x02NQ.",
    "extension": lambda: b"\x80\x02\x82\x01.",
    "buffer": lambda: b"\x80\x05\x97.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_pickle_that_would_exhaust_or_confuse_a_reader_is_refused(name: str) -> None:
    with pytest.raises(PickleError):
        run(REFUSED[name]())


def test_a_function_of_the_table_is_called_and_nothing_else() -> None:
    assert run(b"\x80\x02ca\necho\nK\x01\x85R.") == [1]
    assert run(b"\x80\x04\x8c\x01a\x8c\x03one\x93.") == 1
    with pytest.raises(PickleError, match=r"a\.other"):
        run(b"\x80\x02ca\nother\n.")
    with pytest.raises(PickleError, match=r"os\.system"):
        run(b"\x80\x04\x8c\x02os\x8c\x06system\x93.")
