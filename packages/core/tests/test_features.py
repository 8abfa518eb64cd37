"""Features equal the published formulas, whatever stands beside or behind an utterance."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.audio.features import features, frame_lengths, recipe, to_float
from asr_lab.audio.filterbanks import cosines, mel_filters, window
from asr_lab.audio.recipes import RECIPES, FeatureRecipe
from asr_lab.utils.errors import UnknownNameError, UserError

NAMES = sorted(RECIPES)
TOLERANCE = 1e-4
"""What the issue allows between ours in FP32 and the formulas in double precision."""
INVARIANCE = 1e-5
"""Relative difference that padding may make in FP32."""


def speech(generator: np.random.Generator, samples: int) -> np.ndarray:
    """Noise whose spectrum falls with frequency, with a swelling level, like speech's."""
    noise = generator.standard_normal(samples + 8)
    wave = np.convolve(noise, np.ones(8) / 8, "valid")[:samples]
    swelling: np.ndarray = 0.2 * wave * (1.1 + np.sin(np.arange(samples) / 3000))
    return swelling


def padded(waves: list[np.ndarray], extra: int = 0) -> tuple[Tensor, Tensor]:
    """Batch the waves, with noise instead of zeros behind their ends."""
    lengths = torch.tensor([len(wave) for wave in waves])
    samples = torch.randn(len(waves), int(lengths.max()) + extra)
    for row, wave in zip(samples, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave).float()
    return samples, lengths


# Independent of the code: loops over frames and formulas for single numbers, in double precision.


def slaney_hz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def slaney_mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def slaney_weight(hz: float, band: int, bands: int, rate: int) -> float:
    top = slaney_mel(rate / 2)
    left, centre, right = (slaney_hz(top * (band + i) / (bands + 1)) for i in range(3))
    height = min((hz - left) / (centre - left), (right - hz) / (right - centre))
    return max(0.0, height) * 2 / (right - left)


def htk_mel(hz: float) -> float:
    return 1127 * math.log(1 + hz / 700)


def htk_weight(hz: float, band: int, bands: int, rate: int) -> float:
    low, high = htk_mel(20.0), htk_mel(rate / 2)
    left, centre, right = (low + (high - low) * (band + i) / (bands + 1) for i in range(3))
    mel = htk_mel(hz)
    return max(0.0, min((mel - left) / (centre - left), (right - mel) / (right - centre)))


