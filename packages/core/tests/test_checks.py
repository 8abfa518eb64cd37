"""What makes an utterance unusable, against slow references."""

import itertools
from pathlib import Path

import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.data.checks import audio_problem, check_utterance, least_steps
from asr_lab.data.utterance import AudioSource, Utterance

BLANK = 9


def check(duration: float, tokens: list[int], steps: int | None = None) -> str:
    return check_utterance(duration, tokens, min_duration=0.1, max_duration=30.0, steps=steps)


def collapse(path: tuple[int, ...]) -> list[int]:
    """Return what a CTC path says: neighbours merged, then blanks removed."""
    return [token for token, _ in itertools.groupby(path) if token != BLANK]


@given(tokens=st.lists(st.integers(0, 1), max_size=3))
def test_least_steps_is_the_length_of_the_shortest_path_that_says_the_tokens(
    tokens: list[int],
) -> None:
    symbols = (0, 1, BLANK)
    lengths = (
        steps
        for steps in itertools.count()
        if any(collapse(path) == tokens for path in itertools.product(symbols, repeat=steps))
    )
    assert least_steps(tokens) == next(lengths)


@given(tokens=st.lists(st.integers(0, 3), max_size=30), steps=st.integers(0, 60))
def test_text_is_refused_exactly_where_ctc_has_too_few_steps(tokens: list[int], steps: int) -> None:
    assert bool(check(1.0, tokens, steps)) == (steps < least_steps(tokens))


def test_a_model_without_ctc_takes_any_text() -> None:
    assert check(1.0, [1] * 1000) == ""


def test_an_empty_text_is_no_problem() -> None:
    assert check(1.0, [], 0) == ""


@pytest.mark.parametrize("duration", [0.1, 1.0, 30.0])
def test_limits_belong_to_what_is_allowed(duration: float) -> None:
    assert check(duration, [1], 10) == ""


@pytest.mark.parametrize(
    ("duration", "reason"),
    [
        (0.0, "missing, empty or not audio"),
        (0.099, "0.099 s is shorter than --data.min-duration 0.1"),
        (30.1, "30.1 s is longer than --data.max-duration 30"),
        (10800.0, "10800.0 s is longer"),
    ],
)
def test_a_length_outside_the_limits_is_named(duration: float, reason: str) -> None:
    assert reason in check(duration, [1], 10)


def test_a_text_too_long_for_ctc_gives_both_numbers() -> None:
    assert check(1.0, [1, 1, 2], 3) == "3 tokens need 4 encoder steps for CTC, and it has 3"


def unreadable(path: Path, start: float = 0.0) -> Utterance:
    return Utterance(id="u", audio=AudioSource(path=str(path), start=start), text="", duration=0.0)


def test_audio_without_a_length_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    assert "is not there" in audio_problem(unreadable(tmp_path / "none.wav"))
    (tmp_path / "text.wav").write_text("this is no audio")
    assert "not audio" in audio_problem(unreadable(tmp_path / "text.wav"))
    soundfile.write(tmp_path / "short.wav", [0.0] * 1600, 16000)
    late = audio_problem(unreadable(tmp_path / "short.wav", start=2.0))
    assert late.endswith("short.wav lasts 0.100 s; the utterance starts at 2 s")


def test_audio_with_a_length_is_not_opened() -> None:
    audio = AudioSource(path="nowhere.wav")
    assert audio_problem(Utterance(id="u", audio=audio, text="", duration=1.0)) == ""
