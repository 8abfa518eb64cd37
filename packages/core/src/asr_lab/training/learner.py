"""One optimizer step: model, precision, optimizer and average, and nothing about runs or files."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asr_lab.audio.recipes import FeatureRecipe
from asr_lab.checkpoints import flatten_optimizer, restore_optimizer
from asr_lab.checkpoints.building import difference
from asr_lab.checkpoints.errors import MismatchedCheckpointError
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.features import Augmentation, lengths_only, to_batch
from asr_lab.models.base import ASRModel, Batch, ModelConfig
from asr_lab.models.base.outputs import total_loss
from asr_lab.plugins import Plugins
from asr_lab.precision import PrecisionManager, get_precision_manager
from asr_lab.reproducibility.levels import Level, resolve_level
from asr_lab.reproducibility.seeding import scope
from asr_lab.training.config import RunConfig
from asr_lab.training.distributed import Group
from asr_lab.training.elastic import GradientTree
from asr_lab.training.graphs import Graphs, why_not
from asr_lab.training.optimizers import MovingAverage, build_optimizer
from asr_lab.training.schedules import learning_rate
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What an optimizer step did."""

    losses: Mapping[str, float]
    """Mean of each part over the whole step."""
    gradient_norm: float
    lr: float
    applied: bool
    """False if the weights were left alone because loss or gradient was not finite."""
    overflow: bool
    """True if it was the loss scale of a narrow format that was too large, which adapts."""


