"""Depthwise and first convolutions as sums over the taps of their kernels, for the compiler.

The compiler cannot look into a library's convolution: what surrounds it (gates, masks, norms)
makes passes over memory of its own, and the library's gradients of depthwise convolutions are slow
and not deterministic. Written as sums they fuse with their neighbours and reduce in a fixed order.
Without the compiler every tap would be a pass over memory: there the library's is the better.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def by_taps() -> bool:
    """Say whether what is being called is being compiled, so that sums over taps are the faster."""
    return torch.compiler.is_compiling()


def working_type(values: Tensor) -> torch.dtype:
    """Return the type in which a convolution of `values` would give its result."""
    device = values.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else values.dtype


def depthwise_by_taps(
    values: Float[Tensor, "batch window dim"],
    weight: Float[Tensor, "dim 1 kernel"],
    bias: Float[Tensor, " dim"] | None,
    *,
    padding: int = 0,
) -> Float[Tensor, "batch steps dim"]:
    """Convolve every channel on its own along the steps, with zeros on either side."""
    dtype, taps = working_type(values), weight[:, 0].unbind(-1)
    padded = F.pad(values.to(dtype), (0, 0, padding, padding))
    steps = padded.shape[1] - len(taps) + 1
    total = sum(
        padded[:, place : place + steps] * tap.to(dtype).to(torch.float32)
        for place, tap in enumerate(taps)
    )
    assert isinstance(total, Tensor)
    return (total if bias is None else total + bias).to(dtype)


def halving_by_taps(
    values: Float[Tensor, "batch frames mels channels"],
    weight: Float[Tensor, "channels 1 kernel kernel"],
    bias: Float[Tensor, " channels"] | None,
    *,
    before: int,
) -> Float[Tensor, "batch shorter lower channels"]:
    """Convolve every channel on its own with stride 2 over frames and mels.

    There is one zero behind, and `before` before.
    """
    dtype, size = working_type(values), weight.shape[-1]
    total = sum(
        tap * weight[:, 0, place // size, place % size].to(dtype).to(torch.float32)
        for place, tap in enumerate(_taps(values.to(dtype), size, before))
    )
    assert isinstance(total, Tensor)
    return (total if bias is None else total + bias).to(dtype)


def halving_by_product(
    values: Float[Tensor, "batch frames mels 1"],
    weight: Float[Tensor, "channels 1 kernel kernel"],
    bias: Float[Tensor, " channels"] | None,
    *,
    before: int,
) -> Float[Tensor, "batch shorter lower channels"]:
    """Convolve the only channel likewise with the weights of many, as one matrix product.

    The taps are padded to a multiple of 8, which fast kernels of such products ask for.
    """
    taps = torch.cat(_taps(values.to(working_type(values)), weight.shape[-1], before), -1)
    missing = -taps.shape[-1] % 8
    return F.linear(F.pad(taps, (0, missing)), F.pad(weight.flatten(1), (0, missing)), bias)


def _taps(
    values: Float[Tensor, "batch frames mels channels"], size: int, before: int
) -> list[Float[Tensor, "batch shorter lower channels"]]:
    """Return what each tap of a square kernel sees, row by row."""
    padded = F.pad(values, (0, 0, before, 1, before, 1))
    shorter, lower = ((length - size) // 2 + 1 for length in padded.shape[1:3])
    return [
        padded[:, row : row + 2 * shorter - 1 : 2, column : column + 2 * lower - 1 : 2]
        for row in range(size)
        for column in range(size)
    ]
