"""The trainer: from settings to a trained model, in a loop that reads like a page."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import bad_utterance, first_problem
from asr_lab.data.loader import AudioDataset
from asr_lab.evaluation.evaluator import problems_of
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.models.base import ASRModel
from asr_lab.plugins import Plugins, installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.reproducibility.record import RunRecord
from asr_lab.reproducibility.seeding import scope
from asr_lab.training.claiming import check_output
from asr_lab.training.clock import process_seconds
from asr_lab.training.config import RunConfig
from asr_lab.training.display import Display, SilentDisplay
from asr_lab.training.distributed import Group, process_group
from asr_lab.training.evaluating import RunEvaluator, merged
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.levels import at_level, refuse_coupling
from asr_lab.training.recording import check_unchanged
from asr_lab.training.run_folder import RunFolder, load_ahead
from asr_lab.training.setup import Setup, length, prepare
from asr_lab.training.signals import Interrupted, StopRequest, stop_request
from asr_lab.training.starting import SOURCE
from asr_lab.training.state import TrainState
from asr_lab.training.stream import BatchStream
from asr_lab.utils.errors import UserError

__all__ = ["FitResult", "Interrupted", "Trainer", "build_learner"]

QUICK_HOURS = 0.1
"""Corpora up to this long are decoded without a word about it."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What a finished run has to show."""

    folder: Path
    best: Path
    """The portable model with the lowest word error rate on the dev set."""
    result: EvaluationResult
    """Evaluation of that model on the test set, or on the dev set where there is none."""
    state: TrainState
    seconds: float
    """Wall time of this session, since the process was started where the system tells when."""
    dataset: str
    """What to type to evaluate on the same data again; empty where they were held out."""


class Trainer:
    """Trains one model as its settings say."""

    def __init__(
        self, config: RunConfig, *, resume: Path | None = None, display: Display | None = None
    ) -> None:
        """Take the settings of a run; with `resume`, the folder of the run to go on with."""
        self.config, self.resume = config, resume
        self.display = display or SilentDisplay()
        self._began = time.monotonic() - process_seconds()

    @property
    def seconds(self) -> float:
        """Wall time since the process was started."""
        return time.monotonic() - self._began

    def fit(self) -> FitResult:
        """Train, evaluate and save.

        Raises UserError for what a user can mend, Interrupted after SIGINT or SIGTERM. Nothing is
        written before data, model and precision are known to work; what was learned is saved.
        """
        taken = check_output(self.config) if self.resume is None else None
        before = RunRecord.read(self.resume).digests if self.resume else None
        plugins = installed_plugins()
        with (
            process_group(self.config.device) as group,
            at_level(self.config, group, self.resume),
            stop_request() as stop,
        ):
            setup = prepare(self.config, plugins, self.resume and self.resume / SOURCE)
            if before is not None:
                assert self.resume is not None
                check_unchanged(before, setup, self.resume)
            loading = load_ahead(self.resume, group.device) if self.resume else None
            stream = BatchStream(setup, group)
            learner = build_learner(setup, group, plugins)
            evaluator = RunEvaluator(setup, learner, group)
            self._decode([stream.dataset, *evaluator.datasets()], group)
            if group.any(bool(stop))[0]:  # there is nothing to save yet
                raise KeyboardInterrupt
            folder = RunFolder.open(setup, group, plugins, self.resume, taken)
            with folder.recorded():
                state = folder.restore(learner, loading)
                with self.display.running(setup, learner, folder.path, state):
                    run = _Run(self, setup, stream, learner, evaluator, folder, state, group, stop)
                    run.train()
                    result = run.evaluate_best()
        return FitResult(
            folder=folder.path,
            best=folder.best,
            result=result,
            state=state,
            seconds=self.seconds,
            dataset=(setup.test or setup.dev).typed,
        )

    def _decode(self, datasets: Sequence[AudioDataset], group: Group) -> None:
        """Decode audio that stays in memory. Raises UserError for bad audio under `fail`."""
        kept = [dataset for dataset in datasets if dataset.stays_in_memory(group.device)]
        hours = sum(dataset.hours for dataset in kept)
        if hours > QUICK_HOURS:
            self.display.message(f"audio  decoding {length(hours)} to keep it in memory")
        problems = merged(group.gather(merged([dataset.decode() for dataset in kept])))
        if problems and self.config.on_bad_utterance == "fail":
            raise UserError(first_problem(problems))


