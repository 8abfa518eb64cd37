"""One kernel that sums up all tensors on a GPU; the bits are those of the plain version."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Int64
from torch import Tensor

from asr_lab.reproducibility.words import Piece, plain_sums, words

BLOCK, ROUNDS = 1024, 64
SPAN = BLOCK * ROUNDS
"""Words that a program sums up."""


@triton.jit
@no_type_check
def mixed(word, key, high, A: tl.constexpr, B: tl.constexpr, C: tl.constexpr, LANE: tl.constexpr):
    """Mix a word that has its place with a key; the numbers are those of `MIXERS`."""
    value = word ^ (key + high * 0x9E3779B97F4A7C15)
    value = value ^ (value >> A)
    if LANE == 0:
        value = value * 0xBF58476D1CE4E5B9
    else:
        value = value * 0xFF51AFD7ED558CCD
    value = value ^ (value >> B)
    if LANE == 0:
        value = value * 0x94D049BB133111EB
    else:
        value = value * 0xC4CEB9FE1A85EC53
    return value ^ (value >> C)


@triton.jit
@no_type_check
def sum_words(sums, table, owners, BITS: tl.constexpr, BLOCK: tl.constexpr, ROUNDS: tl.constexpr):
    """Sum up a stretch of one tensor.

    A row of `table` holds address, number of words, place of the first, the tensor's first program
    and its two keys; `owners` says which row is a program's.
    """
    program = tl.program_id(0)
    row = table + 6 * tl.load(owners + program)
    if BITS == 8:
        content = tl.load(row).to(tl.pointer_type(tl.uint8))
    elif BITS == 16:
        content = tl.load(row).to(tl.pointer_type(tl.uint16))
    else:
        content = tl.load(row).to(tl.pointer_type(tl.uint32))
    count = tl.load(row + 1)
    first = tl.load(row + 2)
    start = (program - tl.load(row + 3)) * (BLOCK * ROUNDS)
    one = tl.load(row + 4).to(tl.uint64, bitcast=True)
    two = tl.load(row + 5).to(tl.uint64, bitcast=True)
    total_one = tl.zeros([BLOCK], tl.uint64)
    total_two = tl.zeros([BLOCK], tl.uint64)
    for turn in range(ROUNDS):
        place = start + turn * BLOCK + tl.arange(0, BLOCK)
        known = place < count
        bits = tl.load(content + place, mask=known, other=0).to(tl.uint64)
        at = (first + place).to(tl.uint64)
        word = (at << 32) | bits
        high = at >> 32
        total_one += tl.where(known, mixed(word, one, high, 30, 27, 31, 0), 0)
        total_two += tl.where(known, mixed(word, two, high, 33, 33, 33, 1), 0)
    tl.store(sums + 2 * program, tl.sum(total_one, 0).to(tl.int64, bitcast=True))
    tl.store(sums + 2 * program + 1, tl.sum(total_two, 0).to(tl.int64, bitcast=True))


class Launches:
    """Sums of pieces of one layout that are all on one GPU: a launch for each width of words."""

    def __init__(self, pieces: Sequence[tuple[Piece, tuple[int, int]]]) -> None:
        """Work out what does not depend on contents and addresses."""
        self._keys = [keys for _, keys in pieces]
        self._shapes = [(piece.shape, piece.offsets) for piece, _ in pieces]
        self._apart: list[int] = []
        """Pieces whose words lie apart, in memory or in the tensor."""
        rows: dict[int, list[Row]] = {}
        for place, (piece, keys) in enumerate(pieces):
            if (found := _row(piece)) is None:
                self._apart.append(place)
            elif found[1]:
                width, count, first = found
                rows.setdefault(width, []).append(Row(place, count, first, keys))
        self._launches = [Launch(8 * width, found) for width, found in rows.items()]

    def sums(self, pieces: Sequence[Tensor | Piece]) -> Int64[Tensor, "pieces 2"]:
        """Return the sums of pieces as they are now, without waiting for the GPU."""
        tensors = [one.tensor if isinstance(one, Piece) else one for one in pieces]
        total = torch.zeros(len(tensors), 2, dtype=torch.int64, device=tensors[0].device)
        for place in self._apart:
            shape, offsets = self._shapes[place]
            piece = Piece(tensor=tensors[place], shape=shape, offsets=offsets)
            total[place] = plain_sums(piece, self._keys[place])
        for launch in self._launches:
            launch.add(total, [tensors[place].data_ptr() for place in launch.places])
        return total


class Row(NamedTuple):
    """Words that are a row in memory, and in a tensor too."""

    place: int
    """Number of the tensor among all."""
    words: int
    first: int
    """Where the first word stands in the tensor."""
    keys: tuple[int, int]


class Launch:
    """One launch of the kernel, for words of one width, and its tables on the GPU."""

    def __init__(self, bits: int, rows: Sequence[Row]) -> None:
        """Make the tables, without addresses."""
        self.bits, self.places = bits, [row.place for row in rows]
        programs = [-(-row.words // SPAN) for row in rows]
        firsts = [0, *accumulate(programs)]
        self.programs = firsts[-1]
        table = [
            [0, one.words, one.first, at, *one.keys]
            for one, at in zip(rows, firsts[:-1], strict=True)
        ]
        self._table = torch.tensor(table, dtype=torch.int64)
        repeats = torch.tensor(programs)
        self._owners = torch.arange(len(rows)).repeat_interleave(repeats)
        self._targets = torch.tensor(self.places).repeat_interleave(repeats)
        self._sent: tuple[object, list[int], list[Tensor]] = (None, [], [])
        """Stream and addresses of the tables that are on the GPU, and these."""

    def add(self, total: Int64[Tensor, "pieces 2"], addresses: list[int]) -> None:
        """Add the sums of what is at some addresses now to `total`."""
        table, owners, targets = self._on_device(total.device, addresses)
        sums = torch.empty(self.programs, 2, dtype=torch.int64, device=total.device)
        with torch.cuda.device_of(total):
            sum_words[(self.programs,)](
                sums, table, owners, BITS=self.bits, BLOCK=BLOCK, ROUNDS=ROUNDS
            )
        total.index_add_(0, targets, sums)

    def _on_device(self, device: torch.device, addresses: list[int]) -> list[Tensor]:
        """Return table, owners and targets; only what is not there yet is sent."""
        cuda = device.type == "cuda"  # not in Triton's interpreter
        stream = torch.cuda.current_stream(device) if cuda else None
        known, before, sent = self._sent
        if not sent or known != stream:
            sent = [_send(one, device) for one in (self._table, self._owners, self._targets)]
            before = []
        if before != addresses:
            table = self._table.clone()
            table[:, 0] = torch.tensor(addresses)
            sent = [_send(table, device), *sent[1:]]
        self._sent = (stream, addresses, sent)
        return sent


def _send(table: Tensor, device: torch.device) -> Tensor:
    """Copy a table to a GPU without waiting, which needs pinned memory."""
    return (table.pin_memory() if device.type == "cuda" else table).to(device, non_blocking=True)


def _row(piece: Piece) -> tuple[int, int, int] | None:
    """Return width, number and first place of words that are a row in memory and in the tensor.

    None for a piece whose words lie apart, or are not those in memory.
    """
    content, shape, offsets = words(piece)
    if piece.tensor.is_conj() or piece.tensor.is_neg() or not content.is_contiguous():
        return None
    axis = next((at for at, size in enumerate(content.shape) if size != 1), content.ndim)
    if content.shape[axis + 1 :] != shape[axis + 1 :]:
        return None
    first = 0
    for size, offset in zip(shape, offsets, strict=True):
        first = first * size + offset
    return content.element_size(), content.numel(), first
