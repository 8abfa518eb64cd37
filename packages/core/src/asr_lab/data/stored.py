"""What large data sets took minutes to make, kept in files that are mapped the next time.

A file is in the format of safetensors. Its name is the digest of what it was made from, and that of
its content: what has changed or is damaged is made again, and nothing kept can be out of date.
"""

import hashlib
import json
import mmap
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TypeAlias

from asr_lab.utils.files import PARTIAL, cache_folder

FOLDER = "columns"
"""Where it is in the cache; everything there may be deleted at any time."""
LARGE = 100_000
"""Utterances from which on it is kept: below, it takes a few seconds to make."""
FORMAT = 1
"""To be counted up when what is made of the same data changes."""
TYPES = {"B": "U8", "i": "I32", "q": "I64", "d": "F64"}
BLOCK = 2**24

Columns: TypeAlias = Mapping[str, memoryview]


def stored(count: int, made_of: Sequence[object], make: Callable[[], Columns]) -> Columns:
    """Return what `make` returns, from a file if it was made of the same plain values before.

    Nothing is kept of a `count` of utterances that is not large.
    """
    if count < LARGE:
        return make()
    key = key_of(*made_of)
    found = kept(key)
    return keep(key, make()) if found is None else found


def key_of(*made_of: object) -> str:
    """Return the digest of the plain values that something is made of."""
    text = json.dumps([FORMAT, version("asr-lab-core"), *made_of])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def kept(key: str) -> Columns | None:
    """Return what was kept under a key; None if nothing was, or it is damaged."""
    paths = sorted((cache_folder() / FOLDER).glob(f"{key}-*.safetensors"))
    return next((found for path in paths if (found := _mapped(path)) is not None), None)


def keep(key: str, columns: Columns) -> Columns:
    """Keep columns, and return them from the file, or as they are where there is no room."""
    with suppress(OSError):
        return _mapped(_write(cache_folder() / FOLDER, key, columns)) or columns
    return columns


def _write(folder: Path, key: str, columns: Columns) -> Path:
    """Write columns under a name that nobody sees until they are complete; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{PARTIAL}{secrets.token_hex(8)}"
    digest = hashlib.sha256()
    try:
        with partial.open("wb", buffering=0) as file:
            for part in _parts(columns):
                digest.update(part)
                file.write(part)
        target = folder / f"{key}-{digest.hexdigest()[:32]}.safetensors"
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _parts(columns: Columns) -> Iterator[bytes | memoryview]:
    """Yield the content of a file: a header with names, types and places, and the columns."""
    header, end = {}, 0
    ordered = sorted(columns, key=lambda name: -columns[name].itemsize)  # so that all are aligned
    for name in ordered:
        column, start = columns[name], end
        end += column.nbytes
        offsets, shape = [start, end], [len(column)]
        header[name] = {"dtype": TYPES[column.format], "shape": shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for name in ordered:
        plain = columns[name].cast("B")
        yield from (plain[at : at + BLOCK] for at in range(0, len(plain), BLOCK))


def _mapped(path: Path) -> Columns | None:
    """Return the columns of a file; None, and no file, if its content is not what was written."""
    try:
        with path.open("rb") as file:
            content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # gone, or empty
        content = memoryview(b"")
    if hashlib.sha256(content).hexdigest()[:32] != path.stem.partition("-")[2]:
        path.unlink(missing_ok=True)
        return None
    behind = 8 + int.from_bytes(content[:8], "little")
    letters = {name: letter for letter, name in TYPES.items()}
    found = {}
    for name, about in json.loads(bytes(content[8:behind])).items():
        start, end = (behind + offset for offset in about["data_offsets"])
        found[name] = content[start:end].cast(letters[about["dtype"]])  # type: ignore[call-overload]
    return found
