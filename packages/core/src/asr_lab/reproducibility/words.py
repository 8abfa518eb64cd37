"""The two 64-bit sums that the digest of a tensor is made of, on the device where the tensor is.

A tensor is a row of words: an element of up to 32 bits is one, a larger one several. A word, the
place where it stands in the whole tensor, and a key made of name, type and shape are mixed into 64
bits, in two ways, and added up modulo 2^64. Sums of integers do not depend on their order, so it
does not matter how a tensor is stored, or which process holds which part of it.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from jaxtyping import Int64, Integer, Shaped
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15 - 2**64
MIXERS = (
    ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1)),
    ((33, 0xFF51AFD7ED558CCD - 2**64), (33, 0xC4CEB9FE1A85EC53 - 2**64), (33, 1)),
)
"""Shifts and factors of two bijections of 64 bits: Stafford's 13th variant, as in SplitMix64, and
the end of MurmurHash3. Signed, because torch multiplies int64 with wrap-around on every device."""
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
MOST = {"cpu": 2**15}
"""Words that are mixed at a time: what fits into a core's cache, elsewhere 2^20 (40 MB)."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a tensor that lies on several devices, or in several files."""

    tensor: Shaped[Tensor, "..."]
    shape: tuple[int, ...]
    """Shape of the whole tensor."""
    offsets: tuple[int, ...]
    """Where the part begins in each axis."""


@dataclass(frozen=True)
class Label:
    """What enters the digest of a tensor besides its words."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @cached_property
    def text(self) -> bytes:
        """The label as one line of JSON."""
        return json.dumps([self.name, self.dtype, list(self.shape)]).encode()

    @cached_property
    def keys(self) -> tuple[int, int]:
        """Two signed 64-bit keys."""
        found = hashlib.blake2b(self.text, digest_size=16).digest()
        first, second = (found[at : at + 8] for at in (0, 8))
        return (
            int.from_bytes(first, "little", signed=True),
            int.from_bytes(second, "little", signed=True),
        )

    @cached_property
    def _hash(self) -> "hashlib.blake2b":
        return hashlib.blake2b(self.text, digest_size=16)

    def digest(self, sums: bytes) -> str:
        """Return the 128-bit digest, in hexadecimal, of a tensor with these sums (16 bytes)."""
        found = self._hash.copy()
        found.update(sums)
        return found.hexdigest()


def label(name: str, tensor: Tensor | Piece) -> Label:
    """Return the label of a tensor, or of that which a piece belongs to."""
    dtype = tensor.dtype if isinstance(tensor, Tensor) else tensor.tensor.dtype
    return _label(name, dtype, tuple(tensor.shape))


@lru_cache(2**16)
def _label(name: str, dtype: torch.dtype, shape: tuple[int, ...]) -> Label:
    """Return one object for equal labels: their keys take longer than the rest on the host."""
    return Label(name, str(dtype), shape)


def as_piece(tensor: Tensor | Piece) -> Piece:
    """Return a whole tensor as the piece that it is."""
    if isinstance(tensor, Piece):
        return tensor
    return Piece(tensor=tensor, shape=tuple(tensor.shape), offsets=(0,) * tensor.ndim)


def words(piece: Piece) -> tuple[Integer[Tensor, "*axes"], tuple[int, ...], tuple[int, ...]]:
    """Return a piece as integers of up to 32 bits, with the shape of the whole and the offsets.

    Raises TypeError for a tensor whose elements are not laid out in memory.
    """
    tensor, shape, offsets = piece.tensor.detach(), piece.shape, piece.offsets
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise TypeError(f"a {tensor.layout} tensor of {tensor.dtype} has no digest")
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
        shape, offsets = (*shape, 2), (*offsets, 0)
    tensor = tensor.view(INTEGERS[tensor.element_size()])
    if tensor.element_size() == 8:
        tensor = tensor.unsqueeze(-1).view(torch.int32)
        shape, offsets = (*shape, 2), (*offsets, 0)
    return tensor, shape, offsets


def plain_sums(piece: Piece, keys: tuple[int, int]) -> Int64[Tensor, "2"]:
    """Return the two sums of a piece by torch's own operations, a little at a time."""
    content, shape, offsets = words(piece)
    total = torch.zeros(2, dtype=torch.int64, device=content.device)
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    most = MOST.get(content.device.type, 2**20)
    _add(total, content, list(offsets), strides, keys, most)
    return total


def _add(
    total: Int64[Tensor, "2"],
    content: Integer[Tensor, "*axes"],
    offsets: list[int],
    strides: list[int],
    keys: tuple[int, int],
    most: int,
) -> None:
    """Add the sums of some words to `total`, cut along the longest axis if they are many."""
    if content.numel() <= most:
        if content.numel():
            total += _mixed_sums(content, _places(content, offsets, strides), keys)
        return
    axis = max(range(content.ndim), key=lambda at: content.shape[at])
    size = max(1, content.shape[axis] * most // content.numel())
    for start in range(0, content.shape[axis], size):
        moved = [offset + start * (at == axis) for at, offset in enumerate(offsets)]
        length = min(size, content.shape[axis] - start)
        _add(total, content.narrow(axis, start, length), moved, strides, keys, most)


def _places(
    content: Integer[Tensor, "*axes"], offsets: Sequence[int], strides: Sequence[int]
) -> Int64[Tensor, "*any"]:
    """Return where each word stands in the whole tensor, in row-major order."""
    found = torch.zeros((), dtype=torch.int64, device=content.device)
    for size, offset, stride in zip(content.shape, offsets, strides, strict=True):
        along = torch.arange(offset, offset + size, device=content.device) * stride
        found = found[..., None] + along
    return found


def _mixed_sums(
    content: Integer[Tensor, "*axes"], places: Int64[Tensor, "*axes"], keys: tuple[int, int]
) -> Int64[Tensor, "2"]:
    mask = 2 ** (8 * content.element_size()) - 1
    word = (places << 32) | (content.to(torch.int64) & mask)
    high = (places >> 32) * GAMMA
    sums = []
    for key, mixer in zip(keys, MIXERS, strict=True):
        mixed = word ^ (high + key)
        for shift, factor in mixer:
            mixed ^= (mixed >> shift).bitwise_and_(2 ** (64 - shift) - 1)
            mixed *= factor
        sums.append(mixed.sum())
    return torch.stack(sums)
