"""Features of sounds whose features are known beforehand: tones, steps, gains, shifts, silence."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.audio.features import features, recipe
from asr_lab.audio.filterbanks import mel_filters, window
from asr_lab.audio.recipes import RECIPES, FeatureRecipe

NAMES = sorted(RECIPES)
LOG_MEL = ["kaldi", "nemo", "whisper"]
RATE = 16000
ROUNDING = 1e-4
"""Logarithms of up to 20 in FP32, whose energies carry some dozens of roundings of 6e-8."""


def plain(name: str, mels: int = 23) -> FeatureRecipe:
    """Return a recipe without normalisation: what one frame says depends on that frame alone."""
    return replace(recipe(name, mels, RATE), normalisation="none")


def of(rules: FeatureRecipe, wave: Tensor) -> Tensor:
    """Return the features of one utterance."""
    return features(rules, wave[None], torch.tensor([len(wave)]))[0][0]


def noise(samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, samples: int = 4000) -> Tensor:
    time = torch.arange(samples, dtype=torch.float64) / RATE
    return (0.5 * torch.sin(2 * math.pi * hertz * time)).float()


# Tones, impulses, shifts


@pytest.mark.parametrize("name", LOG_MEL)
def test_a_tone_is_loudest_in_the_band_that_weighs_its_frequency_most(name: str) -> None:
    rules = plain(name)
    filters = mel_filters(rules)
    # The lowest bands are narrower than the spectrum of the window and share every tone.
    for band in range(4, 23):
        peak = int(filters[:, band].argmax())
        middle = of(rules, tone(peak * RATE / rules.n_fft))[3:-3]
        assert middle.argmax(-1).tolist() == [band] * len(middle)


@pytest.mark.parametrize("name", LOG_MEL)
def test_a_tone_leaves_bands_an_octave_away_sixty_decibels_below(name: str) -> None:
    rules = plain(name, 40)
    centres = mel_filters(rules).argmax(0) * RATE / rules.n_fft
    middle = of(rules, tone(2000.0))[3:-3].double()
    decade = 1.0 if rules.log == "log10" else math.log(10)
    far = torch.from_numpy((centres < 1000) | (centres > 4000))
    # 1000 Hz away, without a window, a tone would still leak 1 / (25 pi) of its size: -38 dB.
    assert float((middle.amax(-1) - middle[:, far].amax(-1)).min()) > 6 * decade


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sample", [2400, 2447, 2559])
def test_a_changed_sample_changes_the_frames_whose_window_covers_it(name: str, sample: int) -> None:
    rules, wave = plain(name), noise(4800)
    changed = wave.clone()
    changed[sample] += 0.5
    differs = (of(rules, wave) != of(rules, changed)).any(-1)
    starts = rules.first_sample + torch.arange(len(differs)) * rules.hop_length
    # Pre-emphasis over the whole audio carries the change into the sample behind it.
    last = sample + (1 if rules.preemphasis and not rules.frame_preemphasis else 0)
    covers = (starts <= last) & (sample < starts + rules.window_length)
    # Windows are 0 or nearly so at their very ends.
    deep = (starts + 8 <= sample) & (sample < starts + rules.window_length - 8)
    assert not bool((differs & ~covers).any())
    assert bool(differs[deep].all())
    assert int(deep.sum()) >= 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hops", [1, 7])
def test_audio_that_starts_some_hops_later_has_its_frames_so_many_places_earlier(
    name: str, hops: int
) -> None:
    rules, wave = plain(name), noise(8000)
    whole, later = of(rules, wave), of(rules, wave[hops * rules.hop_length :])
    # Two frames at either edge see what lies outside of the audio.
    inner = later[2:-3]
    assert torch.allclose(inner, whole[hops + 2 : hops + 2 + len(inner)], atol=12 * ROUNDING)
    assert not torch.allclose(inner, whole[hops + 1 : hops + 1 + len(inner)], atol=0.1)


# Levels


@pytest.mark.parametrize("name", LOG_MEL)
@pytest.mark.parametrize("gain", [0.25, 8.0])
def test_a_gain_adds_its_logarithm_to_every_band(name: str, gain: float) -> None:
    # A larger scale keeps the energies so far above the floor that it adds less than a rounding.
    rules, wave = replace(plain(name), scale=1000.0), noise(6000)
    log = math.log10 if rules.log == "log10" else math.log
    moved = of(rules, wave * gain) - of(rules, wave)
    assert torch.allclose(moved, torch.full_like(moved, 2 * log(gain)), atol=ROUNDING)


def test_a_gain_moves_the_first_cepstrum_alone() -> None:
    rules, wave = replace(recipe("mfcc", 13, RATE), scale=1000.0), noise(6000)
    moved = of(rules, 4 * wave) - of(rules, wave)
    expected = 2 * math.log(4) * math.sqrt(rules.bands)
    assert torch.allclose(moved[:, 0], torch.tensor(expected), atol=ROUNDING)
    assert float(moved[:, 1:].abs().max()) < 12 * ROUNDING


def test_normalised_features_of_nemo_do_not_hear_a_gain() -> None:
    rules, wave = replace(recipe("nemo", 40, RATE), scale=1000.0), noise(6000)
    assert torch.allclose(of(rules, 4 * wave), of(rules, wave), atol=10 * ROUNDING)


@pytest.mark.parametrize("name", NAMES)
def test_polarity_makes_no_difference_in_any_bit(name: str) -> None:
    rules, wave = recipe(name, 40, RATE), noise(3000)
    assert torch.equal(of(rules, -wave), of(rules, wave))


@pytest.mark.parametrize("name", ["kaldi", "mfcc"])
def test_kaldi_does_not_hear_a_constant(name: str) -> None:
    rules, wave = replace(recipe(name, 23, RATE), scale=1000.0), noise(4000)
    # The constant's own rounding: 24 bits of 0.5 beside a signal of 0.1.
    assert torch.allclose(of(rules, wave + 0.5), of(rules, wave), atol=5e-3)
    assert not torch.allclose(of(plain("whisper"), wave + 0.5), of(plain("whisper"), wave), atol=1)


@pytest.mark.parametrize("name", LOG_MEL)
def test_clipping_a_tone_adds_its_third_harmonic(name: str) -> None:
    rules = plain(name)
    third = int(mel_filters(rules)[round(3 * 1000 * rules.n_fft / RATE)].argmax())
    clean, clipped = tone(1000.0), (4 * tone(1000.0)).clamp(-0.5, 0.5)
    rise = (of(rules, clipped) - of(rules, clean))[3:-3, third]
    # A square wave's third harmonic stands 9.5 dB below the tone; the clean one's window, 31.
    assert float(rise.min()) > (1.0 if rules.log == "log10" else math.log(10))


# Normalisation


@settings(max_examples=20)
@given(st.integers(800, 8000), st.integers(0, 2**31), st.floats(1e-4, 1.0))
def test_whisper_spans_eight_decades_of_energy_at_most(
    samples: int, seed: int, level: float
) -> None:
    wave = noise(samples, seed) * level
    wave[: samples // 2] = 0
    found = of(recipe("whisper", 20, RATE), wave)
    assert float(found.max() - found.min()) <= 8 / 4 + 1e-6
    assert float(found.min()) < float(found.max())


@settings(max_examples=20)
@given(st.integers(800, 8000), st.integers(0, 2**31))
def test_every_feature_of_nemo_has_mean_zero_and_variance_one(samples: int, seed: int) -> None:
    found = of(recipe("nemo", 20, RATE), noise(samples, seed)).double()
    assert float(found.mean(0).abs().max()) < ROUNDING
    assert torch.allclose(found.var(0), torch.ones(20).double(), atol=1e-3)


# Windows and filters


@pytest.mark.parametrize("length", [200, 400, 1102])
def test_a_periodic_hann_window_overlaps_itself_to_a_constant(length: int) -> None:
    shape = window(replace(recipe("whisper", 40, RATE), window_length=length))
    assert np.allclose(shape[: length // 2] + shape[length // 2 :], 1)
    assert shape.sum() == pytest.approx(length / 2)
    assert (shape**2).sum() == pytest.approx(3 * length / 8)


@pytest.mark.parametrize("name", ["nemo", "kaldi"])
def test_a_symmetric_window_starts_and_ends_at_zero_and_reads_backwards(name: str) -> None:
    shape = window(recipe(name, 40, RATE))
    assert shape[0] == shape[-1] == 0
    assert np.allclose(shape, shape[::-1])
    assert shape.max() == pytest.approx(1, abs=1e-4)
    if name == "nemo":
        assert shape.sum() == pytest.approx((len(shape) - 1) / 2)


def test_triangles_of_the_htk_scale_share_every_frequency_out() -> None:
    rules = recipe("kaldi", 40, RATE)
    filters = mel_filters(rules)
    # Below the first centre and above the last, a single triangle falls off.
    first, last = int(filters[:, 0].argmax()) + 1, int(filters[:, -1].argmax())
    assert np.allclose(filters[first:last].sum(1), 1)
    assert (filters[first:last] > 0).sum(1).max() == 2
    assert not filters[0].any()


@pytest.mark.parametrize(("rate", "bands"), [(16000, 10), (8000, 8), (44100, 20)])
def test_slaneys_filters_have_an_area_of_one(rate: int, bands: int) -> None:
    rules = recipe("whisper", bands, rate)
    filters, spacing = mel_filters(rules), rate / rules.n_fft
    for weights in filters.T:
        # Summing a triangle at n points a side misses its area by at most 1 / (2 n^2).
        side = max(1, int((weights > 0).sum()) // 2 - 1)
        assert weights.sum() * spacing == pytest.approx(1, abs=1 / side**2)


@pytest.mark.parametrize("name", ["kaldi", "whisper"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_bands_are_in_order_and_grow_wider_with_frequency(name: str, rate: int) -> None:
    filters = mel_filters(recipe(name, 20, rate))
    assert (np.diff(filters.argmax(0)) > 0).all()
    widths = (filters > 0).sum(0)
    assert widths[-1] > 2 * widths[0]
    assert (filters >= 0).all()


@pytest.mark.parametrize("name", ["kaldi", "whisper"])
def test_bands_reach_from_the_lowest_frequency_to_half_the_rate(name: str) -> None:
    rules = recipe(name, 20, RATE)
    heard = mel_filters(rules).sum(1) > 0
    first = int(rules.low_frequency * rules.n_fft / RATE) + 1
    assert not heard[:first].any()
    assert heard[first:-1].all()
