"""Levels of audio: silence, pauses, clipping and bandwidth are what was made."""

from dataclasses import asdict

import numpy as np
import pytest
from jaxtyping import Float32

from asr_lab.audio.levels import FLOOR, LevelMeter, Levels, levels_of
from asr_lab.testing.speech import tone_speech

RATE = 16000
FRAME = 0.02
EDGE = 0.05
"""Noise at the ends of the sentence, which is sound beside silence and none beside noise."""
SENTENCE = tone_speech("a cab fed dad", 3).astype(np.float32) / 32768


def measured(
    samples: Float32[np.ndarray, " samples"], rate: int = RATE, block: int = 10**9
) -> Levels:
    meter = LevelMeter(rate, spectrum=True)
    for start in range(0, len(samples), block):
        meter.add(samples[start : start + block].astype(np.float32))
    return meter.levels()


def noise(seconds: float, decibels: float) -> Float32[np.ndarray, " samples"]:
    drawn = np.random.default_rng(0).normal(0, 10 ** (decibels / 20), round(seconds * RATE))
    return drawn.astype(np.float32)


@pytest.mark.parametrize("block", [1, 319, 320, 1000, 16000])
def test_blocks_of_any_length_give_the_same_levels(block: int) -> None:
    samples = SENTENCE[:4000] if block == 1 else SENTENCE
    found, expected = (asdict(measured(samples, block=size)) for size in (block, 10**9))
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_sine_has_the_level_that_it_was_made_with() -> None:
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    found = measured(sine.astype(np.float32))
    assert found.peak == pytest.approx(20 * np.log10(0.5), abs=0.01)
    assert found.loudest == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.01)
    assert found.contrast == pytest.approx(0, abs=0.01) and not found.silent


@pytest.mark.parametrize("samples", [np.zeros(RATE), np.zeros(7), noise(1, -75)])
def test_silence_is_silent_from_end_to_end(samples: Float32[np.ndarray, " samples"]) -> None:
    found = measured(samples.astype(np.float32))
    assert found.silent and found.trailing == 0.0 and found.clipped == 0.0
    assert found.leading == pytest.approx(len(samples) / RATE)


def test_no_samples_are_silence() -> None:
    found = measured(np.zeros(0, np.float32))
    assert (found.loudest, found.leading, found.trailing) == (FLOOR, 0.0, 0.0)


@pytest.mark.parametrize("level", [-200, -70, -50])
def test_pauses_are_measured_in_silence_and_in_noise(level: float) -> None:
    own = measured(SENTENCE)
    parts = [noise(1.5, level), SENTENCE, noise(0.7, level)]
    found = measured(np.concatenate(parts))
    assert found.leading == pytest.approx(1.5 + own.leading, abs=EDGE + 2 * FRAME)
    assert found.trailing == pytest.approx(0.7 + own.trailing, abs=EDGE + 2 * FRAME)


def test_a_click_is_no_sound() -> None:
    click = np.zeros(RATE, np.float32)
    click[100] = 0.5
    found = measured(np.concatenate([click, SENTENCE]))
    assert found.leading == pytest.approx(1.0 + measured(SENTENCE).leading, abs=EDGE + 2 * FRAME)


def test_samples_at_a_flat_peak_are_counted_wherever_the_peak_is() -> None:
    loud = np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    for peak in (1.0, 0.3):
        cut = np.clip(2 * loud, -1, 1) * peak
        share = float((np.abs(2 * loud) >= 1).mean())
        assert measured(cut.astype(np.float32)).clipped == pytest.approx(share, abs=0.01)
        assert measured((loud * peak).astype(np.float32)).clipped == 0.0


def test_both_ends_of_16_bits_are_cut_off() -> None:
    loud = 3 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    whole = np.clip(np.rint(loud * 32768), -32768, 32767).astype(np.int16)
    assert levels_of(whole, RATE).clipped == pytest.approx(
        float((np.abs(loud) >= 1).mean()), abs=0.01
    )


def test_unequal_blocks_forget_flat_tops_below_a_later_peak() -> None:
    low = np.full(RATE, 0.2, np.float32)
    high = 0.9 * np.sin(np.arange(RATE)).astype(np.float32)
    assert measured(np.concatenate([low, high]), block=RATE).clipped == 0.0


@pytest.mark.parametrize("top", [1000, 3900, 7900])
def test_the_bandwidth_is_where_the_sound_ends(top: int) -> None:
    spectrum = np.fft.rfft(noise(1, -20))
    spectrum[top:] = 0
    found = measured(np.fft.irfft(spectrum).astype(np.float32)).bandwidth
    assert top - 100 <= found <= top + 250
