"""What a person sees of a run: a few lines, and a progress bar where there is a terminal."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from asr_lab.evaluation.results import EvaluationResult
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.setup import Setup
from asr_lab.training.state import TrainState


class Display:
    """What the trainer tells; the base of all displays."""

    def running(
        self, setup: Setup, learner: Learner, folder: Path, state: TrainState
    ) -> AbstractContextManager[object]:
        """Span the run: say what is about to happen, and clean up at the end."""
        return nullcontext()

    def step(self, state: TrainState, result: StepResult) -> None:
        """Show an optimizer step."""

    def evaluated(self, state: TrainState, result: EvaluationResult) -> None:
        """Show an evaluation on the dev set."""

    def message(self, text: str) -> None:
        """Show a line."""


class SilentDisplay(Display):
    """Shows nothing: for tests, notebooks, and all processes but the first."""


class JsonDisplay(Display):
    """One JSON object per evaluation on standard output."""

    def evaluated(self, state: TrainState, result: EvaluationResult) -> None:
        """Print step and error rates."""
        rates = {"word_error_rate": result.word_errors.rate}
        print(json.dumps({"event": "evaluated", "step": state.step, "dev": rates}), flush=True)


class TerminalDisplay(Display):
    """Lines on standard output; a progress bar below them if it is a terminal."""

    def __init__(self) -> None:
        """Look where the output goes."""
        self.console = Console(highlight=False, soft_wrap=True)
        self.progress = Progress(
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.description}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task = TaskID(0)
        self.error_rate = ""
        self.pace = _Pace()

    @contextmanager
    def running(
        self, setup: Setup, learner: Learner, folder: Path, state: TrainState
    ) -> Iterator[None]:
        """Print the header and keep the bar alive."""
        for line in header(setup, learner, folder, state):
            self.message(line)
        self.task = self.progress.add_task("", total=setup.steps, completed=state.step)
        self.pace.start(state, setup.steps)
        with self.progress:
            yield

    def step(self, state: TrainState, result: StepResult) -> None:
        """Move the bar."""
        loss = sum(result.losses.values())
        parts = [
            f"step {state.step:,}/{self.pace.steps:,}",
            f"loss {loss:.2f}",
            self.error_rate,
            f"{self.pace.speed(state):,.0f}x real time",
            f"{clock(self.pace.left(state))} left",
        ]
        description = "  ".join(filter(None, parts))
        self.progress.update(self.task, completed=state.step, description=description)

    def evaluated(self, state: TrainState, result: EvaluationResult) -> None:
        """Remember the error rate for the bar, or print a line where there is no bar."""
        self.error_rate = f"dev WER {100 * result.word_errors.rate:.1f} %"
        if not state.step:
            self.message(f"start  {self.error_rate}")
        elif not self.console.is_terminal:
            left = clock(self.pace.left(state))
            speed = f"{self.pace.speed(state):,.0f}x real time"
            done = f"step {state.step:,}/{self.pace.steps:,}"
            self.message(f"{done}  {self.error_rate}  {speed}  {left} left")

    def message(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(text, markup=False)


class _Pace:
    """How fast a run goes, from what this session did."""

    steps = 1

    def start(self, state: TrainState, steps: int) -> None:
        self.steps = steps
        self.began, self.step, self.audio = time.monotonic(), state.step, state.audio_seconds

    def speed(self, state: TrainState) -> float:
        """Return seconds of audio per second."""
        return (state.audio_seconds - self.audio) / max(time.monotonic() - self.began, 1e-3)

    def left(self, state: TrainState) -> float:
        """Return the seconds that the remaining steps will take."""
        done = max(state.step - self.step, 1)
        return (time.monotonic() - self.began) / done * (self.steps - state.step)


def header(setup: Setup, learner: Learner, folder: Path, state: TrainState) -> list[str]:
    """Return the lines that say what a run is about to do."""
    config = setup.config
    parameters = sum(parameter.numel() for parameter in learner.model.parameters())
    device = learner.group.device
    where = f"{device} ({os.cpu_count()} cores)" if device.type == "cpu" else str(device)
    processes = f" · {learner.group.size} processes" if learner.group.size > 1 else ""
    epochs = setup.steps / max(setup.steps_per_epoch, 1)
    lines = [
        f"{config.model} {config.preset} · {millions(parameters)} parameters · "
        f"{config.precision} on {where}{processes} · seed {config.seed}",
        f"data   {setup.describe()}",
        f"plan   {epochs:.4g} epochs · {setup.steps:,} steps · output {folder}",
    ]
    lines += [f"note   {note}" for note in notes(setup)]
    if state.step:
        lines.append(f"resume from step {state.step:,}")
    return lines


def notes(setup: Setup) -> list[str]:
    """Return what was chosen where nothing was said, and what is left out."""
    found = list(setup.notes)
    if setup.unusable:
        name, problem = next(iter(setup.unusable.items()))
        bad, more = utterances(len(setup.unusable), "bad"), ", …" if len(setup.unusable) > 1 else ""
        found.append(f"{bad} left out of training: {name}: {problem}{more}")
    for kind, chosen in (("dev", setup.dev), ("test", setup.test)):
        if chosen and chosen.unusable:
            found.append(f"{utterances(chosen.unusable, 'bad')} left out of the {kind} set")
    return found


def utterances(count: int, what: str = "") -> str:
    """Return a number of utterances in words: `1 bad utterance`."""
    kind = f"{what} " if what else ""
    return f"{count:,} {kind}{'utterance' if count == 1 else 'utterances'}"


def millions(count: int) -> str:
    """Return a number of parameters as people say it."""
    if count < 1e5:
        return f"{count:,}"
    return f"{count / 1e6:.2f} M" if count < 10e6 else f"{count / 1e6:.1f} M"


def clock(seconds: float) -> str:
    """Return minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
