"""Which folder a new run may take: a free one, or with `--overwrite` that of another run.

A folder is a run's from the moment that its `run.json` is there, which is made in one step: of
several processes that want the same folder, one gets it.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asr_lab.reproducibility.record import RECORD, RunRecord
from asr_lab.training.config import RunConfig
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import (
    PARTIAL,
    create_file,
    is_taken,
    make_folder,
    make_numbered,
    writing,
)

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OUTPUTS = Path("outputs")


def check_output(config: RunConfig) -> bytes | None:
    """Raise UserError if the folder that was asked for is taken; nothing is changed.

    Returns the record of the run that will be overwritten, None if there is none.
    """
    folder = Path(config.output)
    if not config.output or not is_taken(folder):
        return None
    if not config.overwrite:
        raise _taken(folder)
    try:
        return (folder / RECORD).read_bytes()
    except OSError:
        if _left_behind(folder):
            return None
        raise UserError(f"{folder} is not the folder of a run; choose another --output") from None


def claim_folder(
    config: RunConfig, before: bytes | None, record: Callable[[Path], RunRecord]
) -> Path:
    """Make the folder of a new run with its record, in place of an old run if that was said.

    `before` is what `check_output` returned when the run began: another one is not overwritten.
    Raises what `check_output` raises, and CannotWriteError.
    """
    if not config.output:
        folder = _next_free(f"{config.model.rpartition('/')[2]}-{Path(config.preset).stem}")
    else:
        folder = Path(config.output)
        with writing(folder):
            if not folder.is_dir():
                check_output(config)
                make_folder(folder)
            with _alone(folder):
                check_output(config)
                if config.overwrite and is_taken(folder):
                    _remove(folder, before)
                if create_file(folder / RECORD, record(folder).text()):
                    return folder
        raise _taken(folder)
    if not create_file(folder / RECORD, record(folder).text()):
        raise _taken(folder)
    return folder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let other processes that claim a folder wait; a process that is killed lets go.

    Without it, one could take a record away between another's look and its move. Where the system
    has no such locks, that may happen.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _taken(folder: Path) -> UserError:
    return UserError(f"{folder} exists; choose another --output or say --overwrite")


def _left_behind(folder: Path) -> list[Path]:
    """Return the record of a run whose removal was begun, if that is what a folder holds."""
    return sorted(folder.glob(f"{PARTIAL}{RECORD}-*")) if folder.is_dir() else []


def _remove(folder: Path, before: bytes | None) -> None:
    """Delete what is in the folder of the run with the record `before`, which goes last.

    Who holds the record under a name of its own may delete. Raises UserError if another process
    does, or has made the folder that of another run.
    """
    held = folder / f"{PARTIAL}{RECORD}-{secrets.token_hex(4)}"
    record: Path | None = folder / RECORD
    if before is None:
        record = None if (folder / RECORD).exists() else next(iter(_left_behind(folder)), None)
    if record is None:
        raise _in_use(folder)
    try:
        if before is not None and record.read_bytes() != before:
            raise _in_use(folder)
        os.replace(record, held)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path != held:
                path.unlink()
        held.unlink()
    except FileNotFoundError as error:
        raise _in_use(folder) from error


def _in_use(folder: Path) -> UserError:
    return UserError(f"{folder} is in use by another process; choose another --output")


def _next_free(name: str) -> Path:
    """Make `outputs/NAME-0001`, or the first number after the last."""
    with writing(OUTPUTS / name):
        make_folder(OUTPUTS)
        numbers = [int(p.name[-4:]) for p in OUTPUTS.glob(f"{name}-[0-9][0-9][0-9][0-9]")]
    return make_numbered(OUTPUTS, name, max(numbers, default=0) + 1)
