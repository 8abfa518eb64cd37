"""Checkpoints of a run as folders: complete and verified, or not there at all.

A checkpoint is built under a temporary name, flushed, renamed, and its parent flushed. The manifest
is written last and holds size and SHA-256 of every file.
"""

import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from asr_lab.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NewerCheckpointError,
)
from asr_lab.reproducibility.hash import bytes_digest, canonical_json, config_digest, file_digest
from asr_lab.utils.files import (
    PARTIAL,
    between_fail_points,
    fsync_folder,
    replace,
    write_file,
    writing,
)

FORMAT = 1
MANIFEST = "manifest.json"
STATE = "state.json"
SUFFIX = ".safetensors"
STEP_NAME = re.compile(r"step-(\d{8,})")
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """What was saved at a step, on the CPU."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    """Tensors by file name (`model`, `optimizer`, …), then by their own name."""
    state: Mapping[str, object]
    """Everything else, as plain values."""


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, object],
) -> Path:
    """Write `folder/step-00001234`, replacing a different one of that step, and return its path.

    Raises CannotWriteError, in which case older checkpoints are as they were.
    """
    final = step_path(folder, step)
    partial = folder / f"{PARTIAL}{final.name}"
    with writing(partial):
        _remove(partial)
        partial.mkdir(parents=True)
    files: dict[str, dict[str, object]] = {}
    try:
        for name, content in _contents(tensors, state):
            write_file(partial / name, content)
            files[name] = {"size": len(content), "sha256": bytes_digest(content)}
        manifest = {"format": FORMAT, "step": step, "files": files}
        write_file(partial / MANIFEST, canonical_json(_signed(manifest)))
        fsync_folder(partial)
        _commit(partial, final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync_folder(folder)
    return final


def _signed(manifest: Mapping[str, object]) -> dict[str, object]:
    """Add the digest of the rest, so that a damaged manifest is not taken for a newer one."""
    return {**manifest, "sha256": config_digest(manifest)}


def _commit(partial: Path, final: Path) -> None:
    """Give a finished checkpoint its name; one that is there already and the same stays."""
    if final.exists():
        if _same(partial, final):
            return _remove(partial)
        delete(final)
    replace(partial, final)


def _same(partial: Path, final: Path) -> bool:
    try:
        verify(final)
    except CheckpointError:
        return False
    return (partial / MANIFEST).read_bytes() == (final / MANIFEST).read_bytes()


def _contents(
    tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, object]
) -> Iterable[tuple[str, bytes]]:
    """Make the files one after the other, so that one at a time is in memory."""
    for name, group in sorted(tensors.items()):
        yield f"{name}{SUFFIX}", safetensors.torch.save(_unshared(group))
    yield STATE, canonical_json(state).encode()


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous CPU tensors, in order of name, none of which shares memory."""
    result: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in sorted(tensors.items()):
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != plain.nbytes:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        result[name] = plain
    return result


def load(path: Path) -> Checkpoint:
    """Verify every file of a checkpoint and read it; tensors are mapped from their files.

    Raises MissingCheckpointError, DamagedCheckpointError naming the file and what is wrong with it,
    and NewerCheckpointError.
    """
    step, listed = _verified(path)
    try:
        listed.remove(STATE)
        state = json.loads((path / STATE).read_bytes())
        tensors = {
            name.removesuffix(SUFFIX): safetensors.torch.load_file(path / name) for name in listed
        }
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(path, f"its content cannot be read: {error}") from error
    return Checkpoint(step=step, tensors=tensors, state=state)


def verify(path: Path) -> int:
    """Check every file of a checkpoint and return its step; raises what `load` raises."""
    return _verified(path)[0]


def _verified(path: Path) -> tuple[int, list[str]]:
    """Return the step and the names of the files, once every one is what the manifest says."""
    step, listed = _manifest(path)
    # Reading and digests release the interpreter's lock.
    with ThreadPoolExecutor() as pool:
        for problem in pool.map(lambda entry: _problem(path / entry[0], entry[1]), listed.items()):
            if problem:
                raise _damaged(path, problem)
    return step, list(listed)


def _damaged(path: Path, problem: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f"checkpoint {path} is damaged: {problem}; use an earlier one and delete it"
    )


