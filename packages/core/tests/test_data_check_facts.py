"""What decoding shows of an utterance: problems are told, equal audio has equal digests."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.audio.files import read_audio
from asr_lab.audio.native import native_audio
from asr_lab.data.checking.facts import (
    AudioFacts,
    audio_facts,
    broken_characters,
    is_dense,
    spoken_characters,
    text_digest,
    text_key,
)
from asr_lab.data.spoken import read
from asr_lab.data.utterance import AudioSource
from asr_lab.testing.speech import tone_speech

SAMPLES = tone_speech("a bad cab", 1)


def facts(path: Path, **part: float) -> AudioFacts:
    return audio_facts(AudioSource(path=str(path), **part))  # type: ignore[arg-type]


def written(path: Path, samples: np.ndarray = SAMPLES, rate: int = 16000, **how: str) -> Path:
    soundfile.write(path, samples, rate, **how)
    return path


def test_equal_samples_have_equal_digests_in_any_lossless_file(tmp_path: Path) -> None:
    stereo = np.stack([SAMPLES, SAMPLES], 1)
    found = {
        facts(written(tmp_path / "a.wav")).digest,
        facts(written(tmp_path / "a.flac")).digest,
        facts(written(tmp_path / "a.aiff")).digest,
        facts(written(tmp_path / "b.wav", SAMPLES / 32768, subtype="FLOAT")).digest,
        facts(written(tmp_path / "b.flac", subtype="PCM_24")).digest,
        facts(written(tmp_path / "c.wav", stereo)).digest,
    }
    assert len(found) == 1 and len(found.pop()) == 16


def test_other_samples_and_other_rates_have_other_digests(tmp_path: Path) -> None:
    other = SAMPLES.copy()
    other[-1] += 1
    found = {
        facts(written(tmp_path / "a.wav")).digest,
        facts(written(tmp_path / "b.wav", other)).digest,
        facts(written(tmp_path / "c.wav", rate=8000)).digest,
        facts(written(tmp_path / "d.wav", SAMPLES[:-1])).digest,
    }
    assert len(found) == 4


def test_a_part_of_a_recording_is_the_same_audio_as_a_file_of_its_own(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.wav")
    alone = written(tmp_path / "b.flac", SAMPLES[1600:8000])
    part = facts(whole, start=0.1, duration=0.4)
    assert part == facts(alone) and part.seconds == 0.4


def test_a_shard_is_read_where_the_utterance_is() -> None:
    for utterance in list(read(None, "en", "test"))[:3]:
        found = audio_facts(utterance.audio)
        assert not found.problem and found.seconds == pytest.approx(utterance.duration)


def test_native_audio_is_what_read_audio_reads(tmp_path: Path) -> None:
    for source in (AudioSource(path=str(written(tmp_path / "a.flac"))),):
        with native_audio(source) as audio:
            samples = np.concatenate(list(audio.blocks))
        assert (samples * 32768 == read_audio(source, 16000)).all()
        assert (audio.sample_rate, audio.channels, audio.lossless) == (16000, 1, True)
    lossy = written(tmp_path / "a.ogg", format="OGG", subtype="VORBIS")
    with native_audio(AudioSource(path=str(lossy))) as audio:
        assert not audio.lossless


def damaged(folder: Path) -> dict[str, Path]:
    """Return files that are wrong in different ways, by what is said of them."""
    flac = written(folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "text.wav").write_text("no audio at all, whatever its name says")
    (folder / "empty.wav").write_bytes(b"")
    written(folder / "none.wav", SAMPLES[:0])
    infinite = SAMPLES.astype(np.float32) / 32768
    infinite[100] = math.inf
    written(folder / "infinite.wav", infinite, subtype="FLOAT")
    return {
        "cut off": folder / "cut.flac",
        "not audio": folder / "text.wav",
        "is empty": folder / "empty.wav",
        "holds no samples": folder / "none.wav",
        "NaN or infinite": folder / "infinite.wav",
        "is not there": folder / "missing.wav",
        "is a folder": folder,
    }


def test_damage_is_told_and_not_raised(tmp_path: Path) -> None:
    for said, path in damaged(tmp_path).items():
        found = facts(path)
        assert said in found.problem and str(path) in found.problem and found.levels is None


def test_texts_that_say_the_same_have_the_same_key() -> None:
    same = {
        text_key(text)
        for text in ("Ｔｏ-day, I  said: “No!”", "to day i said no", "To day I\tsaid no.")
    }
    assert same == {"to day i said no"}
    assert text_key("Straße") == text_key("STRASSE") and text_key("é") == text_key("e\u0301")
    assert text_key("हिन्दी") != text_key("हिन्द") and text_key("…!") == ""
    assert text_digest("a") == text_digest("a") != text_digest("b")


@given(st.text())
def test_a_key_has_no_case_no_marks_of_punctuation_and_single_spaces(text: str) -> None:
    key = text_key(text)
    assert key == key.strip() and "  " not in key and text_key(f" {text}. ") == key


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("it's fine — naïve, “ça” 3 €", ""),
        ("tab\tand\nline", ""),
        ("caf\ufffd", "\ufffd"),
        ("a\x00b\x07c\x00", "\x00\x07"),
        ("\ue000", "\ue000"),
        ("\ud800", "\ud800"),
    ],
)
def test_broken_characters_are_those_that_no_text_has(text: str, broken: str) -> None:
    assert broken_characters(text) == broken


def test_letters_are_counted_as_they_are_said() -> None:
    assert spoken_characters("It's 3 o'clock!") == 10
    assert is_dense("今日は良い天気です。") and is_dense("오늘은") and is_dense("ok 今日は良い")
    assert not is_dense("today is 今") and not is_dense("сегодня") and not is_dense("...")
