"""What is kept of large data sets is what was made, and nothing that is damaged or out of date."""

import json
from array import array
from pathlib import Path

import pytest
import safetensors.numpy

from asr_lab.data import stored
from asr_lab.data.stored import Columns, keep, kept, key_of
from asr_lab.utils.files import CACHE, PARTIAL


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in which everything is kept."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / stored.FOLDER


def columns(last: int = 3) -> dict[str, memoryview]:
    """Return columns of all kinds, one of them empty."""
    return {
        "letters": memoryview(b"abc"),
        "none": memoryview(array("q")),
        "wide": memoryview(array("q", [-1, 2**40, last])),
        "narrow": memoryview(array("i", [5, -6, 7, 8, 9])),
        "real": memoryview(array("d", [0.1, float("inf")])),
    }


def lists(found: Columns) -> dict[str, list[int]]:
    return {name: column.tolist() for name, column in found.items()}


def test_what_was_kept_is_found_by_what_it_was_made_of_and_mapped(cache: Path) -> None:
    key = key_of("manifest", "a digest", 1)
    assert kept(key) is None
    assert lists(keep(key, columns())) == lists(columns())
    found = kept(key)
    assert found is not None and lists(found) == lists(columns())
    assert all(column.readonly for column in found.values())
    assert kept(key_of("manifest", "a digest", 2)) is None
    (path,) = cache.iterdir()
    read = safetensors.numpy.load_file(path)  # any program that knows the format can
    assert {name: values.tolist() for name, values in read.items()} == lists(columns())


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "header"])
def test_what_is_damaged_is_not_used_and_made_again(damage: str, cache: Path) -> None:
    keep("key", columns())
    (path,) = cache.iterdir()
    content = bytearray(path.read_bytes())
    content[{"flipped": -1, "header": 3}.get(damage, 0)] ^= 16
    left = {"cut": len(content) - 9, "empty": 0}.get(damage, len(content))
    path.write_bytes(content[:left])
    assert kept("key") is None and not path.exists()
    assert lists(keep("key", columns(4)))["wide"][-1] == 4


def test_small_data_are_made_each_time_and_large_ones_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[int]()

    def make() -> Columns:
        calls.append(1)
        return columns()

    for _ in range(2):
        assert lists(stored.stored(stored.LARGE - 1, ["a"], make)) == lists(columns())
    assert len(calls) == 2 and not cache.exists()
    for _ in range(2):
        assert lists(stored.stored(stored.LARGE, ["a"], make)) == lists(columns())
    assert len(calls) == 3
    stored.stored(stored.LARGE, ["b"], make)
    monkeypatch.setattr(stored, "FORMAT", stored.FORMAT + 1)
    stored.stored(stored.LARGE, ["a"], make)
    assert len(calls) == 5


def test_without_room_nothing_is_kept_and_nothing_is_left(cache: Path) -> None:
    cache.parent.mkdir()
    cache.write_text("in the way")
    assert lists(keep("key", columns())) == lists(columns())
    assert cache.read_text() == "in the way" and kept("key") is None


def test_columns_that_cannot_be_written_leave_no_half_of_a_file(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(columns: Columns) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(stored, "_parts", full)
    assert lists(keep("key", columns())) == lists(columns())
    assert list(cache.iterdir()) == [] and not list(cache.glob(f"{PARTIAL}*"))


def test_keys_are_told_apart_by_every_value_and_by_its_kind() -> None:
    made_of: list[tuple[object, ...]] = [("a", 1), ("a", "1"), ("a1",), ("a", 1, None), (["a"], 1)]
    assert len({key_of(*one) for one in made_of}) == len(made_of)
    assert json.dumps(made_of)  # plain values, as the key wants them
