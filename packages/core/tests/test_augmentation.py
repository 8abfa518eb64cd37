"""Augmentation is drawn from an utterance's key alone, and does what its numbers say."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.audio.augmentation import (
    Recordings,
    add_noise,
    change_gain,
    change_speed,
    reverberate,
    spec_augment,
)
from asr_lab.audio.exact import transform_length
from asr_lab.reproducibility.seeding import utterance_keys
from asr_lab.utils.errors import UserError

CLOSE = 2e-6
"""Absolute difference of samples of size 1 that transforms of other lengths may make in FP32."""

Change = Callable[[Tensor, Tensor, Tensor], Tensor]


def keys_of(count: int, epoch: int = 0) -> Tensor:
    return utterance_keys(11, epoch, [f"u{i}" for i in range(count)])


def audio(counts: list[int], extra: int = 0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Quiet noise of ragged lengths, with loud noise behind them."""
    maker = torch.Generator().manual_seed(seed)
    samples = torch.randn(len(counts), max(counts) + extra, generator=maker)
    for row, count in zip(samples, counts, strict=True):
        row[:count] *= 0.1
    return samples, torch.tensor(counts)


def rooms() -> Recordings:
    maker = torch.Generator().manual_seed(4)
    taps = [700, 200, 1]
    return Recordings.of(
        [torch.randn(n, generator=maker) * torch.exp(-torch.arange(n) / 90) for n in taps]
    )


def recordings() -> Recordings:
    maker = torch.Generator().manual_seed(5)
    return Recordings.of([torch.randn(n, generator=maker) for n in (900, 50, 400)])


def with_speeds(samples: Tensor, lengths: Tensor, keys: Tensor) -> Tensor:
    speeds = torch.tensor([(0.9, 1.0, 1.1)[int(key) % 3] for key in keys])
    return change_speed(samples, lengths, speeds)[0]


CHANGES: dict[str, Change] = {
    "gain": lambda samples, lengths, keys: change_gain(samples, keys, 12.0),
    "noise": lambda samples, lengths, keys: add_noise(samples, lengths, keys, (0.0, 20.0)),
    "recorded noise": lambda samples, lengths, keys: add_noise(
        samples, lengths, keys, (0.0, 20.0), recordings()
    ),
    "reverberation": lambda samples, lengths, keys: reverberate(samples, lengths, keys, rooms()),
    "speed": with_speeds,
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_key_gives_the_same_change_beside_any_batch_mates(name: str) -> None:
    change, counts = CHANGES[name], [900, 1700, 333, 1200]
    samples, lengths = audio(counts, extra=77)
    keys = keys_of(4)
    together = change(samples, lengths, keys)
    backwards = change(samples.flip(0), lengths.flip(0), keys.flip(0)).flip(0)
    for i, count in enumerate(counts):
        alone = change(samples[i : i + 1, :count], lengths[i : i + 1], keys[i : i + 1])[0]
        kept = min(count, len(alone)) if name != "speed" else len(alone)
        assert torch.allclose(together[i, :kept], alone[:kept], atol=CLOSE)
        assert torch.allclose(backwards[i, :kept], alone[:kept], atol=CLOSE)


@pytest.mark.parametrize("name", sorted(set(CHANGES) - {"speed"}))
def test_another_key_gives_another_change_and_the_input_stays(name: str) -> None:
    samples, lengths = audio([1000, 1000])
    samples[1] = samples[0]
    before = samples.clone()
    found = CHANGES[name](samples, lengths, keys_of(2))
    # Two keys may choose the same room; of five epochs not all do.
    others = [CHANGES[name](samples, lengths, keys_of(2, epoch)) for epoch in range(1, 6)]
    assert any(not torch.allclose(found, other, atol=1e-4) for other in others)
    assert torch.equal(samples, before)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 20),
    st.integers(0, 3),
    st.floats(0, 1),
    st.integers(0, 1000),
)
def test_masks_are_no_wider_and_no_more_than_asked_for(
    counts: list[int], bands: int, width: int, times: int, share: float, epoch: int
) -> None:
    lengths = torch.tensor(counts)
    ones = torch.ones(len(counts), max(counts) + 3, 12)
    found = spec_augment(ones, lengths, keys_of(len(counts), epoch), bands, width, times, share)
    for row, count in zip(found, counts, strict=True):
        assert bool((row[count:] == 1).all())
        inside = row[:count] == 0
        if not count:
            continue
        whole_bands, whole_times = inside.all(0), inside.all(1)
        assert int(whole_bands.sum()) <= bands * width or int(whole_times.sum()) == count
        assert int(whole_times.sum()) <= times * int(share * count) or bool(whole_bands.all())
        assert bool((inside == (whole_bands[None] | whole_times[:, None])).all())


