"""Joining windows, spelling words and reading in windows, against what was really said."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.audio.files import read_audio
from asr_lab.audio.streaming import audio_samples, read_blocks, read_windows
from asr_lab.data.utterance import AudioSource
from asr_lab.evaluation.transcription.merging import Heard, Token, common, merge
from asr_lab.evaluation.transcription.windows import cut, overlap_seconds
from asr_lab.evaluation.transcription.wording import spell
from asr_lab.tokenizers import BPETokenizer, CharacterTokenizer
from asr_lab.tokenizers.bpe import train_bpe

CHUNK = 12.0


@st.composite
def spoken(draw: st.DrawFn) -> list[tuple[int, float]]:
    """Draw tokens, and the seconds since the one before, for several windows."""
    source = np.random.default_rng(draw(st.integers(0, 10**6)))
    gaps = source.uniform(0.05, draw(st.sampled_from([0.2, 0.6, 2.0])), 200)
    return list(zip(source.integers(1, 6, 200).tolist(), gaps.tolist(), strict=True))


def timeline(said: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [token for token, _ in said], np.cumsum([gap for _, gap in said]).tolist()


def listen(
    tokens: list[int], times: list[float], *, seed: int, know_times: bool, garbage: int
) -> list[Heard]:
    """Cut into windows, each of which mishears its ends and the times a little."""
    draw = np.random.default_rng(seed)
    total = round(1000 * (times[-1] + 1))
    windows = cut(total, round(1000 * CHUNK), round(1000 * overlap_seconds(CHUNK)), 40)
    heard = []
    for number, window in enumerate(windows):
        start, end = window.start / 1000, window.end / 1000
        inside = [(k, t) for k, t in zip(tokens, times, strict=True) if start <= t < end]
        found = [k for k, _ in inside]
        clock = [t + draw.uniform(-0.04, 0.04) for _, t in inside]
        if garbage and number:
            found[:garbage] = [99] * len(found[:garbage])
        if garbage and number + 1 < len(windows):
            found[-garbage:] = [98] * len(found[-garbage:])
        heard.append(Heard(found, sorted(clock) if know_times else (), start, end))
    return heard


@settings(max_examples=30)
@given(said=spoken(), seed=st.integers(0, 9))
def test_with_times_the_windows_give_exactly_what_was_said(
    said: list[tuple[int, float]], seed: int
) -> None:
    tokens, times = timeline(said)
    heard = listen(tokens, times, seed=seed, know_times=True, garbage=0)
    assert [token.id for token in merge(heard)] == tokens


@settings(max_examples=30)
@given(said=spoken(), seed=st.integers(0, 9))
def test_what_a_window_mishears_at_its_ends_is_not_taken(
    said: list[tuple[int, float]], seed: int
) -> None:
    tokens, times = timeline([(token, min(gap, 0.2)) for token, gap in said])
    heard = listen(tokens, times, seed=seed, know_times=True, garbage=3)
    assert [token.id for token in merge(heard)] == tokens


@given(st.permutations(range(150)), st.integers(0, 3))
def test_without_times_the_end_of_a_window_is_found_in_the_next(
    order: list[int], garbage: int
) -> None:
    times = [0.25 * (place + 1) for place in range(len(order))]
    heard = listen(order, times, seed=0, know_times=False, garbage=garbage)
    assert len(heard) > 3
    assert [token.id for token in merge(heard)] == order


@pytest.mark.parametrize("know_times", [True, False])
def test_silence_in_the_overlap_loses_nothing_and_ends_a_word(know_times: bool) -> None:
    left = Heard([1, 2, 3], (1.0, 2.0, 3.0) if know_times else (), 0.0, 12.0)
    right = Heard([6, 4], (14.0, 15.0) if know_times else (), 8.0, 20.0)
    nothing, last = Heard([], (), 16.0, 28.0), Heard([5], (30.0,) if know_times else (), 24.0, 36.0)
    merged = merge([left, right, nothing, last])
    assert [token.id for token in merged] == [1, 2, 3, 6, 4, 5]
    assert [token.starts_run for token in merged] == [False, False, False, True, False, True]
    assert [token.window for token in merged] == [0, 0, 0, 1, 1, 3]


def test_the_common_subsequence_is_as_long_as_that_of_a_slow_search() -> None:
    ours, theirs = [1, 2, 3, 4, 1], [2, 4, 3, 1]
    pairs = common(5, 4, lambda i, j: ours[i] == theirs[j], penalty=0)
    assert len(pairs) == 3
    assert all(ours[i] == theirs[j] for i, j in pairs)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))
    assert common(5, 4, lambda i, j: False, penalty=0) == []


@given(
    samples=st.integers(1, 10**6),
    longest=st.integers(3000, 50_000),
    grid=st.integers(1, 500),
)
def test_windows_cover_everything_and_overlap(samples: int, longest: int, grid: int) -> None:
    overlap = longest // 3
    windows = cut(samples, longest, overlap, grid)
    assert (windows[0].start, windows[-1].end) == (0, samples)
    assert all(1 <= window.length <= longest and window.start % grid == 0 for window in windows)
    assert all(left.end - right.start == overlap for left, right in pairwise(windows))


def words(text: str, tokenizer: CharacterTokenizer | BPETokenizer) -> list[str]:
    tokens = [Token(token, None, 0) for token in tokenizer.encode(text)]
    found = list(spell(tokens, tokenizer))
    for word in found:
        ids = [token.id for token in tokens[word.first : word.end]]
        assert tokenizer.decode(ids) == word.text
    return [word.text for word in found]


TEXT = "  let's see: über  naïve 42 %  "


def test_words_are_those_of_the_text_with_characters_and_with_merged_pieces() -> None:
    assert words(TEXT, CharacterTokenizer(TEXT)) == TEXT.split()
    tokenizer = train_bpe(["let us see what we see", "over and over the sea"] * 5, 285)
    assert words(TEXT, tokenizer) == TEXT.split()  # ü, ï and % fall back to bytes
    assert words("", tokenizer) == []


def test_scripts_without_spaces_are_split_at_their_characters() -> None:
    text = "你好 abc def 世界"
    assert words(text, CharacterTokenizer(text)) == ["你", "好", "abc", "def", "世", "界"]


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2), (8000, 1), (48000, 1)])
@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_blocks_and_windows_are_the_samples_of_the_whole(
    ending: str, rate: int, channels: int, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    audio = draw.normal(0, 0.1, (round(23.7 * rate), channels))
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, audio, rate)
    whole = read_audio(AudioSource(path=str(path)), 16000)
    blocks = list(read_blocks(path, 16000))
    assert len(blocks) >= 3
    joined = np.concatenate(blocks)
    # Averages and products are rounded in another order; 16-bit audio at the rate has none.
    exact = rate == 16000 and ending != "mp3"
    np.testing.assert_allclose(joined, whole, rtol=0, atol=0 if exact else 1)
    assert abs(audio_samples(path, 16000) - len(whole)) <= (2400 if ending == "mp3" else 0)
    stretches = [(0, 50_000), (40_000, 50_000), (80_000, 1), (300_000, 10**6)]
    for (start, length), found in zip(stretches, read_windows(path, 16000, stretches), strict=True):
        np.testing.assert_array_equal(found, joined[start : start + length])
