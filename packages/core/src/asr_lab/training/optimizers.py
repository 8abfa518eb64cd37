"""The optimizer, and the moving average of the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import unwrap

import torch
from torch import Tensor, nn

from asr_lab.plugins import Plugins
from asr_lab.training.config import TrainConfig


def build_optimizer(
    model: nn.Module, config: TrainConfig, plugins: Plugins
) -> torch.optim.Optimizer:
    """Return the first optimizer that a plugin builds, or AdamW."""
    built = plugins.manager.hook.asr_lab_build_optimizer(model=model, config=config)
    if built is not None:
        assert isinstance(built, torch.optim.Optimizer)
        return built
    return adamw(model, config)


def adamw(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW (arXiv 1711.05101), fused where the device has it.

    Biases, norms and other vectors are not decayed.
    """
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for parameter in model.parameters():
        if parameter.requires_grad:
            matrix = parameter.ndim > 1 and not getattr(parameter, "no_decay", False)
            groups[matrix].append(parameter)
    settings = [
        {"params": parameters, "weight_decay": config.weight_decay if decayed else 0.0}
        for decayed, parameters in groups.items()
        if parameters
    ]
    return AdamW(settings, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


class AdamW(torch.optim.AdamW):
    """torch's AdamW without what torch puts around it to keep it apart from compiled code.

    That imports torch's compiler, which takes a run that compiles nothing longer than torch itself.
    """

    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = unwrap(torch.optim.AdamW.load_state_dict)
    zero_grad = unwrap(torch.optim.AdamW.zero_grad)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


class MovingAverage:
    """Exponential moving average of the weights, in FP32.

    The decay grows with the number of steps, min(decay, (1 + n) / (10 + n)), so that the average
    forgets the initial weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start from the model's weights."""
        self.decay = decay
        self.weights = {
            name: parameter.detach().clone().float() for name, parameter in model.named_parameters()
        }

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the weights after `step` (counted from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        now = [parameter.detach().float() for parameter in model.parameters()]
        torch._foreach_lerp_(list(self.weights.values()), now, 1 - decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Put the average into the model for a stretch of code."""
        parameters = dict(model.named_parameters())
        before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self._copy(self.weights, parameters)
        try:
            yield
        finally:
            self._copy(before, parameters)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Go on from stored weights."""
        self._copy(weights, self.weights)

    @staticmethod
    @torch.no_grad()
    def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
        for name, tensor in target.items():
            tensor.copy_(source[name])
