"""The folder of a run: what is written there, when, and what is read back to go on."""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from asr_lab.checkpoints import (
    PortableModel,
    latest,
    load,
    prune,
    read_portable,
    remove_leftovers,
    save,
    write_portable,
)
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.plugins import Plugins, Tracker
from asr_lab.plugins.observers import Observers
from asr_lab.reproducibility.environment import environment, environment_changes
from asr_lab.reproducibility.record import RECORD, RunRecord
from asr_lab.training.config_io import to_dict
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.setup import Setup
from asr_lab.training.state import TrainState
from asr_lab.training.trackers import open_trackers
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import append_line, write_atomically, writing

OUTPUTS = Path("outputs")
METRICS, BEST, CHECKPOINTS = "metrics.jsonl", "best.pt", "checkpoints"


@dataclass
class RunFolder:
    """The files of a run; only the first process writes."""

    path: Path
    setup: Setup
    group: Group
    plugins: Plugins
    record: RunRecord
    observers: Observers
    trackers: tuple[Tracker, ...] = ()

    @classmethod
    def open(cls, setup: Setup, group: Group, plugins: Plugins, resume: Path | None) -> "RunFolder":
        """Make the folder of a new run, or take that of the run to resume, and record the start.

        Raises UserError if the folder is taken, or if the data of a resumed run have changed.
        """
        record = None
        if resume:
            record, path = RunRecord.read(resume), str(resume)
            _check_unchanged(record, setup)
        else:
            path = str(_claim(setup)) if group.first else ""
        folder = Path(str(group.gather(path)[0]))
        record = record or new_record(folder, setup, group, plugins)
        run = cls(folder, setup, group, plugins, record, Observers(plugins))
        if group.first:
            remove_leftovers(run.checkpoints)
            record.write(folder)
            run.trackers = open_trackers(
                setup.config.trackers, plugins.registry, folder, record.config
            )
            run.observers.run_started(folder, record.to_dict())
        return run

    @property
    def checkpoints(self) -> Path:
        """Where the run goes on from."""
        return self.path / CHECKPOINTS

    @property
    def best(self) -> Path:
        """The portable model with the lowest error rate on the dev set."""
        return self.path / BEST

    def restore(self, learner: Learner) -> TrainState:
        """Load the newest intact checkpoint into `learner` and return where the run stands."""
        found, problems = latest(self.checkpoints)
        for problem in problems if self.group.first else ():
            print(f"asr-lab: {problem}", file=sys.stderr)
        if found is None:
            return TrainState()
        checkpoint = load(found)
        learner.load(checkpoint.tensors, checkpoint.state)
        state = checkpoint.state["run"]
        assert isinstance(state, Mapping)
        here = self.record_environment()
        changes = environment_changes(self.record.environment, here)
        self.record = self.record.restarted(checkpoint.step, tuple(changes))
        if self.group.first:
            self.record.write(self.path)
            _forget_after(self.path / METRICS, checkpoint.step)
        return TrainState.from_dict(state)

    def record_environment(self) -> dict[str, str]:
        """Return the facts about this machine, those of plugins included."""
        return {**environment(), **self.observers.environment()}

    def save(self, learner: Learner, state: TrainState) -> None:
        """Write a checkpoint to resume from, and delete the oldest ones."""
        if self.group.first:
            tensors, plain = learner.tensors()
            path = save(self.checkpoints, state.step, tensors, {**plain, "run": state.to_dict()})
            prune(self.checkpoints, self.setup.config.train.keep)
            self.observers.checkpoint_saved(self.path, state.step, path)
        self.group.barrier()

    def write_best(self, learner: Learner, state: TrainState, result: EvaluationResult) -> None:
        """Write the model, as its weights are now, to `best.pt`."""
        if not self.group.first:
            return
        config, setup = self.setup.config, self.setup
        plugin = config.model.partition("/")[0]
        distribution, version = self.plugins.distribution_of(plugin)
        portable = PortableModel(
            model=config.model,
            distribution=distribution,
            distribution_version=version,
            config=config.model_config.to_dict(),
            tokenizer_kind=setup.config.data_config.tokenizer,
            tokenizer=setup.tokenizer.to_bytes(),
            tensors=learner.unwrapped.state_dict(),
            features=config.model_config.features,
            normalizer=result.normalizer,
            language=setup.language,
            weights="averaged" if learner.average else "raw",
            run_id=self.record.run_id,
            metrics={"step": state.step, "dev": result.to_dict()},
        )
        write_portable(self.best, portable)

    def load_best(self, learner: Learner) -> None:
        """Put the weights of `best.pt` into the model."""
        self.group.barrier()
        learner.unwrapped.load_state_dict(dict(read_portable(self.best).tensors))

    def log_step(self, state: TrainState, result: StepResult) -> None:
        """Append the metrics of a step to `metrics.jsonl`, and send them to the trackers."""
        metrics = {
            **{f"loss/{name}": value for name, value in result.losses.items()},
            "gradient_norm": result.gradient_norm,
            "lr": result.lr,
            "epoch": float(state.epoch),
            "seconds": state.seconds,
            "audio_seconds": state.audio_seconds,
            "skipped": float(state.skipped_total),
        }
        self._log(state.step, metrics)
        if self.group.first:
            self.observers.step_finished(self.path, state.step, metrics)

    def log_evaluation(self, state: TrainState, result: EvaluationResult) -> None:
        """Append an evaluation on the dev set to `metrics.jsonl`."""
        rates = {
            "dev/word_error_rate": result.word_errors.rate,
            "dev/character_error_rate": result.character_errors.rate,
        }
        self._log(state.step, rates)
        if self.group.first:
            self.observers.evaluation_finished(self.path, result.to_dict())

    def log_bad_utterances(self, state: TrainState, found: Mapping[str, str]) -> None:
        """Append utterances that were skipped, and why, to `bad-utterances.jsonl`."""
        if self.group.first:
            for name, problem in found.items():
                line = {"step": state.step, "id": name, "problem": problem}
                append_line(self.path / "bad-utterances.jsonl", json.dumps(line))

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        if not self.group.first:
            return
        append_line(self.path / METRICS, json.dumps({"step": step, **metrics}))
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def finish(self, state: TrainState, result: EvaluationResult) -> None:
        """Write the final evaluation, and replace the convenience copy of `best.pt`."""
        if not self.group.first:
            return
        kind = "test" if self.setup.test else "dev"
        result.write_hypotheses(self.path / f"{kind}.hypotheses.jsonl")
        write_atomically(self.path / f"{kind}.result.json", json.dumps(result.to_dict(), indent=2))
        results = {kind: result.to_dict(), "state": state.to_dict()}
        self.record = replace(self.record, status="finished", results=results)
        self.record.write(self.path)
        if not self.setup.config.output:
            write_atomically(self.path.parent / BEST, self.best.read_bytes())
        self.observers.evaluation_finished(self.path, result.to_dict())
        self.observers.run_finished(self.path, self.record.to_dict())
        self.close()

    def close(self) -> None:
        """End the trackers."""
        for tracker in self.trackers:
            tracker.finish()

    def interrupted(self) -> None:
        """Record that the run was stopped."""
        if self.group.first:
            self.record = replace(self.record, status="interrupted")
            self.record.write(self.path)
            self.close()


