"""One kernel that sums up all tensors on a GPU; the bits are those of the plain version."""

from collections.abc import Sequence
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Int64, Integer
from torch import Tensor

from asr_lab.reproducibility.sums import Piece, plain_sums, words

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


def fused_sums(pieces: Sequence[tuple[Piece, tuple[int, int]]]) -> Int64[Tensor, "pieces 2"]:
    """Return the sums of pieces that are all on one GPU: one launch for each width of words."""
    device = pieces[0][0].tensor.device
    total = torch.zeros(len(pieces), 2, dtype=torch.int64, device=device)
    by_width: dict[int, list[tuple[int, Integer[Tensor, " words"], int, tuple[int, int]]]] = {}
    for position, (piece, keys) in enumerate(pieces):
        found = _row(piece)
        if found is None:
            total[position] = plain_sums(piece, keys)
        elif found[0].numel():
            content, first = found
            by_width.setdefault(content.element_size(), []).append((position, content, first, keys))
    for width, rows in by_width.items():
        _launch(total, 8 * width, rows)
    return total


def _row(piece: Piece) -> tuple[Integer[Tensor, " words"], int] | None:
    """Return the words of a piece that are a row in the whole tensor, and where they begin.

    None for a piece whose words lie apart, in memory or in the tensor.
    """
    content, shape, offsets = words(piece)
    if not content.is_contiguous():
        return None
    axis = next((at for at, size in enumerate(content.shape) if size != 1), content.ndim)
    if content.shape[axis + 1 :] != shape[axis + 1 :]:
        return None
    first = 0
    for size, offset in zip(shape, offsets, strict=True):
        first = first * size + offset
    return content.view(-1), first


def _launch(
    total: Int64[Tensor, "pieces 2"],
    bits: int,
    rows: Sequence[tuple[int, Integer[Tensor, " words"], int, tuple[int, int]]],
) -> None:
    """Add the sums of rows of words of one width to `total`."""
    table, owners, positions, programs = [], [], [], 0
    for number, (position, content, first, keys) in enumerate(rows):
        count = content.numel()
        table += [content.data_ptr(), count, first, programs, *keys]
        here = -(-count // SPAN)
        owners += [number] * here
        positions += [position] * here
        programs += here
    host = torch.tensor(table + owners + positions, dtype=torch.int64)
    if total.device.type == "cuda":  # a copy from pinned memory does not wait
        host = host.pin_memory()
    sent = host.to(total.device, non_blocking=True)
    known, places = sent[len(table) : len(table) + programs], sent[len(table) + programs :]
    sums = torch.empty(programs, 2, dtype=torch.int64, device=total.device)
    with torch.cuda.device_of(total):
        sum_words[(programs,)](sums, sent, known, BITS=bits, BLOCK=BLOCK, ROUNDS=ROUNDS)
    total.index_add_(0, places, sums)
