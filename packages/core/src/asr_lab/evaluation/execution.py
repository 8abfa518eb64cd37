"""Where and how an evaluation was computed: without it, its speed says nothing."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Batching:
    """In which batches utterances were recognised."""

    order: str
    """Order in which utterances were recognised."""
    batch_size: int = 0
    """Utterances in a batch that were asked for; 0 for as many as `batch_seconds` hold."""
    batch_seconds: float
    """Seconds of audio in a batch, padding counted; they are no limit if there is a size."""
    warm_up: int
    """Batches that each device recognised before the clock started."""


@dataclass(frozen=True, kw_only=True)
class Execution(Batching):
    """What the leaderboards ask for beside a speed, and what memory it took."""

    device: str
    """What the GPU or the processor calls itself."""
    devices: int
    """GPUs, or processes on the CPU."""
    threads: int
    """Threads of each process on the CPU."""
    precision: str
    """Numeric precision, by name."""
    language_model: str
    """SHA-256 of the language model's file; empty without one."""
    weights: str
    """Numbers that the weights are kept in, such as `float32`."""
    arithmetic: str
    """Numbers that matrix products are computed in."""
    batches: int
    largest_batch: int
    """Most utterances in a batch."""
    parameters: int
    """Numbers in the model."""
    peak_memory: int
    """Most bytes in use on a GPU, or by a process on the CPU, model included."""
    while_training: bool = False
    """Whether a training run was evaluated at its end: what it needs is in memory too."""

    def sentence(self) -> str:
        """Return what a person wants to know beside the speed."""
        count = f"{self.devices} x " if self.devices > 1 else ""
        batch = f"batches of {'up to ' if self.batches > 1 else ''}{self.largest_batch:,}"
        numbers = (
            self.arithmetic
            if self.arithmetic == self.weights
            else (f"{self.arithmetic} on {self.weights} weights")
        )
        return (
            f"{count}{self.device}, {self.precision} ({numbers}), {batch}, {self.warm_up} to warm"
            f" up, {self.peak_memory / 1e9:.1f} GB"
        )


def together(parts: Sequence[Execution]) -> Execution:
    """Return what several processes, each with a device of its own, did together."""
    return replace(
        parts[0],
        devices=sum(part.devices for part in parts),
        batches=sum(part.batches for part in parts),
        largest_batch=max(part.largest_batch for part in parts),
        peak_memory=max(part.peak_memory for part in parts),
    )


def peak_memory_of_process() -> int:
    """Return the most bytes that this process had in memory; 0 where the system does not tell."""
    if os.name != "posix":
        return 0
    import resource  # there is none on Windows

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
