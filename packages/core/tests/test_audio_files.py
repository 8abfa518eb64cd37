"""Audio of any format is read alike, and audio that cannot be used is named in one line."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.audio.files import AudioError, audio_duration, read_audio
from asr_lab.audio.lengths import resampled_length
from asr_lab.data.utterance import AudioSource

RATE = 16000
LOSSY = 0.05
"""Root of the mean squared error of Opus, Vorbis and MP3, as a fraction of the signal's."""


@dataclass(frozen=True)
class Form:
    """How a test file is encoded, and how much of the signal that may cost."""

    suffix: str
    format: str
    subtype: str
    loss: float


FORMS = [
    Form("wav", "WAV", "PCM_16", 2e-4),
    Form("wav", "WAV", "PCM_24", 2e-4),
    Form("wav", "WAV", "FLOAT", 2e-4),
    Form("flac", "FLAC", "PCM_16", 2e-4),
    Form("flac", "FLAC", "PCM_24", 2e-4),
    Form("ogg", "OGG", "VORBIS", LOSSY),
    Form("opus", "OGG", "OPUS", LOSSY),
    Form("mp3", "MP3", "MPEG_LAYER_III", LOSSY),
]


def tone(seconds: float, rate: int, frequency: float = 440.0) -> np.ndarray:
    """A sine that swells, so that a shift in time shows."""
    time = np.arange(round(seconds * rate)) / rate
    wave: np.ndarray = 0.5 * np.sin(2 * np.pi * frequency * time) * (0.2 + 0.8 * time / seconds)
    return wave


def encoded(folder: Path, form: Form, samples: np.ndarray, rate: int = RATE) -> str:
    path = folder / f"a.{form.suffix}"
    soundfile.write(path, samples, rate, format=form.format, subtype=form.subtype)
    return str(path)


def read(path: str | Path, rate: int = RATE, **part: float) -> np.ndarray:
    found: np.ndarray = read_audio(AudioSource(path=str(path), **part), rate)  # type: ignore[arg-type]
    return found


def loss(found: np.ndarray, expected: np.ndarray) -> float:
    """Root of the mean squared error as a fraction of the signal's, away from the ends."""
    assert len(found) == len(expected)
    inner = slice(len(expected) // 20, -len(expected) // 20)
    difference = found[inner] / 32768 - expected[inner]
    return float(np.sqrt((difference**2).mean() / (expected[inner] ** 2).mean()))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.suffix}-{form.subtype}")
def test_every_format_gives_the_signal_at_its_time(form: Form, tmp_path: Path) -> None:
    path = encoded(tmp_path, form, tone(1.0, RATE))
    found = read(path)
    assert found.dtype == np.int16
    assert loss(found, tone(1.0, RATE)) < form.loss
    assert audio_duration(path) == pytest.approx(1.0)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
def test_other_rates_and_channels_become_mono_at_the_wanted_rate(rate: int, tmp_path: Path) -> None:
    wave = tone(0.4, rate)
    stereo = np.stack([wave * 1.5, wave * 0.5], 1)
    path = encoded(tmp_path, FORMS[1], stereo, rate)
    assert loss(read(path), tone(0.4, RATE)) < 1e-3


def test_resampling_removes_what_the_new_rate_cannot_hold(tmp_path: Path) -> None:
    path = encoded(tmp_path, FORMS[1], tone(0.5, 48000, 12000.0), 48000)
    assert np.abs(read(path)[800:-800]).max() <= 2


def test_sixteen_bit_audio_comes_out_bit_for_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 4000).astype(np.int16)
    for form in (FORMS[0], FORMS[3]):
        path = encoded(tmp_path, form, samples)
        assert np.array_equal(read(path), samples)
        part = read(path, start=0.1, duration=0.05)
        assert np.array_equal(part, samples[1600:2400])


def test_samples_outside_the_range_are_clipped_and_others_rounded(tmp_path: Path) -> None:
    path = encoded(tmp_path, FORMS[2], np.array([1.5, -1.5, 0.6 / 32768, -0.4 / 32768, 1.0]))
    assert read(path).tolist() == [32767, -32768, 1, 0, 32767]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.suffix}-{form.subtype}")
def test_a_part_equals_the_same_samples_of_the_whole(form: Form, tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE)
    # Few high frequencies, as in speech: Opus then predicts from the past.
    path = encoded(tmp_path, form, np.convolve(noise, np.ones(8) / 8, "same"))
    whole = read(path)
    part = read(path, start=1.31, duration=0.4)
    assert np.array_equal(part, whole[20960:27360])
    assert np.array_equal(read(path, start=2.75), whole[44000:])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.suffix}-{form.subtype}")
def test_a_file_inside_a_shard_reads_like_the_file(form: Form, tmp_path: Path) -> None:
    path = Path(encoded(tmp_path, form, tone(0.3, RATE)))
    content = path.read_bytes()
    shard = tmp_path / "shard"
    shard.write_bytes(b"other" + content + b"more")
    found = read(shard, offset=5, size=len(content))
    assert np.array_equal(found, read(path))
    assert audio_duration(shard, 5, len(content)) == audio_duration(path)


