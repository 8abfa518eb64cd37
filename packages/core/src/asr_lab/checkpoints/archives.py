"""Take files out of tar archives that anybody may have made, plain or compressed by gzip.

An archive is read once, from its beginning to its end; what is wanted is written under names that
the caller chose, and nothing else is written anywhere.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from asr_lab.checkpoints.errors import (
    DamagedCheckpointError,
    MissingCheckpointError,
    UnsafeCheckpointError,
)

GZIP = b"\x1f\x8b"
MOST_EXPANSION = 50
"""Bytes that a compressed one may become; weights hardly shrink, bombs grow a thousandfold."""
SPARE = 64 * 2**20
"""Bytes that are not counted, so that a small archive of zeros is no bomb."""
MOST_MEMBERS = 10_000
LONGEST_NAME = 255
"""Bytes of a file's name that file systems take."""
CHUNK = 2**20
BROKEN = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError),
    *(IndexError, RecursionError),  # tarfile's, of sparse files and of names without end
)


@dataclass
class _Measured(io.RawIOBase):
    """A stream that ends with an error once more is wanted than is there, or than is plausible."""

    stream: io.BufferedIOBase
    left: int

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes."""
        found = self.stream.read(min(CHUNK, size if size >= 0 else CHUNK))
        self.left -= len(found)
        if self.left < 0:
            raise UnsafeCheckpointError("it holds far more than a file of its size should")
        if not found:  # the blocks that mark the end come first; tarfile would go on for ever
            raise EOFError("it ends too early")
        return found


def unpack(path: Path, folder: Path, choose: Callable[[str], bool]) -> list[str]:
    """Write the files of an archive whose names `choose` accepts into `folder`; return the names.

    Names are those of the archive without a leading `./`; only files at its top are offered. Raises
    MissingCheckpointError, DamagedCheckpointError for a truncated archive or none at all, and
    UnsafeCheckpointError for one with links, devices, names that lead outside, the same name twice
    or an absurd size, whether or not that part is wanted.
    """
    if not path.is_file():
        raise MissingCheckpointError(f"no file {path}; check the path")
    found: list[str] = []
    with _explained(path), _opened(path) as archive:
        names: set[str] = set()
        for member in archive:
            name = _checked(member, names)
            if "/" not in name and member.isreg() and choose(name):
                _copy(archive, member, folder / name)
                found.append(name)
        if not names:
            raise DamagedCheckpointError("it is empty")
    return found


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive as a stream, which looks at nothing twice."""
    size = path.stat().st_size
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP
        file.seek(0)
        content = gzip.GzipFile(fileobj=file) if compressed else file
        limit = size * (MOST_EXPANSION if compressed else 1) + SPARE
        stream = cast(IO[bytes], _Measured(content, limit))
        with tarfile.open(fileobj=stream, mode="r|", errors="strict") as archive:
            yield archive


def _checked(member: tarfile.TarInfo, names: set[str]) -> str:
    """Return the plain name of a member; raise UnsafeCheckpointError for what has no place here."""
    shown = repr(member.name[:60])
    parts = PurePosixPath(member.name).parts
    name = "/".join(parts)
    if member.issym() or member.islnk():
        raise UnsafeCheckpointError(f"it holds a link, {shown}")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise UnsafeCheckpointError(f"it holds {shown}, which is neither a file nor a folder")
    if member.name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise UnsafeCheckpointError(f"it holds {shown}, which leads outside of it")
    if any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise UnsafeCheckpointError(f"it holds {shown}…, a name too long for a file")
    if name in names and not member.isdir():
        raise UnsafeCheckpointError(f"it holds {shown} twice")
    names.add(name)
    if len(names) > MOST_MEMBERS:
        raise UnsafeCheckpointError(f"it holds more than {MOST_MEMBERS} files")
    return f"{name}/" if member.isdir() else name


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source, left = archive.extractfile(member), member.size
    assert source is not None
    with target.open("xb") as file:
        while left:
            piece = source.read(min(left, CHUNK))
            if not piece:
                raise DamagedCheckpointError(f"it ends within {member.name}")
            file.write(piece)
            left -= len(piece)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn every reason for which an archive cannot be read into one line that names it."""
    try:
        yield
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(
            f"{path} was refused: {error}; get it from whoever made it"
        ) from error
    except BROKEN as error:
        reason = " ".join(str(error).split())
        raise DamagedCheckpointError(
            f"{path} is truncated or no tar archive: {reason}; copy it again"
        ) from error