def test_masks_reach_every_place_and_every_width() -> None:
    ones = torch.ones(800, 20, 10)
    lengths = torch.full((800,), 20)
    found = spec_augment(ones, lengths, keys_of(800), 1, 4, 0, 0.0)[:, 0] == 0
    assert set(found.sum(1).tolist()) == {0, 1, 2, 3, 4}
    assert bool(found.any(0).all())
    found = spec_augment(ones, lengths, keys_of(800), 0, 0, 1, 0.25)[:, :, 0] == 0
    assert set(found.sum(1).tolist()) == {0, 1, 2, 3, 4, 5}
    assert bool(found.any(0).all())


def test_masks_do_not_depend_on_padding_or_place_in_the_batch() -> None:
    values = torch.randn(3, 50, 8)
    lengths, keys = torch.tensor([50, 20, 33]), keys_of(3)
    together = spec_augment(values, lengths, keys, 2, 3, 2, 0.3)
    for i, count in enumerate(lengths.tolist()):
        alone = spec_augment(
            values[i : i + 1, :count], lengths[i : i + 1], keys[i : i + 1], 2, 3, 2, 0.3
        )
        assert torch.equal(together[i, :count], alone[0])


def test_masks_can_be_filled_with_the_mean_of_the_utterance() -> None:
    values = torch.rand(2, 40, 8)
    values[1, 30:] = 1e6
    lengths, keys = torch.tensor([40, 30]), keys_of(2)
    covered = spec_augment(values, lengths, keys, 2, 3, 2, 0.3) == 0
    found = spec_augment(values, lengths, keys, 2, 3, 2, 0.3, fill="mean")
    for i, count in enumerate(lengths.tolist()):
        assert bool(covered[i].any())
        mean = values[i, :count].mean()
        assert torch.allclose(found[i][covered[i]], mean, atol=1e-6)
        assert torch.equal(found[i][~covered[i]], values[i][~covered[i]])


@pytest.mark.parametrize(("width", "share"), [(-1, 0.1), (3, 1.5), (3, -0.1)])
def test_masks_that_cannot_be_are_refused(width: int, share: float) -> None:
    with pytest.raises(UserError, match="freq-width must be 0 or more and time-width"):
        spec_augment(
            torch.ones(1, 5, 5), torch.tensor([5]), keys_of(1), 1, width, 1, time_width=share
        )


def test_gain_stays_within_its_range_and_fills_it() -> None:
    found = change_gain(torch.ones(500, 1), keys_of(500), 6.0)
    decibels = 20 * torch.log10(found)
    assert float(decibels.abs().max()) <= 6.0 + 1e-5
    assert float(decibels.min()) < -5.5 and float(decibels.max()) > 5.5
    assert torch.equal(change_gain(torch.ones(3, 4), keys_of(3), 0.0), torch.ones(3, 4))


@pytest.mark.parametrize("bank", [None, recordings()])
def test_noise_has_the_ratio_to_the_signal_that_was_asked_for(bank: Recordings | None) -> None:
    counts = [3000, 1500, 200]
    samples, lengths = audio(counts, extra=100)
    for ratio in (-5.0, 10.0):
        found = add_noise(samples, lengths, keys_of(3), (ratio, ratio), bank)
        for i, count in enumerate(counts):
            signal, noise = samples[i, :count], (found - samples)[i, :count]
            measured = 10 * torch.log10(signal.square().mean() / noise.square().mean())
            assert float(measured) == pytest.approx(ratio, abs=0.01)
            assert torch.equal(found[i, count:], samples[i, count:])


def test_ratios_fill_their_range() -> None:
    samples, lengths = audio([400] * 200)
    noise = add_noise(samples, lengths, keys_of(200), (5.0, 15.0)) - samples
    found = 10 * torch.log10(samples.square().mean(1) / noise.square().mean(1))
    assert float(found.min()) > 4.9 and float(found.max()) < 15.1
    assert float(found.min()) < 6 and float(found.max()) > 14


def test_noise_made_from_keys_ranges_from_white_to_brown() -> None:
    samples = torch.full((60, 8192), 0.1)
    lengths = torch.full((60,), 8192)
    noise = add_noise(samples, lengths, keys_of(60), (0.0, 0.0)) - samples
    power = torch.fft.rfft(noise).abs().square()
    octaves = torch.stack([power[:, 2**k : 2 ** (k + 1)].mean(1).log2() for k in range(6, 11)], 1)
    slopes = -(octaves[:, -1] - octaves[:, 0]) / 4
    assert float(slopes.min()) == pytest.approx(0, abs=0.3)
    assert float(slopes.max()) == pytest.approx(2, abs=0.3)


