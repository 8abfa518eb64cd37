"""Sums whose bits do not depend on how many processes share the work: one fixed tree of additions.

A step has a fixed number of micro-batches, a power of two. A process adds its own as a binary
counter does, equal heights first, and the processes are then added pairwise: for every power of two
of processes the same balanced tree.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asr_lab.training.distributed import Group
from asr_lab.utils.errors import UserError


class TreeSum:
    """Adds tensors in the order of a balanced tree, while keeping few of them."""

    def __init__(self) -> None:
        """Start empty."""
        self._subtrees: list[tuple[int, Tensor]] = []

    def add(self, term: Float[Tensor, "*any"]) -> None:
        """Add one leaf, and merge subtrees of equal height."""
        height = 0
        while self._subtrees and self._subtrees[-1][0] == height:
            term = self._subtrees.pop()[1] + term
            height += 1
        self._subtrees.append((height, term))

    def total(self) -> Float[Tensor, "*any"]:
        """Return the sum of a power of two of leaves, and start anew."""
        ((_, total),) = self._subtrees
        self._subtrees.clear()
        return total


class GradientTree:
    """Takes the gradients of one micro-batch after the other, and puts their sum back."""

    def __init__(self, model: nn.Module, group: Group) -> None:
        """Prepare for the parameters that learn."""
        self.model = model
        self.parameters = [one for one in model.parameters() if one.requires_grad]
        self.group = group
        self._gradients, self._parts = TreeSum(), TreeSum()
        self._names: list[str] = []

    def add(self, parts: Mapping[str, Float[Tensor, ""]]) -> None:
        """Take the gradients off the parameters; `parts` are the sums of the losses."""
        flat = [
            (torch.zeros_like(one) if one.grad is None else one.grad).flatten()
            for one in self.parameters
        ]
        self._gradients.add(torch.cat(flat))
        self._names = sorted(parts)
        self._parts.add(torch.stack([parts[name] for name in self._names]))
        for one in self.parameters:
            one.grad = None

    def finish(self) -> dict[str, Float[Tensor, ""]]:
        """Give the parameters the gradient of the whole step; return the sums of the losses."""
        total = self.group.sum_as_tree(self._gradients.total())
        sizes = [one.numel() for one in self.parameters]
        for one, part in zip(self.parameters, total.split(sizes), strict=True):
            one.grad = part.view_as(one)
        parts = self.group.sum_as_tree(self._parts.total())
        return dict(zip(self._names, parts, strict=True))

    def check_buffers(self, before: Sequence[Tensor]) -> None:
        """Raise UserError if a buffer has changed since `before`: every process has its own."""
        for (name, buffer), old in zip(self.model.named_buffers(), before, strict=True):
            if not torch.equal(buffer, old):
                raise UserError(
                    f"{name} of the model follows the utterances that a process sees, which "
                    "--repro elastic refuses; use a norm without statistics, or --repro exact"
                )