def test_a_manifest_may_round_the_end_upwards(tmp_path: Path) -> None:
    path = encoded(tmp_path, FORMS[0], tone(0.5, RATE))
    assert len(read(path, start=0.25, duration=0.3)) == 4000


@given(st.integers(0, 10**7), st.integers(1, 10**5), st.integers(1, 10**5))
def test_the_resampled_length_is_the_nearest_whole_number(
    samples: int, source_rate: int, target_rate: int
) -> None:
    found = resampled_length(samples, source_rate, target_rate)
    assert abs(2 * (found * source_rate - samples * target_rate)) <= source_rate


@pytest.mark.parametrize("rate", [7999, 11025, 44100])
@pytest.mark.parametrize("count", [1, 2, 97, 1000])
def test_resampled_audio_has_exactly_the_foretold_length(
    rate: int, count: int, tmp_path: Path
) -> None:
    path = encoded(tmp_path, FORMS[0], np.full(count, 0.1), rate)
    assert len(read(path)) == max(resampled_length(count, rate, RATE), 1)


def test_the_reader_imports_no_torch() -> None:
    code = (
        "import sys, asr_lab.audio.files, asr_lab.audio.recipes; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def refusal(path: str | Path, **part: float) -> str:
    with pytest.raises(AudioError) as caught:
        read(path, RATE, **part)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "is not there" in refusal(tmp_path / "none.wav")
    assert "no such file" in refusal(tmp_path / "none.tar", offset=3, size=9)
    with pytest.raises(AudioError, match=r"none\.wav: is not there"):
        audio_duration(tmp_path / "none.wav")


def test_what_is_not_audio_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not audio at all " * 50)
    (tmp_path / "text.raw").write_text("not audio at all " * 50)
    (tmp_path / "empty.wav").write_bytes(b"")
    assert "not audio in a known format" in refusal(tmp_path / "text.wav")
    assert "not audio in a known format" in refusal(tmp_path / "text.raw")
    assert "not audio in a known format" in refusal(tmp_path / "text.wav", offset=4, size=90)
    assert "is empty" in refusal(tmp_path / "empty.wav")
    assert "is a folder" in refusal(tmp_path)


def test_audio_without_samples_is_named(tmp_path: Path) -> None:
    path = encoded(tmp_path, FORMS[0], np.zeros(0))
    assert "holds no samples" in refusal(path)
    with pytest.raises(AudioError, match="holds no samples"):
        audio_duration(path)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.suffix}-{form.subtype}")
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_named(form: Form, kept: float, tmp_path: Path) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE)
    path = Path(encoded(tmp_path, form, noise))
    content = path.read_bytes()
    content = content[: int(len(content) * kept)]
    path.write_bytes(content)
    assert "cut off" in refusal(path)
    (tmp_path / "shard").write_bytes(b"x" + content)
    assert "cut off" in refusal(tmp_path / "shard", offset=1, size=len(content))


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"abc")
    assert "the shard is cut off: 2 of 9 bytes" in refusal(tmp_path / "shard", offset=1, size=9)


def test_a_streamed_wav_without_a_length_is_read(tmp_path: Path) -> None:
    path = Path(encoded(tmp_path, FORMS[0], tone(0.1, RATE)))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    assert len(read(path)) == 1600


def test_a_flac_file_that_does_not_know_its_length_is_named(tmp_path: Path) -> None:
    path = Path(encoded(tmp_path, FORMS[3], tone(0.1, RATE)))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the 36 bits of the number of samples in the STREAMINFO block
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert "does not say how long" in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_named(value: float, tmp_path: Path) -> None:
    samples = tone(0.1, RATE)
    samples[700] = value
    assert "NaN or infinite" in refusal(encoded(tmp_path, FORMS[2], samples))
    stereo = np.stack([samples, samples], 1)
    assert "NaN or infinite" in refusal(encoded(tmp_path, FORMS[2], stereo, 8000))


def test_floating_point_samples_on_the_scale_of_integers_are_named(tmp_path: Path) -> None:
    path = encoded(tmp_path, FORMS[2], tone(0.1, RATE) * 32768)
    assert "must lie between -1 and 1" in refusal(path)


def test_a_part_outside_the_recording_is_named(tmp_path: Path) -> None:
    path = encoded(tmp_path, FORMS[0], tone(0.5, RATE))
    assert "has 0.500 s, which does not hold 1.000 s from 0.200 s" in refusal(
        path, start=0.2, duration=1.0
    )
    assert "correct the manifest" in refusal(path, start=0.6)
    assert "correct the manifest" in refusal(path, start=-0.1)
    assert "correct the manifest" in refusal(path, start=0.1, duration=0.0)