def _manifest(path: Path) -> tuple[int, dict[str, dict[str, object]]]:
    """Return the step and the listed files, once nothing but them is there."""
    if not path.is_dir():
        raise MissingCheckpointError(f"no checkpoint at {path}; give a folder step-…")
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
        digest = manifest.pop("sha256")
    except FileNotFoundError as error:
        raise _damaged(path, f"{MANIFEST} is missing") from error
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise _damaged(path, f"{MANIFEST} cannot be read") from error
    if config_digest(manifest) != digest:
        raise _damaged(path, f"the content of {MANIFEST} has changed")
    found, step, files = manifest["format"], manifest["step"], manifest["files"]
    if found > FORMAT:
        raise NewerCheckpointError(path, found, FORMAT)
    if STEP_NAME.fullmatch(path.name) and path != step_path(path.parent, step):
        raise _damaged(path, f"{MANIFEST} is that of step {step}")
    present = {entry.name for entry in path.iterdir()} - {MANIFEST}
    if extra := sorted(present - set(files)):
        raise _damaged(path, f"{extra[0]} does not belong to it")
    return step, files


def _problem(file: Path, entry: Mapping[str, object]) -> str:
    """Return how a file differs from what the manifest says; empty if it does not."""
    try:
        if (size := file.stat().st_size) != entry["size"]:
            return f"{file.name} has {size} bytes instead of {entry['size']}"
        if file_digest(file) != entry["sha256"]:
            return f"the content of {file.name} has changed"
    except FileNotFoundError:
        return f"{file.name} is missing"
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror}"
    return ""


def step_path(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step is."""
    return folder / f"step-{step:08d}"


def steps(folder: Path) -> list[tuple[int, Path]]:
    """Return steps and paths of what is named like a checkpoint, oldest first."""
    if not folder.is_dir():
        return []
    found = [(STEP_NAME.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[1]), path) for match, path in found if match)


def latest(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest intact checkpoint, and one line for each damaged one that was skipped.

    Raises NewerCheckpointError, because going on from an older one would lose work unasked.
    """

    def verified(path: Path) -> Path:
        verify(path)
        return path

    return _newest(folder, verified)


def load_latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Load the checkpoint that `latest` returns, and read no file twice to verify it."""
    return _newest(folder, load)


def _newest(folder: Path, read: Callable[[Path], Found]) -> tuple[Found | None, list[str]]:
    """Return what `read` makes of the newest checkpoint that it does not refuse."""
    problems: list[str] = []
    for _, path in reversed(steps(folder)):
        try:
            return read(path), problems
        except NewerCheckpointError:
            raise
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


def prune(
    folder: Path, keep: int, protect: Collection[int] = (), newest: int | None = None
) -> list[Path]:
    """Delete all but the newest `keep` complete checkpoints and those of the steps to `protect`.

    Incomplete ones neither count nor go, nor do those after the step `newest`, if it is given: a
    run that went on from that step was told that they are damaged. Returns what was deleted; raises
    CannotWriteError.
    """
    if keep < 1:
        raise ValueError(f"keep must be 1 or more; got {keep}")
    found = [one for one in steps(folder) if newest is None or one[0] <= newest]
    complete = [(step, path) for step, path in found if _is_complete(path)]
    old = [path for step, path in complete[:-keep] if step not in protect]
    for path in old:
        delete(path)
    return old


def _is_complete(path: Path) -> bool:
    """Say whether every listed file has its size; contents are not read."""
    try:
        files = _manifest(path)[1]
        return all((path / name).stat().st_size == entry["size"] for name, entry in files.items())
    except NewerCheckpointError:
        return True
    except (CheckpointError, OSError, LookupError, TypeError):
        return False


def delete(path: Path) -> None:
    """Delete a checkpoint so that a crash leaves it whole or leaves a name to be cleaned up.

    Raises CannotWriteError.
    """
    doomed = path.with_name(f"{PARTIAL}old-{path.name}")
    with writing(path):
        _remove(doomed)
    replace(path, doomed)
    fsync_folder(path.parent)
    with writing(path):
        _remove(doomed)


def remove_leftovers(folder: Path) -> list[Path]:
    """Delete what a killed process left half-written; call it before the first save.

    Returns what was deleted; raises CannotWriteError.
    """
    found = sorted(folder.glob(f"{PARTIAL}*"))
    for path in found:
        with writing(path):
            _remove(path)
    return found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        with between_fail_points("remove", path):
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
