"""The folder of a run: what is written there, when, and what is read back to go on."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from asr_lab.checkpoints import (
    Checkpoint,
    PortableModel,
    load_latest,
    prune,
    read_portable,
    remove_leftovers,
    save,
    write_portable,
)
from asr_lab.checkpoints.directory import step_path
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.plugins import Plugins, Tracker
from asr_lab.plugins.observers import Observers
from asr_lab.reproducibility.chain import ChainEnd
from asr_lab.reproducibility.environment import environment_changes
from asr_lab.reproducibility.hash import file_digest, tensor_digest
from asr_lab.reproducibility.record import RunRecord, Status
from asr_lab.training.chaining import ChainWriter, Recorder
from asr_lab.training.claiming import claim_folder
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.recording import (
    ORIGIN,
    check_origin,
    environment_with_plugins,
    level_of,
    new_record,
    origin,
)
from asr_lab.training.setup import Setup
from asr_lab.training.signals import Interrupted
from asr_lab.training.starting import SOURCE
from asr_lab.training.state import TrainState
from asr_lab.training.trackers import open_trackers
from asr_lab.training.witnesses import remember
from asr_lab.utils.errors import UserError, tell
from asr_lab.utils.files import append_line, write_atomically

METRICS, BAD = "metrics.jsonl", "bad-utterances.jsonl"
BEST, CHECKPOINTS = "best.pt", "checkpoints"


Loading = Future[tuple[Checkpoint | None, list[str]]]
"""The newest intact checkpoint of a run, while its files are read; see `load_latest`."""


def load_ahead(run: Path, device: torch.device) -> Loading:
    """Begin to read the newest intact checkpoint of a run, on a thread of its own.

    A GPU is woken meanwhile: its context and the kernels of digests take it a second, later too.
    """
    pool = ThreadPoolExecutor(2)
    try:
        if device.type == "cuda":
            pool.submit(lambda: tensor_digest(torch.zeros(1, device=device)))
        return pool.submit(load_latest, run / CHECKPOINTS)
    finally:
        pool.shutdown(wait=False)


@dataclass
class RunFolder:
    """The files of a run; only the first process writes."""

    path: Path
    setup: Setup
    group: Group
    plugins: Plugins
    record: RunRecord
    observers: Observers
    resumed: bool = False
    trackers: tuple[Tracker, ...] = ()
    chain: ChainWriter | None = None
    """The digest chain, once there is a learner; None if there is to be none."""
    bad: set[str] = field(default_factory=set)
    """Utterances that are known to be bad."""
    under_way: bool = False
    """Whether it has begun, or gone on: a run that cannot be gone on with stays what it was."""
    seconds_to_first_step: float | None = None
    """From the start of the process to the end of the first step of this session."""

    @classmethod
    def open(
        cls,
        setup: Setup,
        group: Group,
        plugins: Plugins,
        resume: Path | None,
        before: bytes | None = None,
    ) -> "RunFolder":
        """Make the folder of a new run, or take that of the run to resume.

        `before` is what `check_output` returned. Raises UserError, in all processes, if the folder
        is taken or cannot be made.
        """

        def begin(folder: Path) -> RunRecord:
            return new_record(folder, setup, group, plugins)

        if resume:
            record, folder = RunRecord.read(resume), resume
        else:
            folder = _claim_together(setup, group, before, begin)
            record = begin(folder)
        observers = Observers(plugins)
        found = cls(folder, setup, group, plugins, record, observers)
        found.resumed, found.under_way = resume is not None, resume is None
        return found

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Span the run: record its start, and how it ended where it did not finish."""
        try:
            self._keep_source()
            if self.group.first:
                if self.resumed:
                    self.record.write(self.path)  # is there room?
                remember(self.path, self.setup)
                remove_leftovers(self.path)
                remove_leftovers(self.checkpoints)
                self._open_trackers()
                self.observers.run_started(self.path, self.record.to_dict())
            yield
        except (Interrupted, KeyboardInterrupt):
            self._ended("interrupted")
            raise
        except BaseException:
            self._ended("failed")
            raise
        finally:
            for tracker in self.trackers:
                tracker.finish()

    def _keep_source(self) -> None:
        """Copy what the run starts from, as what was typed may soon be another model."""
        if (start := self.setup.start) is not None:
            if self.group.first and not self.resumed:
                write_portable(self.path / SOURCE, start.portable)
            start.forget_weights()

    def _open_trackers(self) -> None:
        self.trackers = open_trackers(
            self.setup.config.trackers, self.plugins.registry, self.path, self.record.config
        )

    def _ended(self, status: Status) -> None:
        """Record how the run ended, if the disk lets us: the reason itself is told elsewhere."""
        if self.group.first and self.under_way and self.record.status != "finished":
            self._time_first_step()
            self.record = replace(self.record, status=status)
            with suppress(UserError):
                self.record.write(self.path)

    def _time_first_step(self) -> None:
        seconds = self.seconds_to_first_step
        if seconds is not None:
            execution = {**self.record.execution, "seconds_to_first_step": round(seconds, 3)}
            self.record = replace(self.record, execution=execution)

    @property
    def checkpoints(self) -> Path:
        """Where the run goes on from."""
        return self.path / CHECKPOINTS

    @property
    def best(self) -> Path:
        """The portable model with the lowest error rate on the dev set."""
        return self.path / BEST

    def restore(self, learner: Learner, loading: Loading | None = None) -> TrainState:
        """Load the newest intact checkpoint into `learner` and return where the run stands.

        `loading` is what `load_ahead` returned, where there may be a checkpoint.
        """
        checkpoint = self._loaded(loading) if loading else None
        state = TrainState()
        if checkpoint is not None:
            learner.load(checkpoint.tensors, checkpoint.state)
            check_origin(step_path(self.checkpoints, checkpoint.step), checkpoint.state, self.setup)
            stored = checkpoint.state["run"]
            assert isinstance(stored, Mapping)
            state = TrainState.from_dict(stored)
            if self.group.first:  # a kill may have come between a save and this
                self._prune(state)
        if learner.config.train.digest_every:
            chain = ChainEnd.at(self.path, state.step)
            recorder = Recorder(learner, self.group, state)
            recorder.check_restored(self.path, state.step, chain.saved)
            self.chain = ChainWriter(chain, recorder, self.setup)
        if self.resumed:
            self.under_way = True
            self._restarted(state)
        self.log_bad_utterances(state, self.setup.unusable)
        return state

    def _loaded(self, loading: Loading) -> Checkpoint | None:
        """Wait for a checkpoint, and tell which ones were damaged."""
        checkpoint, problems = loading.result()
        for problem in problems if self.group.first else ():
            tell(problem)
        return checkpoint

    def _restarted(self, state: TrainState) -> None:
        """Record that the run goes on, and forget what will be done again."""
        here = environment_with_plugins(self.plugins)
        changes = environment_changes(self.record.environment, here)
        before, now = self.record.execution.get("repro", "off"), level_of(self.setup, self.group)
        changes += [f"repro: {before} -> {now}"] if before != now else []
        self.record = self.record.restarted(state.step, tuple(changes))
        if self.group.first:
            self._write_record()
            if self.chain is not None:
                self.chain.chain.cut()
            # Before the first checkpoint, all is done again, an evaluation of the start included.
            _forget_after(self.path / METRICS, state.step or -1)
            kept = _forget_after(self.path / BAD, state.step)
            self.bad = {str(json.loads(line)["id"]) for line in kept}

    def save(self, learner: Learner, state: TrainState) -> None:
        """Write a checkpoint to resume from, and delete the oldest ones."""
        if self.chain is not None:
            self.chain.gathered(state)
        if self.group.first:
            tensors, plain = learner.tensors()
            if self.chain is not None:
                self.chain.saved(state, tensors)
            plain |= {"run": state.to_dict(), ORIGIN: origin(self.setup)}
            path = save(self.checkpoints, state.step, tensors, plain)
            self._write_record()
            self._prune(state)
            self.observers.checkpoint_saved(self.path, state.step, path)
        self.group.barrier()

    def _prune(self, state: TrainState) -> None:
        prune(self.checkpoints, self.setup.config.train.keep, newest=state.step)

    def _write_record(self) -> None:
        """Write `run.json` with the head that the chain has now."""
        if self.chain is not None:
            digests = {**self.record.digests, "chain": self.chain.chain.head}
            self.record = replace(self.record, digests=digests)
        self.record.write(self.path)

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
        """Append utterances that are bad, and why, to `bad-utterances.jsonl`, each once."""
        for name in [name for name in found if name not in self.bad]:
            self.bad.add(name)
            if self.group.first:
                line = {"step": state.step, "id": name, "problem": found[name]}
                append_line(self.path / BAD, json.dumps(line, ensure_ascii=False))
        state.bad_utterances = len(self.bad)

    def _log(self, step: int, metrics: Mapping[str, float]) -> None:
        if not self.group.first:
            return
        # JSON has no word for what is not finite.
        plain = {name: x if math.isfinite(x) else None for name, x in metrics.items()}
        append_line(self.path / METRICS, json.dumps({"step": step, **plain}))
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def finish(self, state: TrainState, result: EvaluationResult) -> None:
        """Write the final evaluation, and replace the convenience copy of `best.pt`."""
        if not self.group.first:
            return
        kind = "test" if self.setup.test else "dev"
        written = (f"{kind}.hypotheses.jsonl", f"{kind}.result.json")
        result.write_hypotheses(self.path / written[0])
        write_atomically(self.path / written[1], json.dumps(result.to_dict(), indent=2))
        if not self.setup.config.output:
            write_atomically(self.path.parent / BEST, self.best.read_bytes())
        self._time_first_step()
        results = {kind: result.to_dict(), "state": state.to_dict()}
        files = {f"file:{name}": file_digest(self.path / name) for name in (BEST, *written)}
        digests = {**self.record.digests, **files}
        self.record = replace(self.record, status="finished", results=results, digests=digests)
        self.record.write(self.path)
        self.observers.evaluation_finished(self.path, result.to_dict())
        self.observers.run_finished(self.path, self.record.to_dict())


def _claim_together(
    setup: Setup, group: Group, before: bytes | None, begin: Callable[[Path], RunRecord]
) -> Path:
    """Let the first process make the folder; all learn its name, or why there is none."""
    claimed: object = ""
    if group.first:
        try:
            claimed = str(claim_folder(setup.config, before, begin))
        except UserError as error:
            claimed = error
    claimed = group.gather(claimed)[0]
    if isinstance(claimed, UserError):
        raise claimed
    return Path(str(claimed))


def _forget_after(path: Path, step: int) -> list[bytes]:
    """Drop the lines about steps that will be done again; return the others."""
    if not path.exists():
        return []
    # Bytes, because a crash may have torn a character, and text has other line ends than "\n".
    kept = [line for line in path.read_bytes().split(b"\n") if _step(line) <= step]
    write_atomically(path, b"".join(line + b"\n" for line in kept))
    return kept


def _step(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):  # a line that a crash tore
        return float("inf")
