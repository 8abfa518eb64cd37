"""Read `.pt` files of tensors and plain values, whoever wrote them, without running their code.

torch.save's format is a zip of uncompressed entries: `data.pkl` describes the object, and `data/N`
holds the bytes of storage N.
"""

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from asr_lab.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    UnsafeCheckpointError,
)
from asr_lab.checkpoints.pickles import (
    Builder,
    ForbiddenGlobalError,
    Helper,
    Machine,
    PickleError,
)

LARGEST = 2**60
MOST_DIMENSIONS = 64
DTYPES: dict[str, torch.dtype] = {
    str(value): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype) and not str(value).startswith(("torch.q", "torch.bits"))
}
STORAGES: dict[str, torch.dtype] = {
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.BoolStorage": torch.bool,
    "torch.ByteStorage": torch.uint8,
    "torch.CharStorage": torch.int8,
    "torch.ComplexDoubleStorage": torch.complex128,
    "torch.ComplexFloatStorage": torch.complex64,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.IntStorage": torch.int32,
    "torch.LongStorage": torch.int64,
    "torch.ShortStorage": torch.int16,
    "torch.storage.UntypedStorage": torch.uint8,
}


@dataclass(frozen=True)
class StorageType(Helper):
    """What a name like `torch.FloatStorage` stands for."""

    dtype: torch.dtype


STORAGE_TYPES = {name: StorageType(dtype) for name, dtype in STORAGES.items()}


@dataclass(frozen=True)
class Storage(Helper):
    """The bytes of one entry, and the type of its values (bytes, if it does not say)."""

    dtype: torch.dtype
    data: UInt8[Tensor, " bytes"]


