"""Write files so that after a crash there is the old content or the new one, never half of it.

Everything that must survive goes through `write_file`, `fsync_folder` and `replace`. What they ask
of the system stands between two fail points, at which tests and drivers kill the process: audit
events (`sys.addaudithook`) named EVENT, with what is next, such as `before fsync`, and the path.
"""

import errno
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asr_lab.utils.errors import UserError

EVENT = "asr_lab.files"
PARTIAL = ".partial-"
"""What names of unfinished files and folders start with; such a name may always be deleted."""
CACHE = "ASR_LAB_CACHE"
"""Variable that names the folder for what can be made again."""


def cache_folder() -> Path:
    """Return where what can be made again is kept: $ASR_LAB_CACHE, or in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get(CACHE) or f"{base}/asr-lab").expanduser()


class CannotWriteError(UserError):
    """The disk is full, the folder is read-only, and the like; nothing was overwritten."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals inside the block into CannotWriteError."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CannotWriteError(
            f"cannot write {path}: {reason}; make room or choose another folder"
        ) from error


@contextmanager
def between_fail_points(what: str, path: Path) -> Iterator[None]:
    """Span something that is asked of the system: `write`, `fsync`, `rename`, `remove`, …"""
    sys.audit(EVENT, f"before {what}", os.fspath(path))
    yield
    sys.audit(EVENT, f"after {what}", os.fspath(path))


def write_file(path: Path, data: bytes | str) -> None:
    """Write a file and wait until its content is on the disk; text is UTF-8.

    The name is durable only after `fsync_folder`. Raises CannotWriteError.
    """
    with writing(path):
        _write(path, data)


def _write(path: Path, data: bytes | str) -> None:
    with path.open("wb") as file:
        with between_fail_points("write", path):
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
        with between_fail_points("fsync", path):
            os.fsync(file.fileno())


def fsync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises CannotWriteError."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    with writing(folder):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with between_fail_points("fsync folder", folder):
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def replace(source: Path, target: Path) -> None:
    """Rename in one step, over `target` if it is a file; durable only after `fsync_folder`.

    Raises CannotWriteError.
    """
    with writing(target), between_fail_points("rename", source):
        os.replace(source, target)


def write_atomically(path: Path, data: bytes | str) -> None:
    """Put a file in place of an old one, completely or not at all; text is UTF-8.

    Raises CannotWriteError, and leaves the old file and nothing else behind.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}-{secrets.token_hex(4)}")
    with writing(path):
        try:
            _write(partial, data)
            with between_fail_points("rename", partial):
                os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
    fsync_folder(path.parent)


def create_file(path: Path, data: bytes | str) -> bool:
    """Put a file where there is none, completely or not at all; text is UTF-8.

    Of several that ask at the same time, one gets True. Raises CannotWriteError.
    """
    partial = path.with_name(f"{PARTIAL}{path.name}-{secrets.token_hex(4)}")
    with writing(path):
        try:
            _write(partial, data)
            with between_fail_points("link", partial):
                _link(partial, path)
        except FileExistsError:
            return False
        finally:
            with suppress(OSError):
                partial.unlink()
    fsync_folder(path.parent)
    return True


def _link(source: Path, target: Path) -> None:
    """Give a file its name. Raises FileExistsError if that is taken."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP):
            raise
        # A file system without links: a kill between these two leaves an empty file.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        os.replace(source, target)


@contextmanager
def writing_folder(folder: Path) -> Iterator[Path]:
    """Give a new folder to write into, whose files are in `folder` once the block ends well.

    A folder that is there already keeps its other files. Where the block raises, nothing is left.
    Raises CannotWriteError.
    """
    folder = folder.resolve()
    partial = folder.with_name(f"{PARTIAL}{folder.name}-{secrets.token_hex(4)}")
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError("not a folder")
        try:
            partial.mkdir(parents=True)
            yield partial
            fsync_folder(partial)
            if folder.is_dir():
                for path in sorted(partial.iterdir()):
                    replace(path, folder / path.name)
                fsync_folder(folder)
                partial.rmdir()
            else:
                replace(partial, folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        fsync_folder(folder.parent)


def append_line(path: Path, line: str, *, durable: bool = False) -> None:
    """Add one line to a file in a single write; with `durable`, wait until it is on the disk.

    A crash can leave the last line torn. Raises CannotWriteError.
    """
    if "\n" in line:
        raise ValueError("a line holds no line break")
    append(path, f"{line}\n".encode(), durable=durable)


def append(path: Path, content: bytes, *, durable: bool = False, unit: int = 1) -> None:
    """Add to a file in a single write; with `durable`, wait until it is on the disk, and its name.

    What a crash left of a record of `unit` bytes goes first. Raises CannotWriteError.
    """
    new = not path.exists()
    with writing(path), path.open("ab", buffering=0) as file:
        if rest := file.tell() % unit:
            file.truncate(file.tell() - rest)
        with between_fail_points("append", path):
            written = file.write(content)
        if written != len(content):
            raise OSError(f"{written} of {len(content)} bytes fitted")
        if durable:
            with between_fail_points("fsync", path):
                os.fsync(file.fileno())
    if durable and new:
        fsync_folder(path.parent)


def cut(path: Path, size: int) -> None:
    """Drop what lies behind the first `size` bytes of a file. Raises CannotWriteError."""
    with writing(path), path.open("r+b") as file:
        with between_fail_points("cut", path):
            file.truncate(size)
        with between_fail_points("fsync", path):
            os.fsync(file.fileno())


def make_folder(folder: Path) -> None:
    """Make a folder where there is none, and wait until its name is on the disk.

    Raises CannotWriteError.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for one in missing:
        fsync_folder(one.parent)


def is_taken(folder: Path) -> bool:
    """Return True unless the folder can be made, or is there and empty.

    What a killed process left unfinished does not count.
    """
    with writing(folder):
        if not folder.is_dir():
            return folder.exists()
        return any(not path.name.startswith(PARTIAL) for path in folder.iterdir())


def make_numbered(parent: Path, name: str, number: int = 1) -> Path:
    """Make `parent/NAME-0001`, or the first free number from `number` on, and return it.

    Two that ask at the same time get different folders. Raises CannotWriteError.
    """
    with writing(parent / name):
        while True:
            folder = parent / f"{name}-{number:04}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                break
    fsync_folder(parent)
    return folder