def test_recorded_noise_is_a_stretch_of_one_recording_repeated_if_short() -> None:
    bank = [torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.arange(10) - 20.0]
    samples, lengths = audio([23, 23, 23, 23, 23, 23])
    found = add_noise(samples, lengths, keys_of(6), (0.0, 0.0), bank)
    starts = set()
    for row in found - samples:
        period = 4 if float(row[0]) > 0 else 10
        source = bank[0] if period == 4 else bank[1]
        scale = float(row.abs().max() / source.abs().max())
        start = int((row[0] / scale - source).abs().argmin())
        starts.add((period, start))
        expected = torch.stack([source[(start + i) % period] for i in range(23)]) * scale
        assert torch.allclose(row, expected, atol=1e-5)
    assert len(starts) > 2


def test_silence_stays_silent_and_silent_noise_adds_nothing() -> None:
    silence, lengths = torch.zeros(2, 500), torch.tensor([500, 0])
    assert not add_noise(silence, lengths, keys_of(2), (0.0, 10.0)).any()
    assert not reverberate(silence, lengths, keys_of(2), rooms()).any()
    samples, lengths = audio([500, 300])
    found = add_noise(samples, lengths, keys_of(2), (0.0, 10.0), [torch.zeros(30)])
    assert torch.equal(found, samples)
    assert torch.equal(reverberate(samples, lengths, keys_of(2), [torch.zeros(30)])[0], samples[0])


def test_a_range_of_ratios_that_runs_backwards_is_refused() -> None:
    samples, lengths = audio([10])
    with pytest.raises(UserError, match=r"noise-snr must be a range from low to high; got 9"):
        add_noise(samples, lengths, keys_of(1), (9.0, 3.0))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=3), st.integers(0, 10**6))
def test_reverberation_equals_a_plain_convolution_at_the_level_before(
    counts: list[int], seed: int
) -> None:
    samples, lengths = audio(counts, extra=9, seed=seed)
    room = torch.randn(60, generator=torch.Generator().manual_seed(seed))
    direct = int(room.abs().argmax())
    found = reverberate(samples, lengths, keys_of(len(counts)), [room])
    for i, count in enumerate(counts):
        dry = samples[i, :count].double().numpy()
        wet = np.convolve(dry, room.double().numpy())[direct : direct + count]
        wet *= np.sqrt((dry**2).sum() / (wet**2).sum())
        assert np.allclose(found[i, :count].numpy(), wet, atol=1e-4 * np.abs(wet).max())
        assert not found[i, count:].any()


def test_a_response_of_one_tap_changes_nothing() -> None:
    samples, lengths = audio([300, 200])
    tap = torch.zeros(40)
    tap[13] = -0.2
    found = reverberate(samples, lengths, keys_of(2), [tap])
    assert torch.allclose(found[1, :200], -samples[1, :200], atol=CLOSE)


@pytest.mark.parametrize("given_recordings", [[], [torch.ones(3), torch.ones(0)]])
def test_recordings_without_samples_are_refused(given_recordings: list[Tensor]) -> None:
    with pytest.raises(UserError, match="recordings must hold samples"):
        Recordings.of(given_recordings)


def test_recordings_of_one_tensor_are_those_that_were_put_in() -> None:
    parts = [torch.arange(3.0), torch.arange(7.0) + 10, torch.tensor([50.0])]
    bank = Recordings.of(parts)
    order = torch.tensor([2, 0, 1, 1])
    assert len(bank) == 3
    for row, i in zip(bank.padded(order), order.tolist(), strict=True):
        assert torch.equal(row, torch.nn.functional.pad(parts[i], (0, 7 - len(parts[i]))))
    found = bank.repeated(order, torch.tensor([0, 2, 6, 0]), 5)
    assert found.tolist() == [
        [50.0] * 5,
        [2.0, 0.0, 1.0, 2.0, 0.0],
        [16.0, 10.0, 11.0, 12.0, 13.0],
        [10.0, 11.0, 12.0, 13.0, 14.0],
    ]


@given(st.integers(1, 10**7))
def test_a_transform_is_long_enough_and_not_much_longer(samples: int) -> None:
    length = transform_length(samples)
    assert samples <= length <= max(1.26 * samples, samples + 1)
    while length % 2 == 0:
        length //= 2
    assert length in (1, 3, 5, 9, 15)
