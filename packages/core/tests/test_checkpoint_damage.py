"""Any damage to any file of a checkpoint is detected and named, and the one before it is used."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.checkpoints import latest, load, load_latest, save
from asr_lab.checkpoints.directory import steps
from asr_lab.testing.forks import forked
from asr_lab.utils.files import EVENT, PARTIAL, CannotWriteError

FILES = ("manifest.json", "state.json", "model.safetensors", "optimizer.safetensors")
Damage = Callable[[bytes, int], bytes | None]
DAMAGES: dict[str, Damage] = {
    "truncated": lambda content, place: content[: place % len(content)],
    "flipped": lambda content, place: flipped(content, place % (8 * len(content))),
    "zeroed from somewhere on": lambda content, place: zeroed(content, place % len(content)),
    "longer": lambda content, place: content + bytes(1 + place % 5000),
    "deleted": lambda content, place: None,
}


def flipped(content: bytes, bit: int) -> bytes:
    """Return the content with one bit changed."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def zeroed(content: bytes, start: int) -> bytes:
    """Return the content with zeros from `start` on, as some file systems leave it."""
    return content[:start] + bytes(len(content) - start)


def write(folder: Path, step: int) -> None:
    draw = torch.Generator().manual_seed(step)
    weights = {name: torch.randn(20, generator=draw) for name in "ab"}
    save(folder, step, {"model": weights, "optimizer": weights}, {"value": step})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the checkpoints 1 and 2."""
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    for step in (1, 2):
        write(folder, step)
    return folder


def check_damage(whole: Path, name: str, damage: str, place: int) -> None:
    """Damage a file of a copy's newest checkpoint, and check what is made of it."""
    copy = whole.with_name("copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(whole, copy)
    victim = copy / "step-00000002" / name
    before = victim.read_bytes()
    after = DAMAGES[damage](before, place)
    if after is None:
        victim.unlink()
    elif after == before:  # zeros where there were zeros
        return
    else:
        victim.write_bytes(after)
    found, (problem,) = latest(copy)
    assert found == copy / "step-00000001"
    loaded, problems = load_latest(copy)
    assert loaded is not None and loaded.state == {"value": 1} and problems == [problem]
    assert problem.startswith(f"checkpoint {victim.parent} is damaged: ")
    assert name in problem and "\n" not in problem
    with pytest.raises(ValueError, match="is damaged"):
        load(victim.parent)


@settings(max_examples=150)
@given(st.sampled_from(FILES), st.sampled_from(sorted(DAMAGES)), st.integers(0, 2**20))
def test_damage_anywhere_is_named_and_the_one_before_is_used(
    whole: Path, name: str, damage: str, place: int
) -> None:
    check_damage(whole, name, damage, place)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_every_single_bit_and_every_length_is_told(whole: Path, name: str) -> None:
    size = (whole / "step-00000002" / name).stat().st_size
    for bit in range(8 * size):
        check_damage(whole, name, "flipped", bit)
    for length in range(size):
        check_damage(whole, name, "truncated", length)


def test_a_disk_that_fills_up_at_any_point_of_a_save_leaves_what_was_there(tmp_path: Path) -> None:
    folder, failed = tmp_path / "checkpoints", 0
    write(folder, 1)

    def save_until(point: int) -> str:
        """Save with a disk that refuses from a fail point on; return what is told."""
        left = point

        def refuse(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event == EVENT and str(arguments[0]).startswith("before"):
                left -= 1
                if left < 0 and "remove" not in str(arguments[0]):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        sys.addaudithook(refuse)
        try:
            write(folder, 2)
        except CannotWriteError as error:
            return str(error)
        return ""

    while told := forked(lambda point=failed: save_until(point)).value:  # type: ignore[misc]
        failed += 1
        assert isinstance(told, str) and "no space left on device; make room" in told
        found, problems = latest(folder)
        assert found is not None and not problems
        assert not list(folder.glob(f"{PARTIAL}*"))
        # The folder's own entry may be all that is not safe yet: then the checkpoint is whole.
        assert load(found).state in ({"value": 1}, {"value": 2})
    assert failed >= 11  # write and fsync of four files, two folders, and the rename
    assert [step for step, _ in steps(folder)] == [1, 2]
