"""Sum up tensors by the kernel, in Triton's interpreter, and print where the plain sums differ.

The interpreter is chosen when triton is imported, so this is a process of its own.
"""

import json
from dataclasses import replace

import torch

from asr_lab.reproducibility import sums_triton
from asr_lab.reproducibility.words import Piece, label, plain_sums

DTYPES = (
    torch.bool,
    torch.int8,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
)


def pieces() -> dict[str, Piece]:
    """Return tensors of every width, and parts of tensors, also behind the 2^32nd word."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for dtype in DTYPES:
        content = torch.randint(256, (5, 13 * dtype.itemsize), generator=generator)
        values = content.to(torch.uint8) % 2 if dtype == torch.bool else content.to(torch.uint8)
        tensor = values.view(dtype)
        found[str(dtype)] = Piece(tensor=tensor, shape=tuple(tensor.shape), offsets=(0, 0))
    long = torch.randn(300, generator=generator)
    found["long"] = Piece(tensor=long, shape=(300,), offsets=(0,))
    found["empty"] = Piece(tensor=long[:0], shape=(0,), offsets=(0,))
    found["scalar"] = Piece(tensor=long[3], shape=(), offsets=())
    found["rows"] = Piece(tensor=long[:60].view(6, 10), shape=(2**31, 10), offsets=(2**30, 0))
    found["columns"] = Piece(tensor=long[:60].view(6, 10), shape=(6, 30), offsets=(0, 10))
    found["apart"] = Piece(tensor=long[::2], shape=(150,), offsets=(0,))
    return found


def other(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same kind and strides elsewhere, with other bits."""
    found = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    found.copy_(tensor)
    if tensor.numel():
        found.view(-1)[:1].view(torch.uint8)[:1].bitwise_xor_(
            1
        ) if tensor.is_contiguous() else found.neg_()
    return found


if __name__ == "__main__":
    # Several programs for a tensor, of which the last is not full.
    sums_triton.BLOCK, sums_triton.ROUNDS, sums_triton.SPAN = 16, 2, 32
    known = pieces()
    entries = [(piece, label(name, piece).keys) for name, piece in known.items()]
    launches = sums_triton.Launches(entries)
    found = launches.sums([piece for piece, _ in entries])
    # The same tables again, with other contents, in other places.
    moved = [replace(piece, tensor=other(piece.tensor)) for piece, _ in entries]
    found = torch.cat([found, launches.sums(moved), launches.sums(moved)])
    again = [(piece, keys) for piece, (_, keys) in zip(moved, entries, strict=True)]
    expected = [plain_sums(piece, keys) for piece, keys in [*entries, *again, *again]]
    different = [
        name
        for name, one, wanted in zip([*known] * 3, found, expected, strict=True)
        if not torch.equal(one, wanted)
    ]
    changed = sum(
        not torch.equal(*two) for two in zip(expected, expected[len(known) :], strict=False)
    )
    print(json.dumps({"count": len(known), "changed": changed, "different": different}))
