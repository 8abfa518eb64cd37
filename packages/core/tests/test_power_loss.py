"""Whatever of the unsynced data a power cut takes, a whole checkpoint is there."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forgetful_disk import Disk, Operation, first_loss, logged

from asr_lab.checkpoints import latest, load, prune, save
from asr_lab.checkpoints.directory import steps
from asr_lab.utils.files import write_atomically


def write(folder: Path, step: int) -> None:
    tensors = {"model": {"w": torch.full((3,), float(step))}, "optimizer": {"m": torch.ones(3)}}
    save(folder, step, tensors, {"value": step})


def save_and_prune(folder: Path) -> Callable[[Callable[[], None]], None]:
    """Return the work of a run that keeps one checkpoint: it saves the third and deletes two."""

    def work(returned: Callable[[], None]) -> None:
        write(folder, 3)
        returned()
        prune(folder, 1)

    return work


def lost_checkpoint(image: Path, safe: bool) -> str:
    """Say what is wrong with a folder of checkpoints."""
    found, problems = latest(image)
    if found is None:
        return "no checkpoint is left"
    for _, path in steps(image):  # what has the name of a checkpoint is one
        try:
            load(path)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        return problems[0]
    newest = load(found)
    value = newest.state["value"]
    assert newest.tensors["model"]["w"].tolist() == [value] * 3
    return "" if value == 3 or (value == 2 and not safe) else f"step {value} is the newest"


@pytest.fixture
def checkpoints(tmp_path: Path) -> tuple[Path, list[Operation]]:
    """Return a folder with the checkpoints 1 and 2, and the log of saving the third."""
    folder, copy = tmp_path / "safe", tmp_path / "run"
    for one in (folder, copy):
        for step in (1, 2):
            write(one, step)
    return folder, logged(copy, save_and_prune(copy))


def test_a_power_cut_at_any_moment_of_a_save_leaves_a_whole_checkpoint(
    checkpoints: tuple[Path, list[Operation]], tmp_path: Path
) -> None:
    folder, log = checkpoints
    kinds = {kind for kind, _, _ in log}
    assert kinds == {"mkdir", "write", "fsync", "fsync folder", "rename", "remove", "returned"}
    assert first_loss(Disk.of(folder), log, lost_checkpoint, tmp_path / "images") == ""


def test_no_fsync_of_a_save_can_be_left_out(
    checkpoints: tuple[Path, list[Operation]], tmp_path: Path
) -> None:
    folder, log = checkpoints
    syncs = [number for number, (kind, _, _) in enumerate(log) if kind.startswith("fsync")]
    assert len(syncs) >= 8  # four files, two folders, and one for each that is deleted
    for sync in syncs:
        without = [*log[:sync], *log[sync + 1 :]]
        target = tmp_path / f"images-{sync}"
        assert first_loss(Disk.of(folder), without, lost_checkpoint, target), log[sync]


# Single files


def test_a_power_cut_leaves_the_old_file_or_the_new_and_no_fsync_can_be_left_out(
    tmp_path: Path,
) -> None:
    folder, copy = tmp_path / "safe", tmp_path / "run"
    for one in (folder, copy):
        one.mkdir()
        write_atomically(one / "run.json", b"old" * 10)

    def work(returned: Callable[[], None]) -> None:
        write_atomically(copy / "run.json", b"new" * 20)
        returned()

    def lost(image: Path, safe: bool) -> str:
        content = (image / "run.json").read_bytes()
        good = (b"new" * 20,) if safe else (b"new" * 20, b"old" * 10)
        return "" if content in good else f"run.json holds {content!r}"

    log = logged(copy, work)
    assert first_loss(Disk.of(folder), log, lost, tmp_path / "images") == ""
    syncs = [number for number, (kind, _, _) in enumerate(log) if kind.startswith("fsync")]
    assert len(syncs) == 2
    for sync in syncs:
        without = [*log[:sync], *log[sync + 1 :]]
        assert first_loss(Disk.of(folder), without, lost, tmp_path / str(sync)), log[sync]
