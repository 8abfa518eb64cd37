"""Checkpoint folders: complete and verified, or not there."""

import json
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.checkpoints import (
    DamagedCheckpointError,
    MissingCheckpointError,
    NewerCheckpointError,
    latest,
    load,
    load_latest,
    prune,
    remove_leftovers,
    save,
)
from asr_lab.checkpoints.directory import SUFFIX, steps, verify
from asr_lab.reproducibility.hash import bytes_digest, config_digest, file_digest, state_digest
from asr_lab.testing.forks import forked
from asr_lab.utils.files import CannotWriteError

STATE = {"epoch": 3, "best": 0.1, "infinite": float("inf"), "text": "ü", "nested": {"a": [1, None]}}


def tensors(seed: int = 0) -> dict[str, dict[str, Tensor]]:
    """Return tensors of several types, shapes and layouts, some of which share memory."""
    draw = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, 5, generator=draw)
    return {
        "model": {
            "matrix": matrix,
            "tied": matrix,
            "part": matrix[1],
            "transposed": matrix.T,
            "bf16": matrix.bfloat16(),
            "empty": torch.zeros(0, 4),
            "scalar": torch.tensor(7),
            "mask": matrix > 0,
        },
        "optimizer": {"step/matrix": torch.tensor(12.0), "exp_avg/matrix": matrix**2},
        "ema": {},
    }


def save_some(folder: Path, *numbers: int) -> list[Path]:
    """Save one checkpoint per step."""
    return [save(folder, step, tensors(step), {"step": step}) for step in numbers]


def test_what_was_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    path = save(tmp_path / "run", 1234, tensors(), STATE)
    assert path == tmp_path / "run" / "step-00001234"
    checkpoint = load(path)
    assert checkpoint.step == verify(path) == 1234
    assert checkpoint.state == STATE
    assert set(checkpoint.tensors) == {"model", "optimizer", "ema"}
    for name, group in tensors().items():
        assert state_digest(checkpoint.tensors[name]) == state_digest(group)


def test_equal_contents_give_equal_files(tmp_path: Path) -> None:
    reordered = {name: dict(reversed(group.items())) for name, group in reversed(tensors().items())}
    first = save(tmp_path / "a", 5, tensors(), STATE)
    second = save(tmp_path / "b", 5, reordered, dict(reversed(STATE.items())))
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert [file_digest(first / name) for name in names] == [
        file_digest(second / name) for name in names
    ]


def test_training_on_does_not_change_what_was_saved(tmp_path: Path) -> None:
    contents = tensors()
    path = save(tmp_path, 1, contents, {})
    contents["model"]["matrix"].zero_()
    assert state_digest(load(path).tensors["model"]) == state_digest(tensors()["model"])


def test_what_was_loaded_outlives_its_files_and_leaves_them_alone(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(), {})
    loaded = load(path).tensors["model"]
    loaded["matrix"].zero_()
    assert state_digest(load(path).tensors["model"]) == state_digest(tensors()["model"])
    shutil.rmtree(path)
    assert not loaded["matrix"].any()
    assert torch.equal(loaded["tied"], tensors()["model"]["matrix"])


def test_the_newest_is_loaded_and_no_file_is_read_twice(tmp_path: Path) -> None:
    save_some(tmp_path, 1, 2)

    def work() -> list[object]:
        opened: list[str] = []

        def note(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open":
                opened.append(Path(str(arguments[0])).name)

        sys.addaudithook(note)
        found, problems = load_latest(tmp_path)
        assert found is not None
        return [found.step, problems, sorted(name for name in opened if SUFFIX in name)]

    files = sorted(f"{name}{SUFFIX}" for name in tensors())
    assert forked(work).value == [2, [], files]


def test_of_several_damaged_files_the_first_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(), STATE)
    for name in ("ema", "model", "optimizer"):
        flip(path / f"{name}{SUFFIX}")
    for read in (load, verify):
        with pytest.raises(DamagedCheckpointError, match=r"content of ema\.safetensors"):
            read(path)