def read_pt(path: Path) -> object:
    """Return the tensors, containers, texts, numbers and bytes that a `.pt` file holds.

    Tensors are on the CPU, parameters become tensors, ordered dictionaries become dictionaries.
    Raises MissingCheckpointError, DamagedCheckpointError, and UnsafeCheckpointError for a file that
    holds anything else; that is never run.
    """
    if not path.is_file():
        raise MissingCheckpointError(f"no checkpoint {path}; check the path")
    with _explained(path), path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise DamagedCheckpointError(
                f"{path} is not a checkpoint: it is no zip file; if an old torch wrote it, load it "
                "with torch.load(weights_only=True) and save it again"
            )
        with zipfile.ZipFile(file) as archive:
            return _Archive(archive, path.stat().st_size).read()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever a broken file makes zipfile and torch raise into one line that names it."""
    try:
        yield
    except CheckpointError:
        raise
    except ForbiddenGlobalError as error:
        raise UnsafeCheckpointError(
            f"{path} asks for {error}, which may run code, and was refused; "
            "use a file that holds only tensors and plain values"
        ) from error
    except PickleError as error:
        raise UnsafeCheckpointError(f"{path} was refused: {error}") from error
    # A damaged zip makes zipfile raise nearly anything: BadZipFile, EOFError, NotImplementedError,
    # RuntimeError (a password), struct.error, UnicodeDecodeError, OSError, MemoryError, …
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedCheckpointError(
            f"{path} is truncated or damaged: {reason}; copy it again or use another checkpoint"
        ) from error


@dataclass(eq=False)
class _Archive:
    """The entries of a `.pt` file."""

    archive: zipfile.ZipFile
    size: int
    root: str = ""
    storages: dict[str, Storage] = field(default_factory=dict)

    def read(self) -> object:
        entries = self.archive.infolist()
        names = [entry.filename for entry in entries]
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1 or len(set(names)) != len(names):
            raise PickleError("it is a zip file, but none that torch.save wrote")
        self.root = pickles[0].removesuffix("data.pkl")
        if f"{self.root}constants.pkl" in names:
            raise PickleError("it is a TorchScript program; use a file that holds only tensors")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise PickleError("it has compressed entries, which torch.save never writes")
        if sum(entry.file_size for entry in entries) > self.size:
            raise PickleError("its entries claim more bytes than the file has")
        byte_order = f"{self.root}byteorder"
        if byte_order in names and self.archive.read(byte_order) != b"little":
            raise PickleError("it was written by a big-endian machine, which is not supported")
        machine = Machine(BUILDERS, {**DTYPES, **STORAGE_TYPES}, self.storage)
        return machine.run(self.archive.read(pickles[0]))

    def storage(self, identity: tuple[object, ...]) -> Storage:
        """Return the storage that the pickle names by (`storage`, type, key, device, count)."""
        match identity:
            case ("storage", StorageType(dtype), str(key), str(), int(count)):
                pass
            case _:
                raise PickleError("its pickle refers to something other than a storage")
        known = self.storages.get(key)
        if known is None:
            name = f"{self.root}data/{key}"
            if name not in self.archive.NameToInfo:
                raise PickleError(f"storage {key} is missing")
            content = bytearray(self.archive.read(name))
            empty = torch.empty(0, dtype=torch.uint8)
            data = torch.frombuffer(content, dtype=torch.uint8) if content else empty
            known = Storage(dtype, data)
            self.storages[key] = known
        if count * dtype.itemsize != len(known.data) or dtype != known.dtype:
            raise PickleError(f"storage {key} is not of the type and size that its pickle says")
        return known


def _tensor(arguments: tuple[object, ...]) -> object:
    """Build a tensor of a typed storage, as `torch._utils._rebuild_tensor_v2` does."""
    match arguments:
        case (Storage() as storage, int(offset), tuple(size), tuple(stride), bool(), *_):
            return _view(storage.data, storage.dtype, offset, size, stride)
    raise PickleError("its pickle describes no tensor")


def _typed_tensor(arguments: tuple[object, ...]) -> object:
    """Build a tensor of untyped bytes, as `torch._utils._rebuild_tensor_v3` does."""
    match arguments:
        case (
            Storage() as storage,
            int(offset),
            tuple(size),
            tuple(stride),
            bool(),
            _,
            torch.dtype() as dtype,
            *_,
        ):
            return _view(storage.data, dtype, offset, size, stride)
    raise PickleError("its pickle describes no tensor")


def _view(
    data: UInt8[Tensor, " bytes"],
    dtype: torch.dtype,
    offset: int,
    size: tuple[object, ...],
    stride: tuple[object, ...],
) -> Shaped[Tensor, "..."]:
    """Return a view of stored values, every one of which is inside the storage."""
    sizes = [_natural(number) for number in size]
    strides = [_natural(number) for number in stride]
    if len(sizes) != len(strides) or len(sizes) > MOST_DIMENSIONS:
        raise PickleError("a tensor's shape and strides do not fit")
    count, stored = math.prod(sizes), len(data) // dtype.itemsize
    if math.prod(max(number, 1) for number in sizes) > LARGEST:
        raise PickleError("a tensor's shape is too large")
    if count == 0:
        return torch.empty(sizes, dtype=dtype)
    steps = ((number - 1) * step for number, step in zip(sizes, strides, strict=True))
    last = _natural(offset) + sum(steps)
    if last >= stored or len(data) % dtype.itemsize:
        raise PickleError(f"a tensor reaches to value {last + 1} of a storage of {stored}")
    if count > stored:
        raise PickleError(f"a tensor repeats {stored} stored values to make {count}")
    return torch.as_strided(data.view(dtype), sizes, strides, offset)


def _natural(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= LARGEST:
        raise PickleError(f"a tensor's shape, stride or offset is {number!r:.40}")
    return number


def _parameter(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (Tensor() as tensor, bool(), *_):
            return tensor
    raise PickleError("its pickle describes no parameter")


def _ordered(arguments: tuple[object, ...]) -> object:
    if arguments:
        raise PickleError("its pickle describes no ordered dictionary")
    return {}


def _encoded(arguments: tuple[object, ...]) -> object:
    """Return bytes, which old pickle protocols write as Latin-1 text."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1")
    raise PickleError("its pickle encodes something other than bytes")


def _no_bytes(arguments: tuple[object, ...]) -> object:
    if arguments:
        raise PickleError("its pickle encodes something other than bytes")
    return b""


def _shape(arguments: tuple[object, ...]) -> object:
    match arguments:
        case (tuple(size),):
            return tuple(_natural(number) for number in size)
    raise PickleError("its pickle describes no shape")


BUILDERS: dict[str, Builder] = {
    "__builtin__.bytes": _no_bytes,
    "_codecs.encode": _encoded,
    "collections.OrderedDict": _ordered,
    "torch.Size": _shape,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
}