def weights(slaney: bool, n_fft: int, bands: int, rate: int) -> np.ndarray:
    weight = slaney_weight if slaney else htk_weight
    table = [
        [weight(k * rate / n_fft, band, bands, rate) for band in range(bands)]
        for k in range(n_fft // 2 + 1)
    ]
    return np.array(table)


def nemo_plain_reference(wave: np.ndarray, mels: int, rate: int) -> np.ndarray:
    width, hop = rate // 40, rate // 100
    n_fft = 2 ** math.ceil(math.log2(width))
    wave = np.concatenate([wave[:1], wave[1:] - 0.97 * wave[:-1]])
    wave = np.pad(wave, n_fft // 2)
    shape = np.pad(np.hanning(width), (n_fft - width) // 2)
    count = (len(wave) - n_fft) // hop
    rows = [np.abs(np.fft.rfft(wave[t * hop :][:n_fft] * shape)) ** 2 for t in range(count)]
    found: np.ndarray = np.log(np.array(rows) @ weights(True, n_fft, mels, rate) + 2.0**-24)
    return found


def nemo_reference(wave: np.ndarray, mels: int, rate: int) -> np.ndarray:
    found = nemo_plain_reference(wave, mels, rate)
    normal: np.ndarray = (found - found.mean(0)) / (found.std(0, ddof=1) + 1e-5)
    return normal


def whisper_reference(wave: np.ndarray, mels: int, rate: int) -> np.ndarray:
    n_fft, hop = rate // 40, rate // 100
    shape = np.hanning(n_fft + 1)[:-1]
    count = len(wave) // hop
    wave = np.pad(wave, n_fft // 2, mode="reflect")
    rows = [np.abs(np.fft.rfft(wave[t * hop :][:n_fft] * shape)) ** 2 for t in range(count)]
    found = np.log10(np.maximum(np.array(rows) @ weights(True, n_fft, mels, rate), 1e-10))
    scaled: np.ndarray = (np.maximum(found, found.max() - 8) + 4) / 4
    return scaled


def kaldi_reference(wave: np.ndarray, bands: int, rate: int) -> np.ndarray:
    width, hop = rate // 40, rate // 100
    n_fft = 2 ** math.ceil(math.log2(width))
    count = (len(wave) + hop // 2) // hop
    wave = np.pad(wave, width, mode="symmetric")[width - (width // 2 - hop // 2) :]
    rows = []
    for t in range(count):
        frame = wave[t * hop :][:width]
        frame = frame - frame.mean()
        frame = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
        rows.append(np.abs(np.fft.rfft(frame * np.hanning(width) ** 0.85, n_fft)) ** 2)
    energy = np.array(rows) @ weights(False, n_fft, bands, rate)
    found: np.ndarray = np.log(np.maximum(energy, np.finfo(np.float32).eps))
    return found


def mfcc_reference(wave: np.ndarray, mels: int, rate: int) -> np.ndarray:
    bands = max(mels, 23)
    logarithms = kaldi_reference(wave, bands, rate)
    columns = []
    for i in range(mels):
        basis = np.cos(np.pi * i * (np.arange(bands) + 0.5) / bands)
        scale = math.sqrt((1 if i == 0 else 2) / bands) * (1 + 11 * math.sin(math.pi * i / 22))
        columns.append(logarithms @ basis * scale)
    return np.stack(columns, 1)


REFERENCES = {
    "nemo": nemo_reference,
    "nemo_plain": nemo_plain_reference,
    "whisper": whisper_reference,
    "kaldi": kaldi_reference,
    "mfcc": mfcc_reference,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("mels", "rate"), [(80, 16000), (13, 8000), (40, 16000)])
def test_features_equal_the_published_formula(name: str, mels: int, rate: int) -> None:
    generator = np.random.default_rng(mels)
    waves = [speech(generator, n) for n in (rate, 3 * rate // 4 + 37, rate // 20 + 1, rate // 2)]
    waves[1][: rate // 2] *= 1e-5  # so much quieter that Whisper's range of 80 dB cuts it off
    samples, lengths = padded(waves)
    found, frames = features(recipe(name, mels, rate), samples, lengths)
    for row, count, wave in zip(found, frames.tolist(), waves, strict=True):
        expected = REFERENCES[name](wave.astype(np.float32).astype(float), mels, rate)
        assert expected.shape == (count, mels)
        # Liftering multiplies the largest cepstra by 12, and their rounding with them.
        scale = 12 if name == "mfcc" else 1
        assert np.abs(row[:count].numpy() - expected).max() < TOLERANCE * scale
        assert not row[count:].any()


@pytest.mark.parametrize("scale", [1.0, 32768.0])
def test_kaldi_features_equal_torchaudio(scale: float) -> None:
    from torchaudio.compliance import kaldi

    wave = torch.from_numpy(speech(np.random.default_rng(1), 9876)).float()[None]
    lengths = torch.tensor([9876])
    found, _ = features(replace(recipe("kaldi", 80, 16000), scale=scale), wave, lengths)
    expected = kaldi.fbank(wave * scale, num_mel_bins=80, snip_edges=False)
    assert torch.allclose(found[0], expected, atol=TOLERANCE)
    found, _ = features(replace(recipe("mfcc", 13, 16000), scale=scale), wave, lengths)
    expected = kaldi.mfcc(wave * scale, snip_edges=False)
    assert torch.allclose(found[0], expected, atol=12 * TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.lists(st.integers(1, 4000), min_size=1, max_size=4),
    st.integers(0, 1000),
    st.integers(0, 2**31),
)
def test_padding_and_batch_mates_change_nothing(
    name: str, counts: list[int], extra: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    waves = [speech(generator, count) for count in counts]
    rules = recipe(name, 23, 16000)
    together, frames = features(rules, *padded(waves, extra))
    for row, count, wave in zip(together, frames.tolist(), waves, strict=True):
        alone, _ = features(rules, torch.from_numpy(wave).float()[None], torch.tensor([len(wave)]))
        assert count == rules.frames(len(wave)) == alone.shape[1]
        limit = INVARIANCE * max(1.0, float(alone.abs().max()) if count else 0.0)
        assert torch.allclose(row[:count], alone[0], atol=limit, rtol=0)
        assert not row[count:].any()
        assert bool(torch.isfinite(row).all())


@pytest.mark.parametrize("name", NAMES)
def test_silence_gives_finite_features_of_no_size(name: str) -> None:
    samples = torch.zeros(2, 80000)
    samples[1] = 0.25
    found, _ = features(recipe(name, 80, 16000), samples, torch.tensor([80000, 2000]))
    assert bool(torch.isfinite(found).all())
    if name == "nemo":
        assert not found[0].any()


def test_a_burst_at_the_very_end_sets_no_floor_from_frames_that_are_padding() -> None:
    rules, wave = recipe("whisper", 80, 16000), 1e-6 * torch.randn(1, 3200)
    wave[0, -20:] = 0.5
    alone, _ = features(rules, wave, torch.tensor([3200]))
    longer = torch.nn.functional.pad(wave, (0, 900))
    beside, _ = features(rules, longer, torch.tensor([3200]))
    assert torch.allclose(beside[:, :20], alone, atol=INVARIANCE)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_fp32_also_inside_autocast(name: str) -> None:
    samples, lengths = padded([speech(np.random.default_rng(2), 3000)])
    rules = recipe(name, 40, 16000)
    expected, _ = features(rules, samples, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = features(rules, samples, lengths)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_features_leave_the_audio_alone_and_repeat(name: str) -> None:
    samples, lengths = padded([speech(np.random.default_rng(3), 2000)], extra=50)
    before = samples.clone()
    first, _ = features(recipe(name, 40, 16000), samples, lengths)
    with torch.inference_mode():
        second, _ = features(recipe(name, 40, 16000), samples, lengths.int())
    assert torch.equal(samples, before)
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_and_empty_audio_have_no_frames(name: str) -> None:
    rules = recipe(name, 40, 16000)
    found, frames = features(rules, torch.zeros(0, 800), torch.zeros(0, dtype=torch.int64))
    assert found.shape == (0, rules.frames(800), 40)
    found, frames = features(rules, torch.ones(2, 60), torch.tensor([60, 0]))
    assert found.shape == (2, 0, 40)
    found, frames = features(rules, torch.ones(2, 800), torch.tensor([800, 0]))
    assert frames.tolist() == [5, 0]
    assert not found[1].any()
    assert bool(torch.isfinite(found).all())


@settings(deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 10**7), st.sampled_from([8000, 16000, 44100]))
def test_lengths_on_the_device_are_those_of_the_plan(name: str, samples: int, rate: int) -> None:
    rules = recipe(name, 40, rate)
    assert frame_lengths(rules, torch.tensor([samples])).tolist() == [rules.frames(samples)]


def test_a_second_has_a_hundred_frames() -> None:
    assert [recipe(name, 80, 16000).frames(16000) for name in NAMES] == [100] * len(NAMES)
    assert [recipe(name, 80, 8000).frames(8000) for name in NAMES] == [100] * len(NAMES)


@pytest.mark.parametrize("rules", [recipe("whisper", 80, 16000), recipe("kaldi", 80, 16000)])
def test_every_band_hears_something(rules: FeatureRecipe) -> None:
    filters = mel_filters(rules)
    assert filters.shape == (rules.n_fft // 2 + 1, 80)
    assert bool((filters.sum(0) > 0).all())
    assert window(rules).shape == (400,)


def test_cepstra_without_liftering_are_an_orthonormal_transform() -> None:
    rules = recipe("mfcc", 40, 16000)
    lifter = 1 + 11 * np.sin(np.pi * np.arange(40) / 22)
    basis = cosines(rules) / lifter
    assert np.allclose(basis.T @ basis, np.eye(40), atol=1e-9)


def test_sixteen_bit_samples_become_fractions_of_full_scale() -> None:
    samples = torch.tensor([[-32768, 0, 16384]], dtype=torch.int16)
    assert to_float(samples).tolist() == [[-1.0, 0.0, 0.5]]


def test_an_unknown_recipe_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match=r"no feature recipe 'wisper'; did you mean whisper"):
        recipe("wisper", 80, 16000)


@pytest.mark.parametrize(("name", "mels"), [("nemo", 0), ("whisper", 201), ("mfcc", 0)])
def test_a_number_of_bands_that_cannot_be_is_refused(name: str, mels: int) -> None:
    with pytest.raises(UserError, match="mels must be from"):
        recipe(name, mels, 16000)


def test_a_sample_rate_that_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="sample-rate must be 1000 or more; got 16"):
        recipe("nemo", 80, 16)