def test_a_folder_in_the_place_of_a_file_is_told(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(), STATE)
    (path / "state.json").unlink()
    (path / "state.json").mkdir()
    with pytest.raises(DamagedCheckpointError, match=r"state\.json has"):
        load(path)


def test_nothing_but_the_checkpoint_is_left(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(), STATE)
    assert list(tmp_path.iterdir()) == [path]
    assert sorted(entry.name for entry in path.iterdir()) == [
        "ema.safetensors",
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "state.json",
    ]


def test_leftovers_of_a_killed_process_never_block_a_save(tmp_path: Path) -> None:
    partial = tmp_path / ".partial-step-00000001"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    (tmp_path / ".partial-run.json-1234").write_text("half")
    path = save(tmp_path, 1, tensors(), STATE)
    assert load(path).state == STATE
    assert remove_leftovers(tmp_path) == [tmp_path / ".partial-run.json-1234"]
    assert list(tmp_path.iterdir()) == [path]
    assert remove_leftovers(tmp_path / "missing") == []


def test_saving_a_step_again_replaces_what_differs(tmp_path: Path) -> None:
    path = save(tmp_path, 1, tensors(1), STATE)
    inode = path.stat().st_ino
    assert save(tmp_path, 1, tensors(1), STATE) == path
    assert path.stat().st_ino == inode, "an equal checkpoint stays where it is"
    (path / "model.safetensors").write_bytes(b"broken")
    save(tmp_path, 1, tensors(1), STATE)
    assert load(path).state == STATE
    save(tmp_path, 1, tensors(2), STATE)
    assert state_digest(load(path).tensors["model"]) == state_digest(tensors(2)["model"])
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_fills_up_leaves_older_checkpoints_and_nothing_else(tmp_path: Path) -> None:
    (old,) = save_some(tmp_path, 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(CannotWriteError, match="cannot write"):
            save(tmp_path, 2, {"model": {"large": torch.zeros(10_000)}}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [old]
    assert latest(tmp_path) == (old, [])


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWriteError, match="cannot write"):
        save(tmp_path / "file", 1, tensors(), STATE)


def test_a_state_that_json_cannot_hold_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        save(tmp_path, 1, tensors(), {"tensor": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == []


def truncate(path: Path) -> None:
    """Cut a file short by one byte."""
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def zero(path: Path) -> None:
    """Replace a file's content by zeros, as a power loss can."""
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, flip, zero, Path.unlink])
def test_every_damaged_file_is_named_and_the_checkpoint_before_is_used(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    before, path = save_some(tmp_path / "runs", 1, 2)
    names = sorted(entry.name for entry in path.iterdir())
    shutil.copytree(path, tmp_path / "intact")
    for name in names:
        damage(path / name)
        with pytest.raises(DamagedCheckpointError, match=name) as caught:
            load(path)
        assert "\n" not in str(caught.value)
        assert latest(tmp_path / "runs") == (before, [str(caught.value)])
        shutil.rmtree(path)
        shutil.copytree(tmp_path / "intact", path)
        assert latest(tmp_path / "runs") == (path, [])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_detected(tmp_path: Path, data: st.DataObject) -> None:
    path = save(tmp_path, 1, {"model": {"weight": torch.arange(6.0)}}, {"a": 1})
    file = data.draw(st.sampled_from(sorted(path.iterdir())))
    content = bytearray(file.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match=file.name):
        load(path)


def test_a_file_that_does_not_belong_is_named(tmp_path: Path) -> None:
    (path,) = save_some(tmp_path, 1)
    (path / "other.safetensors").write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match=r"other\.safetensors does not belong"):
        load(path)


def test_a_checkpoint_under_the_name_of_another_step_is_damaged(tmp_path: Path) -> None:
    (path,) = save_some(tmp_path, 1)
    copy = Path(shutil.copytree(path, tmp_path / "step-00000002"))
    with pytest.raises(DamagedCheckpointError, match="that of step 1"):
        load(copy)
    assert load(Path(shutil.copytree(path, tmp_path / "mine"))).step == 1


def change_manifest(path: Path, **changes: object) -> None:
    """Rewrite fields of a manifest, as a newer version would write them."""
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["sha256"]
    manifest |= changes
    (path / "manifest.json").write_text(
        json.dumps({**manifest, "sha256": config_digest(manifest)}, indent=1)
    )


def test_a_newer_format_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    _, path = save_some(tmp_path, 1, 2)
    change_manifest(path, format=2)
    expected = r"is format 2; this version reads up to 1; upgrade asr-lab-core"
    for read in (load, verify):
        with pytest.raises(NewerCheckpointError, match=expected):
            read(path)
    for newest in (latest, load_latest):
        with pytest.raises(NewerCheckpointError, match=expected):
            newest(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "3", '{"sha256": ""}', "\xff"])
