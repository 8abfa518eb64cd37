"""Tables that tell attention where a step is."""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def _frequencies(
    pairs: int, dim: int, device: torch.device, base: float = 10000.0
) -> Float[Tensor, " pairs"]:
    return torch.exp(torch.arange(pairs, device=device) * (-2 * math.log(base) / dim))


def rotary_table(steps: int, dim: int, device: torch.device) -> Float[Tensor, "two steps pairs"]:
    """Return cosine and sine of every step's rotation of `dim // 2` pairs of channels."""
    angles = rotary_angles(steps, dim, device)
    return torch.stack([angles.cos(), angles.sin()]).float()


def rotary_angles(steps: int, dim: int, device: torch.device) -> Float64[Tensor, "steps pairs"]:
    """Return by how much every step rotates each of `dim // 2` pairs of channels.

    Su et al. 2021 (arXiv 2104.09864, section 3.2.2). The angles are computed in FP64: in FP32 they
    would be off by 5e-4 at step 10 000, and an hour would not be encoded as its first minute is.
    """
    places = torch.arange(steps, device=device, dtype=torch.float64)[:, None]
    return places * _frequencies(dim // 2, dim, device)


def rotate(
    values: Float[Tensor, "batch heads steps dim"], table: Float[Tensor, "two steps pairs"]
) -> Float[Tensor, "batch heads steps dim"]:
    """Rotate the pairs (i, i + dim / 2) of channels by each step's angle."""
    cosine, sine = table.unbind(0)
    first, second = values.chunk(2, -1)
    rotated = [first * cosine - second * sine, second * cosine + first * sine]
    return torch.cat(rotated, -1).to(values.dtype)


def relative_table(steps: int, dim: int, device: torch.device) -> Float[Tensor, "distances dim"]:
    """Return sinusoids of the distances `steps - 1` down to `1 - steps`: `2 * steps - 1` rows."""
    return distance_table(steps - 1, steps - 1, dim, device)


def distance_table(
    behind: int, ahead: int, dim: int, device: torch.device
) -> Float[Tensor, "distances dim"]:
    """Return sinusoids of the distances `behind` down to `-ahead`, sine and cosine in turn.

    Dai et al. 2019 (arXiv 1901.02860, section 3.3): `behind + 1 + ahead` rows.
    """
    distances = torch.arange(behind, -ahead - 1, -1, device=device)
    angles = distances[:, None] * _frequencies(dim // 2, dim, device)
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


def sinusoid_table(steps: int, dim: int, device: torch.device) -> Float[Tensor, "steps dim"]:
    """Return sinusoids of the steps from 0, all sines before all cosines, as Whisper has them.

    The lowest frequency is 1/10000 exactly: the exponents divide by `dim / 2 - 1`.
    """
    angles = torch.arange(steps, device=device)[:, None] * _frequencies(dim // 2, dim - 2, device)
    return torch.cat([angles.sin(), angles.cos()], -1)
