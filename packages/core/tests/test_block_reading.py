"""Reading block by block is reading whole: any format, rate, channels, length and stretches."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.audio import streaming
from asr_lab.audio.errors import AudioError
from asr_lab.audio.files import read_audio
from asr_lab.audio.streaming import audio_samples, read_blocks, read_windows
from asr_lab.data.utterance import AudioSource

RATE = 16000
FORMS = [
    ("wav", "PCM_16"),
    ("wav", "PCM_24"),
    ("wav", "FLOAT"),
    ("wav", "ULAW"),
    ("flac", "PCM_16"),
    ("flac", "PCM_24"),
    ("aiff", "PCM_16"),
    ("ogg", "VORBIS"),
    ("ogg", "OPUS"),
    ("mp3", "MPEG_LAYER_III"),
]
RATES = [8000, 16000, 44100, 48000]
ROUNDED = 1
"""Steps of 16 bits: sums in another order may round to the neighbour, and no further."""
MP3_FRAMES = 2 * 1152
"""Frames by which an MP3 may be shorter than its header says; the header counts whole ones."""


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a second at a time, so that short files have several blocks."""
    monkeypatch.setattr(streaming, "BLOCK_SECONDS", 1)


def noise(frames: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (frames, channels)).clip(-0.9, 0.9)


def whole(path: Path, rate: int = RATE) -> np.ndarray:
    return read_audio(AudioSource(path=str(path)), rate)


def joined(path: Path, rate: int = RATE) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, rate)))


@st.composite
def lengths(draw: st.DrawFn, rate: int) -> int:
    """Draw a number of frames: any, or one beside a multiple of the block."""
    beside = rate * draw(st.integers(0, 3)) + draw(st.integers(-2, 2))
    return max(draw(st.sampled_from([beside, draw(st.integers(1, 3 * rate))])), 1)


@pytest.mark.parametrize(("ending", "subtype"), FORMS)
@settings(max_examples=8)
@given(data=st.data())
def test_blocks_joined_are_the_whole_file(ending: str, subtype: str, data: st.DataObject) -> None:
    rate = data.draw(st.sampled_from([48000, 8000] if subtype == "OPUS" else RATES))
    frames, channels = data.draw(lengths(rate)), data.draw(st.integers(1, 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{ending}"
        soundfile.write(path, noise(frames, channels), rate, subtype=subtype)
        expected, found = whole(path), joined(path)
    assert found.dtype == np.int16
    exact = (rate, channels, subtype) == (RATE, 1, "PCM_16")
    np.testing.assert_allclose(found, expected, rtol=0, atol=0 if exact else ROUNDED)


@pytest.mark.parametrize("rest", [1, 100, 500, 959, 961, 5759, 5761])
def test_the_last_packet_of_opus_is_never_read_in_parts(rest: int, tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, noise(48000 + rest, 1), 48000, subtype="OPUS")
    np.testing.assert_allclose(joined(path), whole(path), rtol=0, atol=ROUNDED)


@settings(max_examples=40)
@given(data=st.data())
def test_the_header_foretells_how_many_samples_there_will_be(data: st.DataObject) -> None:
    rate, wanted = data.draw(st.sampled_from(RATES)), data.draw(st.sampled_from(RATES))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        soundfile.write(path, noise(data.draw(lengths(rate)), 1), rate)
        assert audio_samples(path, wanted) == len(joined(path, wanted)) == len(whole(path, wanted))


@settings(max_examples=40)
@given(data=st.data())
def test_windows_are_slices_of_the_whole(data: st.DataObject) -> None:
    frames = data.draw(lengths(RATE))
    starts = sorted(data.draw(st.lists(st.integers(0, frames - 1), min_size=1, max_size=6)))
    stretches = [(start, data.draw(st.integers(1, 2 * RATE))) for start in starts]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        soundfile.write(path, noise(frames, 1), RATE)
        expected, found = whole(path), list(read_windows(path, RATE, stretches))
    for (start, length), samples in zip(stretches, found, strict=True):
        np.testing.assert_array_equal(samples, expected[start : start + length])


@pytest.mark.parametrize("rate", RATES)
def test_no_block_is_longer_than_what_is_decoded_at_a_time(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(5 * rate, 2), rate)
    blocks = list(read_blocks(path, RATE))
    # The resampler holds some samples back, and gives them with a later block.
    assert len(blocks) >= 5 and max(map(len, blocks)) <= RATE + RATE // 8


def test_the_channels_of_every_block_are_averaged(tmp_path: Path) -> None:
    one = noise(3 * RATE, 1)
    soundfile.write(tmp_path / "a.wav", np.hstack([one, -one]), RATE, subtype="FLOAT")
    assert not joined(tmp_path / "a.wav").any()


@pytest.mark.parametrize("place", [0, RATE // 2, RATE, 3 * RATE - 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, 17.0])
def test_one_bad_sample_is_found_in_whichever_block_it_is(
    value: float, place: int, tmp_path: Path
) -> None:
    samples = noise(3 * RATE, 2)
    samples[place, 1] = value * 2  # two channels are averaged
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=f"audio file {path}: has samples"):
        joined(path)


def test_what_is_wrong_behind_the_last_window_is_told_as_well(tmp_path: Path) -> None:
    samples = noise(3 * RATE, 1)
    samples[-1] = np.nan
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    found = read_windows(path, RATE, [(0, 100)])
    assert len(next(found)) == 100
    with pytest.raises(AudioError, match="NaN"):
        next(found)


def test_a_window_behind_the_end_is_refused_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(RATE, 1), RATE)
    with pytest.raises(AudioError, match=r"a.wav: ends before 1.500 s"):
        list(read_windows(path, RATE, [(0, RATE), (RATE + RATE // 2, 10)]))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("kept", [0.4, 0.7, 0.95])
def test_a_file_that_was_cut_off_is_never_read_as_if_it_were_whole(
    kept: float, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(4 * RATE, 1), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError, match=f"audio file {path}: is cut off"):
        joined(path)


def test_an_mp3_is_no_shorter_than_what_was_encoded(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(3 * RATE, 1), RATE)
    assert 3 * RATE <= len(joined(path)) <= audio_samples(path, RATE) <= 3 * RATE + MP3_FRAMES


@pytest.mark.parametrize("rate", RATES)
def test_a_single_frame_is_a_single_sample(rate: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(1, 0.5), rate)
    assert len(joined(path)) == audio_samples(path, RATE) == max(round(RATE / rate), 1)


def test_reading_may_stop_early_and_leaves_the_file_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(3 * RATE, 1), RATE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    blocks = read_blocks(path, RATE)
    next(blocks)
    assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    del blocks
    assert len(list(Path("/proc/self/fd").iterdir())) == before
