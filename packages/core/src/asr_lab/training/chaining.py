"""What the digest chain of a run is made of, taken while the run goes on."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from asr_lab.checkpoints.errors import MismatchedCheckpointError
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.reproducibility.chain import ChainEnd, Entry, different_tensors
from asr_lab.reproducibility.hash import canonical_json, root_digest, short_digest
from asr_lab.reproducibility.sums import Sums, Tables
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.setup import Setup
from asr_lab.training.state import TrainState
from asr_lab.training.witnesses import (
    append_heard,
    changed_audio,
    heard,
    read_heard,
    told_change,
)
from asr_lab.utils.errors import UserError

WRAP = 2**128
"""Digests of micro-batches are added up modulo this, so that any process may hear any of them."""


class Recorder:
    """Takes the digests of a run every few steps, and after the last.

    Digests of tensors are those of the first process, whose weights are those of all.
    """

    def __init__(self, learner: Learner, group: Group, state: TrainState) -> None:
        """Listen to a learner from where `state` stands."""
        self.learner, self.group = learner, group
        self.every = learner.config.train.digest_every
        self._tables = Tables()
        self._sums = Sums(self._tables)
        self._data = int(state.data or "0", 16) if group.first else 0
        self._heard: list[bytes] = []
        learner.watch = self._watch

    def due(self, step: int) -> bool:
        """Return True if the chain has an entry after this step, counted from 1."""
        return bool(self.every) and (step % self.every == 0 or step == self.learner.steps)

    def _watch(self, step: int) -> None:
        """Take the gradients of a step, counted from 0, while they are there."""
        if self.group.first and self.due(step + 1):
            self._sums = Sums(self._tables)
            named = self.learner.model.named_parameters()
            self._sums.add("gradients", {n: p.grad for n, p in named if p.grad is not None})

    def taken(self) -> Sums:
        """Return the gradients of the last step that was due, and forget them."""
        found, self._sums = self._sums, Sums(self._tables)
        return found

    def heard(self, batches: Sequence[AudioBatch], state: TrainState) -> None:
        """Take this process's micro-batches of the step that `state` has just counted."""
        if state.epoch == 0 or (state.epoch, state.epoch_step) == (1, 0):
            self._heard.append(heard(batches))
        first = self.group.rank * len(batches)
        for number, batch in enumerate(batches, first):
            self._data = (self._data + batch_digest(batch, state.step, number)) % WRAP

    def gathered(self, state: TrainState) -> str:
        """Return what all processes have heard since the start, and note it in `state`."""
        everywhere = self.group.gather(f"{self._data:032x}")
        total = sum(int(str(one), 16) for one in everywhere) % WRAP
        self._data = total if self.group.first else 0
        state.data = f"{total:032x}"
        return state.data

    def new_audio(self) -> bytes:
        """Return what all processes have heard for the first time; nothing but in the first."""
        mine, self._heard = b"".join(self._heard), []
        found = [one for one in self.group.gather(mine) if isinstance(one, bytes)]
        return b"".join(found) if self.group.first else b""

    def entry(self, state: TrainState, result: StepResult) -> Entry:
        """Return the entry after a step; only that of the first process says all."""
        data = self.gathered(state)
        if not self.group.first:
            return Entry(step=state.step)
        tensors, plain = self.learner.tensors()
        sums = self.taken()
        for group, named in tensors.items():
            sums.add(group, named)
        roots = {group: root_digest(found) for group, found in sums.digests().items()}
        numbers = short_digest(canonical_json(plain).encode())
        digests = {**roots, "numbers": numbers, "loss": loss_digest(result), "data": data}
        return Entry(step=state.step, digests=digests)

    def check_restored(self, folder: Path, step: int, saved: Entry | None) -> None:
        """Raise MismatchedCheckpointError unless the state is what the chain says was saved."""
        if saved is None:
            return
        if names := different_tensors(saved.tensors, self.tensors(self.learner.tensors()[0])):
            raise MismatchedCheckpointError(
                f"the checkpoint of step {step} in {folder} is not that of this run: "
                f"{names[0]} differs from what the chain says; put it back or delete it"
            )

    def tensors(self, named: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, str]]:
        """Return the digests of tensors, by group and name."""
        sums = Sums(self._tables)
        for group, found in named.items():
            sums.add(group, found)
        return sums.digests()


def loss_digest(result: StepResult) -> str:
    """Return the digest of the losses and the norm of the gradient, to the last bit."""
    numbers = {name: value.hex() for name, value in result.losses.items()}
    return short_digest(canonical_json([numbers, result.gradient_norm.hex()]).encode())


def batch_digest(batch: AudioBatch, step: int, number: int) -> int:
    """Return 128 bits of what was heard: which utterances, their samples, tokens and speeds.

    An utterance that is left out because it is bad changes them.
    """
    content = [step, number, *utterance_facts(batch)]
    return int(short_digest(canonical_json(content).encode()), 16)


def utterance_facts(batch: AudioBatch) -> Iterable[list[object]]:
    """Yield what the digest covers of each utterance, its id first and its audio second."""
    tokens = [
        row[:n] for row, n in zip(batch.tokens.tolist(), batch.token_lengths.tolist(), strict=True)
    ]
    columns = (batch.keys.tolist(), batch.speeds.tolist(), batch.valid.tolist())
    for facts in zip(batch.utterance_ids, batch.audio_digests, tokens, *columns, strict=True):
        yield list(facts)


def check_audio(
    known: Mapping[int, int], batches: Sequence[AudioBatch], setup: Setup, group: Group
) -> None:
    """Raise UserError, in all processes, for audio that is not what a run has heard before."""
    if not known:
        return
    changed = changed_audio(known, batches)
    if group.any(bool(changed))[0]:
        names = [str(name) for name in group.gather(changed) if name]
        raise UserError(told_change(names[0], setup))


class ChainWriter:
    """Writes the chain of a run that is under way."""

    def __init__(self, chain: ChainEnd, recorder: Recorder, setup: Setup) -> None:
        """Go on with a chain; only the first process writes."""
        self.chain, self.recorder, self.setup = chain, recorder, setup
        self._known = read_heard(chain.path.parent)

    def check(self, batches: Sequence[AudioBatch]) -> None:
        """Raise UserError, in all processes, for audio that has changed since the run began."""
        check_audio(self._known, batches, self.setup, self.recorder.group)

    def gathered(self, state: TrainState) -> None:
        """Note what all processes have heard, before the state is saved."""
        self.recorder.gathered(state)
        everywhere = self.recorder.new_audio()
        if everywhere:
            append_heard(self.chain.path.parent, everywhere)

    def step(self, batches: Sequence[AudioBatch], state: TrainState, result: StepResult) -> None:
        """Take a finished step, and write an entry if one is due."""
        self.recorder.heard(batches, state)
        if self.recorder.due(state.step):
            entry = self.recorder.entry(state, result)
            if self.recorder.group.first:
                self.chain.append(entry)

    def saved(self, state: TrainState, named: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write what is about to be saved, tensor by tensor."""
        self.chain.append(Entry(step=state.step, tensors=self.recorder.tensors(named)))
