"""What is drawn is distributed as its docstring says, and independent of every other purpose."""

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor

from asr_lab.audio.augmentation import add_noise, change_gain, spec_augment
from asr_lab.reproducibility.keys import derive_key, shuffled
from asr_lab.reproducibility.seeding import integers, normal, uniform, utterance_keys

SIGMAS = 5.0
"""Standard errors that a statistic may be off: one draw of keys in two million is further off."""


def keys_of(count: int, seed: int = 3) -> Tensor:
    return utterance_keys(seed, 0, [f"utterance {i}" for i in range(count)])


def most_of_chi_square(freedom: int) -> float:
    """Return what chi-square exceeds as seldom as a normal number `SIGMAS` (Wilson, Hilferty)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + SIGMAS * math.sqrt(spread)) ** 3


def assert_equally_likely(found: Tensor, values: int) -> None:
    """Fail unless each of 0 to `values` - 1 is among `found` about as often."""
    counts = torch.bincount(found.flatten(), minlength=values).double()
    assert len(counts) == values
    expected = found.numel() / values
    assert expected >= 5, "chi-square wants five of each at least"
    assert float(((counts - expected) ** 2 / expected).sum()) < most_of_chi_square(values - 1)


def kolmogorov(found: Tensor, cumulative: Callable[[Tensor], Tensor]) -> None:
    """Fail unless the largest distance of the empirical distribution is that of chance."""
    ordered = found.flatten().double().sort().values
    count = len(ordered)
    expected = cumulative(ordered)
    ranks = torch.arange(1, count + 1) / count
    distance = torch.maximum(ranks - expected, expected - ranks + 1 / count).max()
    # P(sqrt(n) D > x) is 2 exp(-2 x^2) at most (Massart 1990): 1e-6 at x = 2.7.
    assert float(distance) < 2.7 / math.sqrt(count)


# Keys


def test_every_byte_of_a_key_takes_every_value_as_often() -> None:
    keys = torch.tensor([derive_key(5, "utterance", 1, str(i)) for i in range(8192)])
    for byte in range(8):
        assert_equally_likely((keys >> (8 * byte)) & 255, 256)


def test_one_bit_of_the_seed_changes_half_of_the_bits_of_the_key() -> None:
    changed = []
    for seed in range(300):
        other = seed ^ (1 << seed % 30)
        bits = (derive_key(seed, "a") ^ derive_key(other, "a")) & (2**64 - 1)
        changed.append(bits.bit_count())
    # 300 sums of 64 fair bits: mean 32, standard error 4 / sqrt(300).
    assert abs(sum(changed) / 300 - 32) < SIGMAS * 4 / math.sqrt(300)
    assert min(changed) > 32 - 6 * 4


@pytest.mark.parametrize("count", [3, 4])
def test_every_order_is_as_likely_as_any_other(count: int) -> None:
    orders = [shuffled(count, seed, "epoch", 0).tolist() for seed in range(1500)]
    names = sorted(set(map(tuple, orders)))
    assert len(names) == math.factorial(count)
    found = torch.tensor([names.index(tuple(order)) for order in orders])
    assert_equally_likely(found, len(names))


# Draws


@pytest.mark.parametrize("high", [2, 7, 100])
def test_integers_below_a_bound_are_equally_likely(high: int) -> None:
    assert_equally_likely(integers(keys_of(2000), "i", 10, high), high)


def test_uniform_numbers_are_uniform_over_keys_and_along_a_draw() -> None:
    for found in (uniform(keys_of(4000), "u", 1), uniform(keys_of(1), "u", 4000)):
        kolmogorov(found, lambda value: value)


def test_normal_numbers_have_the_normal_distribution_in_either_half_of_a_pair() -> None:
    found = normal(keys_of(3000), "n", 2)
    for half in found.T:
        kolmogorov(half, lambda value: 0.5 * (1 + torch.erf(value / math.sqrt(2))))
    third, fourth = (float((found.double() ** power).mean()) for power in (3, 4))
    # Variances of powers of normal numbers: E x^6 = 15, and E x^8 - 9 = 96.
    assert abs(third) < SIGMAS * math.sqrt(15 / found.numel())
    assert abs(fourth - 3) < SIGMAS * math.sqrt(96 / found.numel())


@pytest.mark.parametrize(
    "others",
    [
        lambda keys: uniform(keys, "noise level", 1),
        lambda keys: uniform(keys, "gain", 2)[:, 1:],
        lambda keys: uniform(keys + 1, "gain", 1),
        lambda keys: uniform(keys_of(len(keys), seed=4), "gain", 1),
        lambda keys: uniform(keys.roll(1), "gain", 1),
    ],
    ids=["purpose", "place", "next key", "seed", "utterance"],
)
def test_draws_that_differ_in_one_thing_are_independent(
    others: Callable[[Tensor], Tensor],
) -> None:
    keys = keys_of(6400)
    pairs = (uniform(keys, "gain", 1) * 8).long() * 8 + (others(keys) * 8).long()
    assert_equally_likely(pairs, 64)


# Augmentation


def test_widths_and_places_of_masks_are_equally_likely() -> None:
    ones, lengths = torch.ones(3000, 12, 9), torch.full((3000,), 12)
    bands = spec_augment(ones, lengths, keys_of(3000), 1, 4, 0, 0.0)[:, 0] == 0
    widths = bands.sum(1)
    assert_equally_likely(widths, 5)
    for width in range(1, 5):
        starts = bands[widths == width].long().argmax(1)
        assert_equally_likely(starts, 9 - width + 1)
    times = spec_augment(ones, lengths, keys_of(3000), 0, 0, 1, 0.5)[:, :, 0] == 0
    assert_equally_likely(times.sum(1), 7)


def test_bands_and_stretches_of_one_utterance_are_independent() -> None:
    ones, lengths = torch.ones(4000, 40, 40), torch.full((4000,), 40)
    bands = spec_augment(ones, lengths, keys_of(4000), 1, 7, 0, 0.0)[:, 0] == 0
    times = spec_augment(ones, lengths, keys_of(4000), 0, 0, 1, 0.175)[:, :, 0] == 0
    assert_equally_likely(bands.sum(1) * 8 + times.sum(1), 64)


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_masks_of_all_features_leave_the_padding_alone(fill: Literal["zero", "mean"]) -> None:
    values, lengths = torch.rand(40, 30, 6) + 1, torch.arange(40) % 31
    found = spec_augment(values, lengths, keys_of(40), 1, 6, 3, 1.0, fill=fill)
    changed = (found != values).any(-1)
    inside = torch.arange(30) < lengths[:, None]
    assert not bool((changed & ~inside).any())
    assert bool(changed[lengths > 5].any(1).float().mean() > 0.9)


def test_gains_are_uniform_in_decibels() -> None:
    found = 20 * torch.log10(change_gain(torch.ones(3000, 1).double(), keys_of(3000), 9.0))
    kolmogorov(found, lambda decibels: (decibels + 9) / 18)


def test_signal_to_noise_ratios_are_uniform_in_decibels() -> None:
    samples, lengths = 0.1 * torch.randn(2000, 64), torch.full((2000,), 64)
    noise = add_noise(samples, lengths, keys_of(2000), (-5.0, 20.0), [torch.randn(50)]) - samples
    found = 10 * torch.log10(samples.square().mean(1) / noise.square().mean(1))
    kolmogorov(found, lambda decibels: (decibels + 5) / 25)


def test_recordings_and_their_starts_are_equally_likely() -> None:
    bank = [torch.arange(1.0, 6), torch.arange(11.0, 16)]
    samples, lengths = torch.ones(3000, 5), torch.full((3000,), 5)
    noise = add_noise(samples, lengths, keys_of(3000), (0.0, 0.0), bank) - samples
    # Five in a row have all values of a recording; the smallest tells its start.
    starts = (-noise.argmin(1)) % 5
    second = noise.amax(1) / noise.amin(1) < 2
    assert_equally_likely(second.long() * 5 + starts, 10)


def test_gain_and_noise_of_one_utterance_are_independent() -> None:
    ones, lengths, keys = torch.ones(3200, 40), torch.full((3200,), 40), keys_of(3200)
    gains = 20 * torch.log10(change_gain(ones[:, :1], keys, 4.0))[:, 0]
    noise = add_noise(ones, lengths, keys, (0.0, 8.0), [torch.arange(1.0, 30)]) - ones
    ratios = -10 * torch.log10(noise.square().mean(1))
    assert_equally_likely((gains + 4).long().clamp(0, 7) * 8 + ratios.long().clamp(0, 7), 64)
