"""Speech made for tests can be told apart, repeats exactly and makes a corpus that loads."""

import json
import string
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.testing.speech import tone_speech, write_corpus

RATE = 16000
EDGE = round(0.05 * RATE)
"""Samples of noise before the first character."""
CHARACTERS = string.ascii_lowercase + string.digits + "'"


def spectrum(text: str, seed: int) -> np.ndarray:
    """Return the magnitudes of the first character's chord, in bins of 20 Hz, with unit norm."""
    chord = tone_speech(text, seed)[EDGE : EDGE + RATE // 20].astype(np.float64)
    smooth = np.convolve(np.abs(np.fft.rfft(chord * np.hanning(len(chord)))), np.ones(3), "same")
    unit: np.ndarray = smooth / np.linalg.norm(smooth)
    return unit


def test_a_character_is_told_from_all_others_by_its_nearest_spectrum() -> None:
    known = np.stack([spectrum(character, 0) for character in CHARACTERS])
    for seed in (1, 2, 3):
        heard = np.stack([spectrum(character, seed) for character in CHARACTERS])
        assert np.array_equal((heard @ known.T).argmax(axis=1), np.arange(len(CHARACTERS)))


def test_all_ascii_characters_have_chords_of_their_own() -> None:
    codes = {(code % 11, code % 12) for code in range(128)}
    assert len(codes) == 128


def test_the_same_seed_repeats_and_another_varies() -> None:
    assert np.array_equal(tone_speech("to be", 3), tone_speech("to be", 3))
    assert not np.array_equal(tone_speech("to be", 3)[:800], tone_speech("to be", 4)[:800])


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_length_grows_with_the_text_at_any_rate(rate: int) -> None:
    for text in ("", "a", "seven days", "x" * 40):
        seconds = len(tone_speech(text, 5, rate)) / rate
        assert 0.085 * len(text) + 0.099 <= seconds <= 0.115 * len(text) + 0.101


def test_samples_are_16_bit_and_do_not_clip() -> None:
    samples = tone_speech(CHARACTERS * 3, 0)
    assert samples.dtype == np.int16
    assert 3000 < np.abs(samples.astype(int)).max() < 20000


def test_a_space_is_quiet() -> None:
    samples = tone_speech("   ", 0)
    assert np.abs(samples.astype(int)).max() < 1000


@pytest.mark.parametrize("format", ["wav", "flac", "ogg", "mp3"])
def test_a_corpus_is_audio_files_and_a_manifest_that_agree(tmp_path: Path, format: str) -> None:
    sentences = ["one two", "three", "one two", "größe"]
    paths = write_corpus(tmp_path / "corpus", sentences, format)
    lines = (tmp_path / "corpus" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["text"] for entry in entries] == sentences
    for path, entry in zip(paths, entries, strict=True):
        assert path == tmp_path / "corpus" / entry["audio_filepath"]
        info = soundfile.info(str(path))
        assert info.samplerate == RATE
        assert info.duration == pytest.approx(entry["duration"], abs=0.08)


def test_a_wav_file_holds_exactly_the_samples_and_repeated_sentences_differ(tmp_path: Path) -> None:
    first, second = write_corpus(tmp_path, ["one", "one"], seed=9)
    samples, _ = soundfile.read(str(first), dtype="int16")
    assert np.array_equal(samples, tone_speech("one", 9))
    assert first.read_bytes() != second.read_bytes()


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no format 'doc'; choose from wav, flac, ogg, mp3"):
        write_corpus(tmp_path / "corpus", ["one"], "doc")
    assert not (tmp_path / "corpus").exists()


def test_it_needs_no_torch() -> None:
    code = "import sys, asr_lab.testing.speech; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
