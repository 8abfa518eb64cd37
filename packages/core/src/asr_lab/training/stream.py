"""The stream of micro-batches that a process trains on, from any position of the plan."""

from collections.abc import Iterator

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.loader import Request, load
from asr_lab.data.plan import EpochPlan, plan_epoch
from asr_lab.training.distributed import Group
from asr_lab.training.setup import Setup
from asr_lab.training.state import TrainState
from asr_lab.utils.errors import UserError


class BatchStream:
    """Follows the plan; where it stands is in the run's state, not here."""

    def __init__(self, setup: Setup, group: Group) -> None:
        """Prepare to load this process's share of every step.

        Raises UserError if the micro-batches of a step cannot be shared out evenly.
        """
        self.setup, self.group = setup, group
        self.share, rest = divmod(setup.plan.micro_batches, group.size)
        if rest:
            raise UserError(
                f"--train.accumulate {setup.plan.micro_batches} is the number of micro-batches of "
                f"a step; {group.size} processes need a multiple of {group.size}"
            )
        self.dataset = setup.dataset()
        self._plans: dict[int, EpochPlan] = {}

    def plan(self, epoch: int) -> EpochPlan:
        """Return the plan of an epoch; two are kept, as the loader is ahead of the training."""
        if epoch not in self._plans:
            setup = self.setup
            made = plan_epoch(
                setup.index.durations, setup.sources, setup.config.seed, epoch, setup.plan
            )
            self._plans = {**{e: p for e, p in self._plans.items() if e == epoch - 1}, epoch: made}
        return self._plans[epoch]

    def batches(self, state: TrainState) -> Iterator[list[AudioBatch]]:
        """Yield this process's micro-batches of every step from where `state` stands now."""
        data = self.setup.config.data_config
        left = self.setup.steps - state.step
        device = self.group.device
        loaded = load(
            self.dataset,
            self._requests(state.epoch, state.epoch_step, left),
            workers=0 if self.dataset.stays_in_memory(device) else data.workers,
            prefetch=data.prefetch,
            pin=device.type == "cuda",
        )
        for _ in range(left):
            yield [next(loaded) for _ in range(self.share)]

    def _requests(self, epoch: int, step: int, left: int) -> Iterator[Request]:
        first = self.share * self.group.rank
        while left > 0:
            plan = self.plan(epoch)
            for number in range(step, min(plan.steps, step + left)):
                mine = plan.step(number)[first : first + self.share]
                yield from (Request(epoch, batch) for batch in mine)
            left -= plan.steps - step
            epoch, step = epoch + 1, 0

    def advance(self, state: TrainState) -> None:
        """Move `state` to the next step."""
        state.step += 1
        state.epoch_step += 1
        if state.epoch_step == self.plan(state.epoch).steps:
            state.epoch, state.epoch_step = state.epoch + 1, 0
