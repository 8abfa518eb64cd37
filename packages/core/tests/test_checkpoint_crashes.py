"""Whenever a process dies while it saves, there is a whole checkpoint, and the next save works."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints import latest, load, prune, remove_leftovers, save
from asr_lab.checkpoints.directory import steps
from asr_lab.utils.files import PARTIAL, make_numbered, write_atomically


def content(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"w": torch.full((3,), value)}, "optimizer": {"m": torch.full((3,), -value)}}


def write(folder: Path, step: int, value: float) -> None:
    save(folder, step, content(value), {"value": value})


def value_of(path: Path) -> float:
    """Return the value that all parts of a checkpoint agree on."""
    found = load(path)
    value = found.state["value"]
    assert isinstance(value, float)
    assert found.tensors["model"]["w"].tolist() == [value] * 3
    assert found.tensors["optimizer"]["m"].tolist() == [-value] * 3
    return value


@dataclass
class Disk:
    """What a folder looked like before and after everything that the system was asked to do."""

    folder: Path
    copies: Path
    moments: list[Path] = field(default_factory=list)

    def remember(self) -> None:
        """Copy the folder as a crash at this moment would leave it."""
        copy = self.copies / f"{len(self.moments):03}"
        shutil.copytree(self.folder, copy)
        self.moments.append(copy)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Span the work that crashes are looked for in."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("fsync", "replace", "rename", "mkdir", "rmdir", "unlink", "open"):
                patch.setattr(os, name, self._watching(getattr(os, name)))
            yield
        self.remember()

    def _watching(self, call: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **named: object) -> object:
            if not any(str(self.copies) in str(one) for one in arguments) and not self._inside:
                self._inside = True
                try:
                    self.remember()
                finally:
                    self._inside = False
            return call(*arguments, **named)

        return watched

    _inside: bool = False


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a watched folder with checkpoints of the steps 1 and 2."""
    folder = tmp_path / "checkpoints"
    for step in (1, 2):
        write(folder, step, float(step))
    return Disk(folder, tmp_path / "copies")


def goes_on(folder: Path) -> None:
    """Check that a run whose process died can go on and leaves nothing half-written."""
    remove_leftovers(folder)
    write(folder, 4, 4.0)
    found, problems = latest(folder)
    assert found is not None and value_of(found) == 4.0 and not problems
    assert not list(folder.glob(f"{PARTIAL}*"))


def test_a_crash_while_a_new_step_is_saved_leaves_the_old_or_the_new(disk: Disk) -> None:
    with disk.watched():
        write(disk.folder, 3, 3.0)
    found = [latest(moment) for moment in disk.moments]
    values = [value_of(path) for path, _ in found if path]
    assert len(values) == len(disk.moments) > 6
    assert not any(problems for _, problems in found)  # nothing half-written has a real name
    assert set(values) == {2.0, 3.0} and values == sorted(values)
    for moment in disk.moments:
        goes_on(moment)


def test_a_crash_while_a_step_is_saved_anew_leaves_one_before_or_the_new(disk: Disk) -> None:
    with disk.watched():
        write(disk.folder, 2, 2.5)
    found = [latest(moment) for moment in disk.moments]
    assert not any(problems for _, problems in found)
    values = [value_of(path) for path, _ in found if path]
    assert len(values) == len(disk.moments) > 6
    assert (values[0], values[-1]) == (2.0, 2.5) and set(values) <= {1.0, 2.0, 2.5}
    for moment in disk.moments:
        goes_on(moment)


def test_a_crash_while_old_ones_are_deleted_leaves_whole_ones_and_no_real_name_to_half_of_one(
    disk: Disk,
) -> None:
    write(disk.folder, 3, 3.0)
    with disk.watched():
        prune(disk.folder, 1)
    assert len(disk.moments) > 6
    assert [step for step, _ in steps(disk.moments[-1])] == [3]
    for moment in disk.moments:
        assert [value_of(path) for _, path in steps(moment)][-1] == 3.0
        goes_on(moment)


def test_a_damaged_newer_one_does_not_drive_out_what_a_run_goes_on_from(disk: Disk) -> None:
    newest = disk.folder / "step-00000009"
    write(disk.folder, 9, 9.0)
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-1] ^= 1  # of the right size, so that only reading it tells
    (newest / "model.safetensors").write_bytes(content)
    write(disk.folder, 3, 3.0)
    prune(disk.folder, 1, newest=3)
    found, problems = latest(disk.folder)
    assert found is not None and value_of(found) == 3.0 and len(problems) == 1
    assert [step for step, _ in steps(disk.folder)] == [3, 9]


def test_a_crash_while_a_file_is_replaced_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_atomically(folder / "run.json", "old" * 1000)
    disk = Disk(folder, tmp_path / "copies")
    with disk.watched():
        write_atomically(folder / "run.json", "new" * 2000)
    found = [(moment / "run.json").read_text() for moment in disk.moments]
    assert set(found) == {"old" * 1000, "new" * 2000}
    assert found[-1] == "new" * 2000
    assert not list(disk.moments[-1].glob(f"{PARTIAL}*"))


@pytest.mark.parametrize("damage", ["missing", "extra", "shorter", "changed", "folder"])
@pytest.mark.parametrize("name", ["manifest.json", "state.json", "model.safetensors"])
def test_any_damage_to_the_newest_is_told_and_the_one_before_is_used_and_kept(
    damage: str, name: str, disk: Disk
) -> None:
    newest = disk.folder / "step-00000002"
    victim, whole = newest / name, (newest / name).read_bytes()
    if damage == "extra":
        victim.with_suffix(".bak").write_bytes(whole)
    else:
        victim.unlink()
    if damage == "shorter":
        victim.write_bytes(whole[:-1])
    if damage == "changed":
        victim.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    if damage == "folder":
        victim.mkdir()
    found, problems = latest(disk.folder)
    assert found == disk.folder / "step-00000001" and value_of(found) == 1.0
    (problem,) = problems
    assert problem.startswith(f"checkpoint {newest} is damaged: ") and "\n" not in problem
    write(disk.folder, 2, 2.0)  # the run goes on and comes to the same step again
    assert latest(disk.folder) == (newest, [])


def test_without_a_whole_checkpoint_every_one_is_named_the_newest_first(disk: Disk) -> None:
    for _, path in steps(disk.folder):
        (path / "state.json").write_text("{}")
    found, problems = latest(disk.folder)
    assert found is None
    assert [problem.split(" is damaged")[0].split("-")[-1] for problem in problems] == [
        "00000002",
        "00000001",
    ]


def test_numbers_of_folders_are_given_once_however_many_ask_at_a_time(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: make_numbered(tmp_path, "run"), range(200)))
    assert sorted(path.name for path in made) == [f"run-{n:04}" for n in range(1, 201)]
