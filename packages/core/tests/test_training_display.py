"""What people see of a run: numbers as they say them, and lines where there is no bar."""

import json

import pytest

from asr_lab.evaluation.normalizers import NONE
from asr_lab.evaluation.results import EvaluationResult, ScoredUtterance, summarise
from asr_lab.models.base import DecodingOptions
from asr_lab.training.display import (
    Display,
    JsonDisplay,
    SilentDisplay,
    TerminalDisplay,
    clock,
    millions,
    utterances,
)
from asr_lab.training.learner import StepResult
from asr_lab.training.state import TrainState
from asr_lab.utils.metrics import character_errors, word_errors


def result(reference: str, hypothesis: str) -> EvaluationResult:
    one = ScoredUtterance(
        id="a",
        reference=reference,
        hypothesis=hypothesis,
        reference_normalised=reference,
        hypothesis_normalised=hypothesis,
        word_errors=word_errors(reference, hypothesis),
        character_errors=character_errors(reference, hypothesis),
        duration=2.0,
        score=-1.0,
    )
    return summarise(
        [one],
        dataset="probe/dev",
        normalizer=NONE,
        decoding=DecodingOptions(),
        skipped=0,
        decode_seconds=1.0,
        wall_seconds=1.0,
    )


def step(loss: float = 0.5) -> StepResult:
    return StepResult(
        losses={"ctc": loss}, gradient_norm=1.0, lr=1e-3, applied=True, overflow=False
    )


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.0, "0:00"), (59.6, "1:00"), (92.0, "1:32"), (3599.0, "59:59"), (3725.0, "1:02:05")],
)
def test_a_time_is_minutes_and_seconds_with_hours_where_there_are_any(
    seconds: float, shown: str
) -> None:
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(950, "950"), (99_999, "99,999"), (941_000, "0.94 M"), (12_780_000, "12.8 M")],
)
def test_a_number_of_parameters_is_said_as_people_say_it(count: int, shown: str) -> None:
    assert millions(count) == shown


def test_one_utterance_is_not_plural() -> None:
    assert utterances(1, "bad") == "1 bad utterance"
    assert utterances(2410) == "2,410 utterances"


def test_without_a_terminal_an_evaluation_is_a_line_and_a_step_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display = TerminalDisplay()
    state = TrainState(step=50, audio_seconds=500.0)
    display.task = display.progress.add_task("", total=200)
    display.pace.start(TrainState(), 200)
    display.step(state, step())
    assert capsys.readouterr().out == ""
    display.evaluated(state, result("a b c d", "a b c x"))
    line = capsys.readouterr().out
    assert line.startswith("step 50/200  dev WER 25.0 %  ")
    assert line.endswith(" left\n")
    assert line.count("\n") == 1


def test_what_looks_like_markup_is_printed_as_it_stands(
    capsys: pytest.CaptureFixture[str],
) -> None:
    TerminalDisplay().message("test   WER 3.1 % [2.4, 3.9] [bold]x[/bold]")
    assert capsys.readouterr().out == "test   WER 3.1 % [2.4, 3.9] [bold]x[/bold]\n"


def test_the_pace_counts_this_session_only() -> None:
    display = TerminalDisplay()
    resumed = TrainState(step=100, audio_seconds=1000.0)
    display.pace.start(resumed, 300)
    display.pace.began -= 10.0  # ten seconds ago
    now = TrainState(step=120, audio_seconds=1200.0)
    assert display.pace.speed(now) == pytest.approx(20.0, rel=0.05)
    assert display.pace.left(now) == pytest.approx(90.0, rel=0.05)


def test_as_json_an_evaluation_is_an_object_with_its_rate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    JsonDisplay().evaluated(TrainState(step=7), result("a b", "a"))
    event = json.loads(capsys.readouterr().out)
    assert event == {"event": "evaluated", "step": 7, "dev": {"word_error_rate": 0.5}}


@pytest.mark.parametrize("display", [Display(), SilentDisplay()])
def test_a_silent_display_says_nothing(
    display: Display, capsys: pytest.CaptureFixture[str]
) -> None:
    display.message("x")
    display.step(TrainState(), step())
    display.evaluated(TrainState(), result("a", "a"))
    assert capsys.readouterr().out == ""
