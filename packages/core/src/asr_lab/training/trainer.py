"""The trainer: from settings to a trained model, in a loop that reads like a page."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import bad_utterance
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.models.base import ASRModel
from asr_lab.plugins import Plugins, installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.reproducibility.seeding import scope
from asr_lab.training.config import RunConfig
from asr_lab.training.display import Display, SilentDisplay
from asr_lab.training.distributed import Group, process_group
from asr_lab.training.evaluating import RunEvaluator
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.run_folder import RunFolder
from asr_lab.training.setup import Setup, prepare
from asr_lab.training.signals import StopRequest, stop_request
from asr_lab.training.state import TrainState
from asr_lab.training.stream import BatchStream
from asr_lab.utils.errors import UserError


class Interrupted(Exception):  # noqa: N818 (no error: the run was asked to stop, and is saved)
    """The run was asked to stop, and is saved."""

    def __init__(self, folder: Path, step: int) -> None:
        """Keep where to go on."""
        self.folder, self.step = folder, step
        super().__init__(f"step {step:,} is safe. Go on with: asr-lab resume {folder}")


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a finished run has to show."""

    folder: Path
    best: Path
    """The portable model with the lowest word error rate on the dev set."""
    result: EvaluationResult
    """Evaluation of that model on the test set, or on the dev set where there is none."""
    state: TrainState


class Trainer:
    """Trains one model as its settings say."""

    def __init__(
        self, config: RunConfig, *, resume: Path | None = None, display: Display | None = None
    ) -> None:
        """Take the settings of a run; with `resume`, the folder of the run to go on with."""
        self.config, self.resume = config, resume
        self.display = display or SilentDisplay()

    def fit(self) -> FitResult:
        """Train, evaluate and save.

        Raises UserError for what a user can mend, Interrupted after SIGINT or SIGTERM. Nothing is
        written before data, model and precision are known to work; what was learned is saved.
        """
        plugins = installed_plugins()
        with process_group(self.config.device) as group, stop_request() as stop:
            setup = prepare(self.config, plugins)
            stream = BatchStream(setup, group)
            learner = build_learner(setup, group, plugins)
            folder = RunFolder.open(setup, group, plugins, self.resume)
            state = folder.restore(learner)
            evaluator = RunEvaluator(setup, learner, group)
            with self.display.running(setup, learner, folder.path, state):
                run = _Run(
                    setup, stream, learner, evaluator, folder, state, group, stop, self.display
                )
                run.train()
                result = run.evaluate_best()
        return FitResult(folder=folder.path, best=folder.best, result=result, state=state)


def build_learner(setup: Setup, group: Group, plugins: Plugins) -> Learner:
    """Build the model from its configuration and the seed, ready to learn."""
    model_class = load_target(setup.spec.model)
    assert isinstance(model_class, type) and issubclass(model_class, ASRModel)
    with scope(setup.config.seed, "initialisation"):
        model = model_class(setup.config.model_config)
    return Learner(model, setup.config, setup.recipe, group, plugins, setup.steps)


@dataclass
class _Run:
    """A run under way."""

    setup: Setup
    stream: BatchStream
    learner: Learner
    evaluator: RunEvaluator
    folder: RunFolder
    state: TrainState
    group: Group
    stop: StopRequest
    display: Display
    saved: float = 0.0
    """When the last checkpoint was written, on the monotonic clock."""

    def train(self) -> None:
        """Do the steps that are left."""
        clock = self.saved = time.monotonic()
        for batches in self.stream.batches(self.state):
            self._check_audio(batches)
            result = self.learner.step(batches, self.state.step)
            self._check_finite(batches, result)
            self.stream.advance(self.state)
            now = time.monotonic()
            self.state.seconds, clock = self.state.seconds + now - clock, now
            self._report(batches, result)
            self._evaluate_and_save()

    def _evaluate_and_save(self) -> None:
        config, step, last = self.setup.config.train, self.state.step, self.setup.steps
        eval_every = config.eval_every or -(-last // 10)
        late = time.monotonic() - self.saved > config.save_seconds
        stop, late = self.group.any(bool(self.stop), late)
        evaluate = step % eval_every == 0 or step == last
        if evaluate:
            self._evaluate_dev()
        if stop or late or step == last or step % (config.save_every or eval_every) == 0:
            if stop:
                self.display.message("saving …")
            self.folder.save(self.learner, self.state)
            self.saved = time.monotonic()
        if stop and step < last:
            self.folder.interrupted()
            raise Interrupted(self.folder.path, step)

    def _evaluate_dev(self) -> None:
        """Evaluate on the dev set, and keep the model if it is the best so far."""
        with self.learner.averaged():
            result = self.evaluator.evaluate(self.setup.dev)
            rate, best = result.word_errors.rate, self.state.best_error_rate
            if best is None or rate <= best:
                self.state.best_error_rate, self.state.best_step = rate, self.state.step
                self.folder.write_best(self.learner, self.state, result)
        self.folder.log_evaluation(self.state, result)
        self.display.evaluated(self.state, result)

    def evaluate_best(self) -> EvaluationResult:
        """Evaluate the best model on the test set, or on the dev set where there is none."""
        start = time.monotonic()
        self.folder.load_best(self.learner)
        result = self.evaluator.evaluate(self.setup.test or self.setup.dev)
        self.state.seconds += time.monotonic() - start
        self.folder.finish(self.state, result)
        return result

    def _report(self, batches: Sequence[AudioBatch], result: StepResult) -> None:
        rate = self.setup.recipe.sample_rate
        audio = sum(float(batch.lengths.sum()) for batch in batches) / rate * self.group.size
        self.state.audio_seconds += audio
        self.display.step(self.state, result)
        step, every = self.state.step, self.setup.config.train.log_every
        if step % every == 0 or step == 1 or step == self.setup.steps or not result.applied:
            self.folder.log_step(self.state, result)

    def _check_finite(self, batches: Sequence[AudioBatch], result: StepResult) -> None:
        """Apply the policy for steps whose loss or gradient is not finite."""
        if result.applied or result.overflow:
            self.state.skipped = 0
            return
        self.state.skipped += 1
        self.state.skipped_total += 1
        config = self.setup.config.train
        if config.non_finite == "skip" and self.state.skipped <= config.non_finite_limit:
            return
        self.folder.save(self.learner, self.state)
        names = ", ".join(name for batch in batches for name in batch.utterance_ids[:3])
        raise UserError(
            f"loss or gradient of {self.state.skipped} steps in a row was not finite; the state "
            f"before step {self.state.step + 1} is saved in {self.folder.path}; its utterances "
            f"are {names}, …; try a lower --train.lr or --precision fp32"
        )

    def _check_audio(self, batches: Sequence[AudioBatch]) -> None:
        """Apply the policy for utterances whose audio cannot be used."""
        found = _problems(batches)
        if not self.group.any(bool(found))[0]:
            return
        everywhere = self.group.gather(found)
        found = {n: str(p) for one in everywhere if isinstance(one, dict) for n, p in one.items()}
        if self.setup.config.on_bad_utterance == "skip":
            self.state.bad_utterances += len(found)
            self.folder.log_bad_utterances(self.state, found)
            return
        self.folder.save(self.learner, self.state)
        name, problem = next(iter(found.items()))
        saved = f"step {self.state.step} is saved in {self.folder.path}"
        raise UserError(f"{bad_utterance(name, problem, len(found) - 1)}; {saved}")


def _problems(batches: Sequence[AudioBatch]) -> Mapping[str, str]:
    return {
        name: problem
        for batch in batches
        for name, problem in zip(batch.utterance_ids, batch.problems, strict=True)
        if problem
    }
