"""Forward and backward as CUDA graphs: the GPU runs thousands of kernels at one word of the host.

A step of a small model is some thousand kernels, each shorter than its launch takes the host. A
graph holds them all, with their memory, for one shape of batch. Batches are padded to few shapes.
A shape's first batch is computed as ever, its second is captured; both ways give the same bits, so
that a run which is resumed, and captures later, has those of one that was not.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from asr_lab.models.base import ASRModel, Batch, ModelConfig, Sequences
from asr_lab.reproducibility.levels import Level

PRECISIONS = ("fp32", "tf32", "bf16")
"""Those whose step keeps nothing on the host."""
FINENESS = {"utterances": 8, "frames": 16, "tokens": 4}
"""Sizes from a power of two to the next: more of them pad less, and are captured more often."""
MOST = 128
"""Graphs that are kept; batches of further shapes are computed without."""

Divisors: TypeAlias = Mapping[str, Float[Tensor, ""]]
Pool: TypeAlias = Any
"""Memory that graphs share; torch has types for it that differ between releases."""
Learn: TypeAlias = Callable[[Batch, Divisors], Mapping[str, Float[Tensor, ""]]]
"""Adds the gradients of a batch to the parameters; returns the sums of the parts of its loss."""


def why_not(
    model: ASRModel[ModelConfig], precision: str, level: Level, device: str, processes: int
) -> str:
    """Return why steps cannot be graphs, with a remedy, or nothing if they can."""
    without = "leave out --train.cuda-graphs"
    if device != "cuda":
        return f"--train.cuda-graphs needs a GPU; this run is on {device}; {without}"
    if processes > 1:
        return f"--train.cuda-graphs works in one process; this run has {processes}; {without}"
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        return f"--train.cuda-graphs takes {known}; found --precision {precision}; {without}"
    if level == "elastic":
        return (
            "--repro elastic adds up gradients as no CUDA graph does; say --repro exact or "
            f"{without}"
        )
    if not model.fits_cuda_graph:
        kind = type(model).__name__
        return f"the loss of this {kind} asks the GPU for numbers on its way; {without}"
    return ""


def rounded(count: int, fineness: int) -> int:
    """Return the least of few sizes that is no smaller than `count`.

    There are `fineness` of them from each power of two to the next, where there are so many.
    """
    if count <= fineness:
        return count
    step = (1 << count.bit_length() - 1) // fineness
    return -(-count // step) * step


def padded(batch: Batch) -> Batch:
    """Return the batch with utterances, frames and tokens added to make it one of few shapes.

    The utterances that are added have no frames and are not valid. Of what is known about
    utterances only tensors are kept.
    """
    values, tokens = batch.features.values, batch.tokens
    rows = rounded(len(batch), FINENESS["utterances"]) - len(batch)
    frames = rounded(values.shape[1], FINENESS["frames"]) - values.shape[1]
    places = rounded(tokens.shape[1], FINENESS["tokens"]) - tokens.shape[1]
    lengths = F.pad(batch.features.lengths, (0, rows))
    return Batch(
        features=Sequences(F.pad(values, (0, 0, 0, frames, 0, rows)), lengths),
        tokens=F.pad(tokens, (0, places, 0, rows)),
        token_lengths=F.pad(batch.token_lengths, (0, rows)),
        keys=F.pad(batch.keys, (0, rows)),
        valid=F.pad(batch.valid, (0, rows)),
    )


class Graphs:
    """Computes gradients of batches as `learn` does, by a graph for every shape seen before.

    Gradients are added to what the parameters hold, which must stay where it is in memory: set it
    to zeros, not to None. Call it with the generator of the device seeded for the batch.
    """

    def __init__(self, learn: Learn, most: int = MOST) -> None:
        """Begin without graphs."""
        self.learn, self.most = learn, most
        self._seen: set[tuple[object, ...]] = set()
        self._graphs: dict[tuple[object, ...], _Graph] = {}
        self._inputs: dict[int, Tensor] = {}
        """Memory of the inputs, by place; graphs share it, as they run one after the other."""
        self._pool: Pool | None = None

    def __call__(self, batch: Batch, counts: Mapping[str, int]) -> Mapping[str, Float[Tensor, ""]]:
        """Add the gradients of a batch; `counts` are those of the whole step."""
        batch, device = padded(batch), batch.tokens.device
        divisors = {
            name: torch.full((), float(max(count, 1)), device=device)
            for name, count in counts.items()
        }
        given = [*_tensors(batch), *divisors.values()]
        shape = (*divisors, *((one.shape, one.dtype) for one in given))
        if shape in self._graphs:
            return self._graphs[shape].replay(given)
        if shape not in self._seen or len(self._graphs) == self.most:
            self._seen.add(shape)
            return self.learn(batch, divisors)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        inputs = [self._input(place, one) for place, one in enumerate(given)]
        self._graphs[shape] = _Graph(self.learn, inputs, list(divisors), self._pool)
        return self._graphs[shape].replay(given)

    @property
    def captured(self) -> int:
        """How many shapes have a graph."""
        return len(self._graphs)

    def _input(self, place: int, like: Tensor) -> Tensor:
        """Return memory for an input."""
        known = self._inputs.get(place)
        if known is None or known.numel() < like.numel():
            known = self._inputs[place] = like.new_empty(like.numel())
        return known[: like.numel()].view(like.shape)


class _Graph:
    """What was captured for one shape."""

    def __init__(
        self, learn: Learn, inputs: list[Tensor], names: Sequence[str], pool: Pool
    ) -> None:
        self.inputs = inputs
        values, lengths, tokens, counts, keys, valid, *divisors = inputs
        batch = Batch(
            features=Sequences(values, lengths),
            tokens=tokens,
            token_lengths=counts,
            keys=keys,
            valid=valid,
        )
        self.graph = torch.cuda.CUDAGraph()
        # A loader's thread that pins memory must not end the capture.
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.parts = learn(batch, dict(zip(names, divisors, strict=True)))

    def replay(self, given: list[Tensor]) -> dict[str, Tensor]:
        """Compute with other inputs; what is returned outlives the next graph."""
        torch._foreach_copy_(self.inputs, given)
        self.graph.replay()
        return {name: part.clone() for name, part in self.parts.items()}


def _tensors(batch: Batch) -> list[Tensor]:
    features = batch.features
    texts = [batch.tokens, batch.token_lengths, batch.keys, batch.valid]
    return [features.values, features.lengths, *texts]