def build_learner(setup: Setup, group: Group, plugins: Plugins) -> Learner:
    """Build the model from its configuration and the seed, ready to learn."""
    model_class = load_target(setup.spec.model)
    assert isinstance(model_class, type) and issubclass(model_class, ASRModel)
    with scope(setup.config.seed, "initialisation"):
        model = model_class(setup.config.model_config)
    refuse_coupling(model, setup.config.repro)
    if setup.start is not None:
        setup.start.load_into(model)
    return Learner(model, setup.config, setup.recipe, group, plugins, setup.steps)


@dataclass
class _Run:
    """A run under way."""

    trainer: Trainer
    setup: Setup
    stream: BatchStream
    learner: Learner
    evaluator: RunEvaluator
    folder: RunFolder
    state: TrainState
    group: Group
    stop: StopRequest
    saved: float = 0.0
    """When the last checkpoint was written, on the monotonic clock."""

    @property
    def display(self) -> Display:
        """What shows the run."""
        return self.trainer.display

    def train(self) -> None:
        """Do the steps that are left."""
        clock = self.saved = time.monotonic()
        start = self.setup.start
        known = start is not None and not start.anew and not self.state.step
        if known or (self.state.step and self._evaluation_due()):  # it failed at its evaluation
            self._evaluate_dev()
        for batches in self.stream.batches(self.state):
            self._check_audio(batches)
            if self.folder.chain is not None:
                self.folder.chain.check(batches)
            result = self.learner.step(batches, self.state.step)
            self._check_finite(batches, result)
            self.stream.advance(self.state)
            if self.folder.chain is not None:
                self.folder.chain.step(batches, self.state, result)
            if self.folder.seconds_to_first_step is None:
                self.folder.seconds_to_first_step = self.trainer.seconds
            now = time.monotonic()
            self.state.seconds, clock = self.state.seconds + now - clock, now
            self._report(batches, result)
            self._evaluate_and_save()

    def _evaluation_due(self) -> bool:
        step, last = self.state.step, self.setup.steps
        every = self.setup.config.train.eval_every or -(-last // 10)
        return self.state.evaluated_step != step and (step % every == 0 or step == last)

    def _evaluate_and_save(self) -> None:
        config, step, last = self.setup.config.train, self.state.step, self.setup.steps
        late = time.monotonic() - self.saved > config.save_seconds
        stop, late = self.group.any(bool(self.stop), late)
        evaluate = self._evaluation_due()
        if evaluate:
            try:
                self._evaluate_dev()
            except UserError:
                self.folder.save(self.learner, self.state)
                raise
        due = step % config.save_every == 0 if config.save_every else evaluate
        if stop or late or due or step == last:
            if stop:
                self.display.message("saving …")
            self.folder.save(self.learner, self.state)
            self.saved = time.monotonic()
        if stop and step < last:
            raise Interrupted(self.folder.path, step)

    def _evaluate_dev(self) -> None:
        """Evaluate on the dev set, and keep the model if it is the best so far."""
        with self.learner.averaged():
            result = self.evaluator.evaluate(self.setup.dev)
            rate, best = result.word_errors.rate, self.state.best_error_rate
            if best is None or rate <= best:
                self.state.best_error_rate, self.state.best_step = rate, self.state.step
                self.folder.write_best(self.learner, self.state, result)
        self.state.evaluated_step = self.state.step
        self.folder.log_evaluation(self.state, result)
        self.display.evaluated(self.state, result)

    def evaluate_best(self) -> EvaluationResult:
        """Evaluate the best model on the test set, or on the dev set where there is none."""
        start = time.monotonic()
        self.folder.load_best(self.learner)
        result = self.evaluator.evaluate(self.setup.test or self.setup.dev, final=True)
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
        count = self.state.skipped
        raise UserError(
            f"loss or gradient was not finite in {count} {'step' if count == 1 else 'steps'} in a "
            f"row; the state before step {self.state.step + 1} is saved in {self.folder.path}; its "
            f"utterances are {names}, …; try a lower --train.lr or --precision fp32"
        )

    def _check_audio(self, batches: Sequence[AudioBatch]) -> None:
        """Apply the policy for utterances whose audio cannot be used."""
        found = problems_of(batches)
        if not self.group.any(bool(found))[0]:
            return
        found = merged(self.group.gather(found))
        if self.setup.config.on_bad_utterance == "skip":
            self.folder.log_bad_utterances(self.state, found)
            return
        self.folder.save(self.learner, self.state)
        name, problem = next(iter(found.items()))
        saved = f"step {self.state.step} is saved in {self.folder.path}"
        raise UserError(f"{bad_utterance(name, problem, len(found) - 1)}; {saved}")