def new_record(folder: Path, setup: Setup, group: Group, plugins: Plugins) -> RunRecord:
    """Return the record of a run that starts now."""
    config = setup.config
    return RunRecord(
        run_id=folder.name,
        command=("asr-lab", *sys.argv[1:]),
        model=config.model,
        preset=config.preset,
        changes=dict(config.changes),
        config=to_dict(config),
        seeds={"seed": config.seed},
        digests=digests(setup),
        environment={**environment(), **Observers(plugins).environment()},
        execution={
            "device": str(group.device),
            "precision": config.precision,
            "mode": "compiled" if config.train.compile else "eager",
            "processes": group.size,
        },
    )


def digests(setup: Setup) -> dict[str, str]:
    """Return what must not change between the start of a run and its resumption."""
    return {
        "config": setup.config.model_config.digest(),
        "index": setup.index.digest,
        "plan": setup.plan.digest(),
        "tokenizer": setup.tokenizer.digest,
    }


def _check_unchanged(record: RunRecord, setup: Setup) -> None:
    for name, digest in digests(setup).items():
        if record.digests.get(name) != digest:
            raise UserError(
                f"the {name} of this run has changed ({record.digests.get(name, 'none')[:8]} is "
                f"recorded, {digest[:8]} found); restore its data or start a new run"
            )


def _claim(setup: Setup) -> Path:
    """Make the folder of a new run. Raises UserError if the one asked for is taken."""
    config = setup.config
    if not config.output:
        return _next_free(f"{setup.spec.name}-{Path(config.preset).stem}")
    folder = Path(config.output)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not config.overwrite:
            raise UserError(f"{folder} exists; choose another --output or say --overwrite")
        if not (folder / RECORD).exists():
            raise UserError(f"{folder} is not the folder of a run; choose another --output")
        with writing(folder):
            shutil.rmtree(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _next_free(name: str) -> Path:
    """Make `outputs/NAME-0001`, or the first number after the last."""
    with writing(OUTPUTS):
        OUTPUTS.mkdir(exist_ok=True)
        numbers = [int(p.name[-4:]) for p in OUTPUTS.glob(f"{name}-[0-9][0-9][0-9][0-9]")]
        number = max(numbers, default=0) + 1
        while True:
            folder = OUTPUTS / f"{name}-{number:04}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder


def _forget_after(metrics: Path, step: int) -> None:
    """Drop the metrics of steps that will be done again."""
    if not metrics.exists():
        return
    kept = [line for line in metrics.read_text().splitlines() if _step(line) <= step]
    write_atomically(metrics, "".join(f"{line}\n" for line in kept))


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):  # a line that a crash tore
        return float("inf")
