"""A change of speed moves every frequency by its factor, and adds nothing."""

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.audio.augmentation import change_speed
from asr_lab.audio.lengths import sped_up_length, speed_ratio
from asr_lab.audio.speed import CROSSINGS, EDGE, KAISER_BETA, ROLL_OFF
from asr_lab.utils.errors import UserError

RATE = 16000
SPEEDS = [0.5, 0.9, 0.95, 1.0, 1.05, 1.1, 1.37, 2.0]


def slow(wave: np.ndarray, speed: float) -> np.ndarray:
    """Windowed-sinc interpolation, one output sample at a time, in double precision."""
    ratio = float(speed_ratio(speed))
    reach = int(np.ceil(CROSSINGS * max(1.0, ratio) / ROLL_OFF))
    found = np.zeros(sped_up_length(len(wave), speed))
    for i in range(len(found)):
        near = np.arange(int(i * ratio) - reach, int(i * ratio) + reach + 1)
        distance = i * ratio - near
        share = np.clip(1 - (distance / reach) ** 2, 0, None)
        weights = np.i0(KAISER_BETA * np.sqrt(share)) * (share > EDGE)
        weights *= np.sinc(distance * ROLL_OFF / max(1.0, ratio))
        inside = (near >= 0) & (near < len(wave))
        found[i] = (weights[inside] * wave[near[inside]]).sum() / weights.sum()
    return wave if ratio == 1 else found


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 300), st.sampled_from([*SPEEDS, 0.923, 1.111])),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 99),
)
def test_equals_interpolation_one_sample_at_a_time(
    utterances: list[tuple[int, float]], extra: int
) -> None:
    counts = [count for count, _ in utterances]
    speeds = [speed for _, speed in utterances]
    samples = torch.randn(len(counts), max(counts) + extra)
    found, lengths = change_speed(samples, torch.tensor(counts), torch.tensor(speeds))
    for i, (count, speed) in enumerate(utterances):
        expected = slow(samples[i, :count].double().numpy(), speed)
        assert int(lengths[i]) == sped_up_length(count, speed) == len(expected)
        assert np.allclose(found[i, : len(expected)].numpy(), expected, atol=1e-5)
        assert not found[i, len(expected) :].any()


@pytest.mark.parametrize("speed", SPEEDS)
def test_a_tone_keeps_its_level_and_is_raised_by_the_factor(speed: float) -> None:
    frequency = 0.8 * RATE / 2 / max(speed, 1.0)
    time = torch.arange(4000, dtype=torch.float64) / RATE
    tone = torch.sin(2 * torch.pi * frequency * time).float()[None]
    found, _ = change_speed(tone, torch.tensor([4000]), torch.tensor([speed]))
    expected = np.sin(2 * np.pi * frequency * speed * np.arange(found.shape[1]) / RATE)
    inner = slice(100, -100)
    assert np.abs(found[0].numpy() - expected)[inner].max() < 1e-3


def test_what_the_rate_cannot_hold_is_removed() -> None:
    time = torch.arange(4000, dtype=torch.float64) / RATE
    tone = torch.sin(2 * torch.pi * 7600 * time).float()[None]
    found, _ = change_speed(tone, torch.tensor([4000]), torch.tensor([1.25]))
    assert float(found[0, 200:-200].abs().max()) < 1e-3


def test_speech_like_noise_comes_out_as_from_soxr() -> None:
    generator = np.random.default_rng(0)
    wave = np.convolve(generator.standard_normal(8000), np.hanning(12) / 6, "same")
    samples = torch.from_numpy(wave).float()[None]
    found, _ = change_speed(samples, torch.tensor([8000]), torch.tensor([0.9]))
    expected = soxr.resample(wave, 9, 10, quality="VHQ")[: found.shape[1]]
    difference = (found[0, : len(expected)].numpy() - expected)[200:-200]
    assert np.sqrt((difference**2).mean() / (expected**2).mean()) < 1e-3


def test_speed_one_returns_the_audio_bit_for_bit() -> None:
    samples = torch.randn(2, 50)
    found, lengths = change_speed(samples, torch.tensor([50, 20]), torch.ones(2))
    assert torch.equal(found[0], samples[0])
    assert torch.equal(found[1, :20], samples[1, :20])
    assert lengths.tolist() == [50, 20]


@settings(deadline=None)
@given(st.integers(0, 10**8), st.floats(0.1, 10))
def test_plan_and_device_agree_on_lengths(samples: int, speed: float) -> None:
    planned = sped_up_length(samples, speed)
    assert planned == sped_up_length(samples, float(speed_ratio(speed)))
    ratio = speed_ratio(speed)
    if samples > 10:
        assert abs(planned - samples / ratio) <= 0.5
    single = float(torch.tensor(round(speed, 2)))
    assert sped_up_length(samples, single) == sped_up_length(samples, round(speed, 2))


def test_empty_audio_stays_empty_and_the_shortest_stays() -> None:
    assert [sped_up_length(count, 2.0) for count in (0, 1, 2, 3)] == [0, 1, 1, 2]
    found, lengths = change_speed(
        torch.ones(3, 3), torch.tensor([0, 1, 3]), torch.tensor([2.0, 2.0, 2.0])
    )
    assert lengths.tolist() == [0, 1, 2]
    assert not found[0].any()
    found, lengths = change_speed(
        torch.zeros(0, 9), torch.zeros(0, dtype=torch.int64), torch.zeros(0)
    )
    assert found.shape == (0, 0)


@pytest.mark.parametrize("speed", [0.0, -1.0, 0.01, 20.0, float("nan")])
def test_a_speed_that_cannot_be_is_refused(speed: float) -> None:
    with pytest.raises(UserError, match=r"speeds must be from 0\.1 to 10; got"):
        sped_up_length(100, speed)
