"""Randomness without state: every draw is a function of a seed, a purpose and what it is for.

Nothing here has to be saved to resume a run: `scope` re-seeds torch's generators for a stretch of
code, and `uniform`, `normal` and `integers` draw for each utterance from its own key.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float32, Int, Int64
from torch import Tensor

from asr_lab.reproducibility.keys import derive_key, shuffled

__all__ = [
    "derive_key",
    "generator",
    "integers",
    "normal",
    "scope",
    "shuffled",
    "uniform",
    "utterance_keys",
]

# Constants of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
# generators"), as signed numbers: torch multiplies int64 with wrap-around on every device.
GAMMA = 0x9E3779B97F4A7C15 - 2**64
MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def utterance_keys(seed: int, epoch: int, ids: Sequence[str]) -> Int64[Tensor, " batch"]:
    """Return one key per utterance for this epoch, from which all its augmentation is drawn."""
    keys = [derive_key(seed, "utterance", epoch, name) for name in ids]
    return torch.tensor(keys, dtype=torch.int64)


def generator(
    seed: int, *purpose: int | str, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator of its own, seeded for the purpose."""
    return torch.Generator(device).manual_seed(derive_key(seed, *purpose))


@contextmanager
def scope(
    seed: int, *purpose: int | str, device: torch.device | str | None = None
) -> Iterator[None]:
    """Seed torch, `random` and numpy (if loaded) for a stretch of code; restore them at its end.

    `device` is the CUDA device whose generator is seeded besides the CPU's; None for the current
    one, if CUDA is in use.
    """
    key = derive_key(seed, *purpose)
    generators = [torch.default_generator, *_cuda_generator(device)]
    states = [one.get_state() for one in generators]
    python_state = random.getstate()
    numpy = sys.modules.get("numpy")
    numpy_state = numpy.random.get_state() if numpy else None
    try:
        for one in generators:
            one.manual_seed(key)
        random.seed(key)
        if numpy:
            numpy.random.seed(key % 2**32)
        yield
    finally:
        for one, state in zip(generators, states, strict=True):
            one.set_state(state)
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)


def _cuda_generator(device: torch.device | str | None) -> list[torch.Generator]:
    """Return the default generator of a CUDA device, or nothing if it is not one."""
    if device is None:
        device = "cuda" if torch.cuda.is_initialized() else "cpu"
    device = torch.device(device)
    if device.type != "cuda":
        return []
    torch.cuda.init()
    index = torch.cuda.current_device() if device.index is None else device.index
    return [torch.cuda.default_generators[index]]


def uniform(
    keys: Int64[Tensor, " batch"], purpose: str, count: int
) -> Float32[Tensor, "batch count"]:
    """Draw numbers in [0, 1), multiples of 2^-24: the same bits on every device.

    The first numbers of a longer draw are those of a shorter one.
    """
    return _fraction(_words(keys, purpose, count), 40)


def normal(
    keys: Int64[Tensor, " batch"], purpose: str, count: int
) -> Float32[Tensor, "batch count"]:
    """Draw standard normal numbers by Box and Muller's transform (1958), within 5.8 of 0.

    Devices differ by the rounding of logarithm and cosine. The first numbers of a longer draw are
    those of a shorter one.
    """
    words = _words(keys, purpose, (count + 1) // 2)
    radius = torch.sqrt(-2 * torch.log(_fraction(words, 40) + 2**-24))
    angle = 2 * torch.pi * _fraction(words, 16)
    pairs = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1)
    return pairs.flatten(1)[:, :count]


def integers(
    keys: Int64[Tensor, " batch"],
    purpose: str,
    count: int,
    high: int | Int[Tensor, " batch"] | Int[Tensor, "batch count"],
) -> Int64[Tensor, "batch count"]:
    """Draw integers from 0 to `high` - 1 (at most 2^31; one bound, one per utterance or draw)."""
    bound = high[:, None] if isinstance(high, Tensor) and high.ndim == 1 else high
    return (_shift(_words(keys, purpose, count), 32) * bound) >> 32


def _words(keys: Int64[Tensor, " batch"], purpose: str, count: int) -> Int64[Tensor, "batch count"]:
    """Return the first `count` words of SplitMix64 started from each key and the purpose."""
    start = _mix(keys ^ derive_key(0, "draw", purpose))
    steps = torch.arange(1, count + 1, device=keys.device) * GAMMA
    return _mix(start[:, None] + steps)


def _mix(words: Int64[Tensor, "*any"]) -> Int64[Tensor, "*any"]:
    """Return SplitMix64's output function of each word."""
    words = (words ^ _shift(words, 30)) * MULTIPLIERS[0]
    words = (words ^ _shift(words, 27)) * MULTIPLIERS[1]
    return words ^ _shift(words, 31)


def _shift(words: Int64[Tensor, "*any"], bits: int) -> Int64[Tensor, "*any"]:
    """Shift right as if the words had no sign."""
    shifted: Tensor = (words >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _fraction(words: Int64[Tensor, "*any"], bits: int) -> Float32[Tensor, "*any"]:
    """Return 24 of the bits, those above `bits`, as a number in [0, 1)."""
    fraction: Tensor = (_shift(words, bits) & (2**24 - 1)).float() * 2.0**-24
    return fraction
