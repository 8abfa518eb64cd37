"""Do a run again, or a part of it, from what its folder says, and write nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from asr_lab.checkpoints import load
from asr_lab.checkpoints.directory import steps as checkpoint_steps
from asr_lab.checkpoints.errors import DamagedCheckpointError
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.plugins import Plugins
from asr_lab.reproducibility.chain import Chain
from asr_lab.reproducibility.environment import environment_changes
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.chaining import Recorder, check_audio
from asr_lab.training.config_io import from_dict
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.recording import check_origin, check_unchanged, environment_with_plugins
from asr_lab.training.run_folder import CHECKPOINTS
from asr_lab.training.setup import Setup, prepare
from asr_lab.training.starting import SOURCE
from asr_lab.training.state import TrainState
from asr_lab.training.stream import BatchStream
from asr_lab.training.trainer import build_learner
from asr_lab.training.witnesses import read_heard
from asr_lab.utils.errors import UserError

WITHOUT_EFFECT = ("cores", "memory", "platform", "driver", "variable.CUDA_VISIBLE_DEVICES")
"""Facts about a machine that do not change what a program computes on it."""


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """What the folder of a run says, and what is needed to do it again."""

    folder: Path
    record: RunRecord
    chain: Chain
    setup: Setup

    @classmethod
    def read(cls, folder: Path, plugins: Plugins) -> "RecordedRun":
        """Read a run and its data.

        Raises UserError if one of them is missing, damaged, newer, or not what it was.
        """
        record = RunRecord.read(folder)
        chain = Chain.read(folder)
        if not chain.entries:
            raise UserError(f"{folder} has no entry in its chain yet; let it do more steps")
        setup = prepare(from_dict(record.config, plugins.registry), plugins, folder / SOURCE)
        check_unchanged(record.digests, setup, folder)
        return cls(folder=folder, record=record, chain=chain, setup=setup)

    def environment_changes(self, plugins: Plugins) -> list[str]:
        """Return what differs here from where the run was made, as far as it may change bits."""
        here = environment_with_plugins(plugins)
        return environment_changes(_with_effect(self.record.environment), _with_effect(here))

    def checkpoints(self, step: int) -> dict[int, Path]:
        """Return the checkpoints up to a step."""
        found = checkpoint_steps(self.folder / CHECKPOINTS)
        return {at: path for at, path in found if at <= step}


def _with_effect(facts: Mapping[str, str]) -> dict[str, str]:
    return {name: fact for name, fact in facts.items() if name not in WITHOUT_EFFECT}


class Replay:
    """A run under way again."""

    def __init__(self, run: RecordedRun, group: Group, plugins: Plugins, start: int = 0) -> None:
        """Stand before the first step, or behind step `start`, of which there is a checkpoint.

        Raises CheckpointError if the checkpoint is damaged or that of another run.
        """
        self.run, self.group = run, group
        self.stream = BatchStream(run.setup, group)
        self.learner: Learner = build_learner(run.setup, group, plugins)
        self.state = TrainState()
        if start:
            self._restore(run.checkpoints(start)[start])
        self.recorder = Recorder(self.learner, group, self.state)
        if start:
            self.recorder.check_restored(run.folder, start, run.chain.saves.get(start))
        self._batches = self.stream.batches(self.state)
        self._known = read_heard(run.folder)

    def _restore(self, path: Path) -> None:
        checkpoint = load(path)
        stored = checkpoint.state.get("run")
        if not isinstance(stored, Mapping):
            raise DamagedCheckpointError(f"checkpoint {path} does not say where the run stands")
        self.learner.load(checkpoint.tensors, checkpoint.state)
        check_origin(path, checkpoint.state, self.run.setup)
        self.state = TrainState.from_dict(stored)

    def next(self) -> list[AudioBatch]:
        """Return this process's micro-batches of the next step."""
        return next(self._batches)

    def check_audio(self, batches: list[AudioBatch]) -> None:
        """Raise UserError, in all processes, for audio that is not what the run has heard."""
        check_audio(self._known, batches, self.run.setup, self.group)

    def step(self, batches: list[AudioBatch]) -> StepResult:
        """Do a step."""
        result = self.learner.step(batches, self.state.step)
        self.stream.advance(self.state)
        self.recorder.heard(batches, self.state)
        return result