def test_a_manifest_that_describes_nothing_is_damaged(tmp_path: Path, content: str) -> None:
    path = save(tmp_path, 1, {}, {})
    (path / "manifest.json").write_text(content, encoding="latin1")
    with pytest.raises(DamagedCheckpointError, match=r"manifest\.json"):
        load(path)


def test_a_damaged_manifest_is_not_taken_for_one_of_a_newer_format(tmp_path: Path) -> None:
    before, path = save_some(tmp_path, 1, 2)
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format":1', '"format":9'))
    found, (problem,) = latest(tmp_path)
    assert found == before and "the content of manifest.json has changed" in problem


@pytest.mark.parametrize(
    ("name", "content"), [("model.safetensors", b"x" * 20), ("state.json", b"{")]
)
def test_a_file_that_was_written_wrong_is_damage(tmp_path: Path, name: str, content: bytes) -> None:
    path = save(tmp_path, 1, tensors(), STATE)
    (path / name).write_bytes(content)
    files = json.loads((path / "manifest.json").read_text())["files"]
    files[name] = {"size": len(content), "sha256": bytes_digest(content)}
    change_manifest(path, files=files)
    with pytest.raises(DamagedCheckpointError, match="its content cannot be read"):
        load(path)


def test_there_may_be_no_checkpoint_yet(tmp_path: Path) -> None:
    for newest in (latest, load_latest):
        assert newest(tmp_path) == newest(tmp_path / "missing") == (None, [])
    with pytest.raises(MissingCheckpointError, match="no checkpoint at"):
        load(tmp_path / "step-00000001")


def test_the_newest_is_the_one_of_the_highest_step(tmp_path: Path) -> None:
    save_some(tmp_path, 20, 3, 100)
    (tmp_path / "step-99").mkdir()
    (tmp_path / "other").mkdir()
    assert [step for step, _ in steps(tmp_path)] == [3, 20, 100]
    assert latest(tmp_path) == (tmp_path / "step-00000100", [])


def test_pruning_keeps_the_newest_and_the_protected(tmp_path: Path) -> None:
    paths = save_some(tmp_path, 1, 2, 3, 4, 5)
    assert prune(tmp_path, keep=2, protect={2}) == [paths[0], paths[2]]
    assert sorted(tmp_path.iterdir()) == [paths[1], paths[3], paths[4]]
    assert prune(tmp_path, keep=5) == []


def test_pruning_does_not_count_incomplete_checkpoints(tmp_path: Path) -> None:
    paths = save_some(tmp_path, 1, 2, 3, 4)
    (paths[3] / "manifest.json").unlink()
    truncate(paths[2] / "model.safetensors")
    assert prune(tmp_path, keep=1) == [paths[0]]
    assert latest(tmp_path)[0] == paths[1]
    assert paths[2].exists() and paths[3].exists()


def test_pruning_counts_checkpoints_of_a_newer_format(tmp_path: Path) -> None:
    paths = save_some(tmp_path, 1, 2)
    change_manifest(paths[1], format=2)
    assert prune(tmp_path, keep=1) == [paths[0]]


def test_pruning_never_takes_everything(tmp_path: Path) -> None:
    save_some(tmp_path, 1)
    with pytest.raises(ValueError, match="keep must be 1 or more"):
        prune(tmp_path, keep=0)