class _Loss(nn.Module):
    """The loss of a micro-batch as a module, which is what data parallelism wraps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, batch: Batch, counts: Mapping[str, int | Float[Tensor, ""]]
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        parts = self.model.loss(batch)  # type: ignore[operator]
        return total_loss(parts, counts), {name: part.sum.detach() for name, part in parts.items()}


class Learner:
    """A model that learns, one optimizer step at a time.

    The loss of a step is the sum over all its micro-batches, on all devices, divided by the count
    of the whole step: how the step was split changes nothing but rounding.
    """

    def __init__(
        self,
        model: ASRModel[ModelConfig],
        config: RunConfig,
        recipe: FeatureRecipe,
        group: Group,
        plugins: Plugins,
        steps: int,
    ) -> None:
        """Prepare a freshly built model to be trained for `steps`.

        Raises UserError where CUDA graphs are asked for and cannot be.
        """
        self.config, self.recipe, self.group, self.steps = config, recipe, group, steps
        self.precision: PrecisionManager = get_precision_manager(config.precision, group.device)
        prepared = self.precision.prepare(model)
        wrapped = plugins.manager.hook.asr_lab_wrap_model(model=prepared, config=config.train)
        self.model = (prepared if wrapped is None else wrapped).to(group.device)
        if config.train.compile:
            for region in self.unwrapped.regions:
                region.compile()
        loss = _Loss(self.model)
        level = resolve_level(config.repro, group.device.type)
        elastic = level == "elastic"
        self.tree = GradientTree(self.model, group) if elastic else None
        self.loss = loss if elastic else group.wrap(loss, same_buckets=level != "off")
        self.optimizer = build_optimizer(self.model, config.train, plugins)
        self.graphs = self._graphs(level) if config.train.cuda_graphs else None
        decay = config.train.ema
        self.average = MovingAverage(self.model, decay) if decay else None
        sample_rate = recipe.sample_rate
        self.augmentation = Augmentation.load(config.data_config, sample_rate, group.device)
        self.watch: Callable[[int], None] | None = None
        """Called in every step, with its number, while the gradients are there."""

    def step(self, batches: Sequence[AudioBatch], step: int) -> StepResult:
        """Learn from this process's micro-batches of a step (counted from 0)."""
        self.model.train()
        statistics = [buffer.clone() for buffer in self.model.buffers()]
        counts = self._counts(batches)
        sums = self._gradients(batches, counts, step)
        if self.tree is not None:
            self.tree.check_buffers(statistics)
        lr = learning_rate(self.config.train, step, self.steps)
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        self.precision.unscale(self.optimizer)
        clip = self.config.train.clip or float("inf")
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), clip)
        losses = self._losses(sums, counts)
        if self.watch is not None:
            self.watch(step)
        finite = bool(torch.isfinite(norm)) and all(map(math.isfinite, losses.values()))
        # A precision that scales the loss must see the overflow, so that its scale falls.
        overflow = not finite and self.precision.scales and all(map(math.isfinite, losses.values()))
        applied = self.precision.step(self.optimizer) if finite or overflow else False
        self.optimizer.zero_grad(set_to_none=self.graphs is None)
        if not applied:  # running statistics have seen what was not finite
            for buffer, before in zip(self.model.buffers(), statistics, strict=True):
                buffer.copy_(before)
        elif self.average is not None:
            self.average.update(self.model, step)
        return StepResult(
            losses=losses, gradient_norm=float(norm), lr=lr, applied=applied, overflow=overflow
        )

    def _counts(self, batches: Sequence[AudioBatch]) -> dict[str, int]:
        """Count what the losses sum over, in the whole step and on all devices."""
        total: dict[str, int] = {}
        model = self.unwrapped
        for batch in batches:
            for name, count in model.loss_counts(lengths_only(batch, self.recipe)).items():
                total[name] = total.get(name, 0) + count
        return self.group.sum_counts(total)

    def _gradients(
        self, batches: Sequence[AudioBatch], counts: Mapping[str, int], step: int
    ) -> dict[str, Tensor]:
        """Add up the gradients of the micro-batches; return the sums of the loss parts.

        With a tree, both are those of all processes.
        """
        sums: dict[str, Tensor] = {}
        first, seed, device = self.group.rank * len(batches), self.config.seed, self.group.device
        with self.precision.step():
            for number, audio in enumerate(batches):
                batch = to_batch(audio, self.recipe, device, self.augmentation)
                with scope(seed, "dropout", step, first + number, device=device):
                    with self._exchange(number == len(batches) - 1):
                        parts = (self.graphs or self._learn)(batch, counts)
                if self.tree is not None:
                    self.tree.add(parts)
                    continue
                for name, value in parts.items():
                    sums[name] = sums[name] + value if name in sums else value
        return sums if self.tree is None else self.tree.finish()

    def _learn(
        self, batch: Batch, counts: Mapping[str, int | Float[Tensor, ""]]
    ) -> dict[str, Float[Tensor, ""]]:
        """Add the gradients of a micro-batch; return the sums of its loss parts."""
        with self.precision.autocast():
            total, parts = self.loss(batch, counts)
        # Data parallelism takes the mean over processes; the sum is wanted.
        self.precision.backward(total if self.tree else total * self.group.size)
        found: dict[str, Tensor] = parts
        return found

    def _graphs(self, level: Level) -> Graphs:
        """Return what computes gradients by graphs, with memory for them to add to."""
        device, size = self.group.device.type, self.group.size
        if reason := why_not(self.unwrapped, self.config.precision, level, device, size):
            raise UserError(reason)
        for weight in self.model.parameters():
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        return Graphs(self._learn)

    def _exchange(self, last: bool) -> AbstractContextManager[object]:
        return nullcontext() if last else self.group.unsynchronised(self.loss)

    def _losses(self, sums: Mapping[str, Tensor], counts: Mapping[str, int]) -> dict[str, float]:
        names = sorted(sums)
        stacked = torch.stack([sums[name] for name in names])
        totals = (stacked if self.tree else self.group.sum_tensor(stacked)).tolist()
        return {name: x / max(counts[name], 1) for name, x in zip(names, totals, strict=True)}

    def averaged(self) -> AbstractContextManager[object]:
        """Put the average of the weights, if there is one, into the model for a stretch of code."""
        return nullcontext() if self.average is None else self.average.applied(self.model)

    @property
    def unwrapped(self) -> ASRModel[ModelConfig]:
        """The model itself, without what a plugin or the compiler put around it."""
        model = self.model
        while not isinstance(model, ASRModel):
            model = next(model.children())
        return model

    def tensors(self) -> tuple[dict[str, Mapping[str, Tensor]], dict[str, object]]:
        """Return everything a checkpoint needs: tensors by file, and plain values."""
        moments, optimizer = flatten_optimizer(self.optimizer, self.model)
        tensors: dict[str, Mapping[str, Tensor]] = {
            "model": self.model.state_dict(),
            "optimizer": moments,
        }
        if self.average is not None:
            tensors["average"] = self.average.weights
        return tensors, {"optimizer": optimizer, "precision": self.precision.state_dict()}

    def load(
        self, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, object]
    ) -> None:
        """Go on from what `tensors` returned.

        Raises MismatchedCheckpointError for what belongs to another model; nothing is changed then.
        """
        if problem := difference(self.model.state_dict(), tensors["model"]):
            raise MismatchedCheckpointError(
                f"the checkpoint is that of another model than {self.config.model} of this run: "
                f"{problem}; put back the run's own, or delete it"
            )
        self.model.load_state_dict(dict(tensors["model"]))
        moments, optimizer, precision = tensors["optimizer"], state["optimizer"], state["precision"]
        assert isinstance(optimizer, Mapping) and isinstance(precision, Mapping)
        restore_optimizer(self.optimizer, self.model, moments, optimizer)
        self.precision.load_state_dict(precision)
        if self.average is not None:
            self.average.load(tensors["average"])
