"""The epoch plan: which utterances are in which micro-batch, as a pure function.

The plan depends on the index, the seed, the epoch and the settings, and on nothing else: not on the
number of loader processes or devices, and not on what was drawn before. Position in it is
`(epoch, step in epoch)`, so that resuming costs nothing.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr_lab.reproducibility.keys import derive_key, shuffled

Integers: TypeAlias = NDArray[np.int64]

POOL = 65536
"""Utterances that are sorted by duration together; larger corpora are cut into such pools."""
JITTER = 0.1
"""Relative noise on the durations before sorting, so that batch mates differ between epochs."""


@dataclass(frozen=True, kw_only=True)
class PlanSettings:
    """Everything that changes a batch, besides index, seed and epoch."""

    batch_seconds: float
    """Seconds of audio in a micro-batch after the change of speed, padding counted."""
    max_utterances: int
    """Most utterances in a micro-batch."""
    micro_batches: int = 1
    """Micro-batches per optimizer step, over all devices."""
    speeds: tuple[float, ...] = (1.0,)
    """Speed factors to draw from."""
    tokenizer: str = ""
    """Digest of the tokenizer, which decides what an utterance of the index needs."""
    steps: str = ""
    """Digest of what decides encoder lengths: the model's configuration."""

    def digest(self) -> str:
        """Return the SHA-256, in hexadecimal, of the settings."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class MicroBatch:
    """Utterances that go through the model together."""

    indices: Integers
    """Positions in the index."""
    speeds: NDArray[np.float32]
    """Speed factor of each."""
    counted: bool = True
    """False for a filler that keeps all devices busy and counts for nothing."""


@dataclass(frozen=True)
class EpochPlan:
    """All micro-batches of an epoch, in order."""

    epoch: int
    order: Integers
    speeds: NDArray[np.float32]
    """By position in `order`."""
    starts: Integers
    """Where each micro-batch starts in `order`."""
    ends: Integers
    """Where it ends; an end at its start marks a filler."""
    micro_batches: int
    """Micro-batches per step."""

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.starts) // self.micro_batches

    def step(self, step: int) -> list[MicroBatch]:
        """Return the micro-batches of a step."""
        first = step * self.micro_batches
        return [self._micro_batch(slot) for slot in range(first, first + self.micro_batches)]

    def _micro_batch(self, slot: int) -> MicroBatch:
        start, end = self.starts[slot], self.ends[slot]
        if start == end:  # a filler: one utterance, for its shape alone
            return MicroBatch(self.order[:1], self.speeds[:1], counted=False)
        return MicroBatch(self.order[start:end], self.speeds[start:end])

    def digest(self) -> str:
        """Return the SHA-256, in hexadecimal, of every choice in the plan."""
        found = hashlib.sha256(f"{self.epoch}:{self.micro_batches}".encode())
        for array in (self.order, self.speeds, self.starts, self.ends):
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set's place in the index: positions `start` to `end`, `weight` passes an epoch."""

    start: int
    end: int
    weight: float = 1.0


def plan_epoch(
    durations: Integers, sources: Sequence[Source], seed: int, epoch: int, settings: PlanSettings
) -> EpochPlan:
    """Plan an epoch over utterances of the given `durations` in milliseconds.

    Each source walks its own permutations without replacement: with weight 0.5, two epochs see
    every utterance of it once.
    """
    chosen = np.concatenate([_walk(source, seed, epoch) for source in sources])
    chosen = chosen[shuffled(len(chosen), seed, "pools", epoch)]
    factors = np.asarray(settings.speeds, np.float32)
    drawn = _uniform(len(chosen), seed, "speed", epoch)
    speeds = factors[(drawn * len(factors)).astype(np.int64)]
    lengths = durations[chosen] / speeds
    noisy = lengths * (1 + JITTER * (2 * _uniform(len(chosen), seed, "jitter", epoch) - 1))
    budget = settings.batch_seconds * 1000
    parts = [
        start + np.argsort(noisy[start : start + POOL], kind="stable")
        for start in range(0, len(chosen), POOL)
    ]
    cuts = _cut([lengths[pool] for pool in parts], budget, settings.max_utterances)
    position, sizes = np.concatenate(parts), np.concatenate(cuts)
    ends = np.cumsum(sizes)
    starts, ends = _fill(ends - sizes, ends, settings.micro_batches)
    mixed = shuffled(len(starts), seed, "batches", epoch)
    order, speeds = chosen[position], speeds[position]
    return EpochPlan(epoch, order, speeds, starts[mixed], ends[mixed], settings.micro_batches)


def sorted_batches(
    durations: Integers, batch_seconds: float, max_utterances: int
) -> list[MicroBatch]:
    """Return every utterance once, longest first, in batches for evaluation.

    Longest first, so that what does not fit into memory fails at once.
    """
    order = np.argsort(-durations, kind="stable")
    return ordered_batches(order, durations, batch_seconds, max_utterances)


def ordered_batches(
    order: Integers, durations: Integers, batch_seconds: float, max_utterances: int
) -> list[MicroBatch]:
    """Return the utterances of an `order`, in that order, in batches."""
    (sizes,) = _cut([durations[order].astype(np.float64)], batch_seconds * 1000, max_utterances)
    ends = np.cumsum(sizes)
    parts = [order[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    return [MicroBatch(part, np.ones(len(part), np.float32)) for part in parts]


def _uniform(count: int, seed: int, *purpose: int | str) -> NDArray[np.float64]:
    """Draw numbers in [0, 1) from Philox's raw bits, the same in every release of numpy."""
    bits = np.random.Philox(key=derive_key(seed, *purpose) % 2**64).random_raw(count)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _walk(source: Source, seed: int, epoch: int) -> Integers:
    """Return what a source adds to an epoch: its stretch of an endless row of permutations."""
    count = source.end - source.start
    first, last = round(epoch * source.weight * count), round((epoch + 1) * source.weight * count)
    pieces = []
    for turn in range(first // count, -(-last // count)):
        row = shuffled(count, seed, "source", source.start, turn)
        pieces.append(row[max(first - turn * count, 0) : last - turn * count])
    return source.start + np.concatenate(pieces or [np.zeros(0, np.int64)])


def _cut(rows: Sequence[NDArray[np.float64]], budget: float, most: int) -> list[Integers]:
    """Cut rows of lengths into runs whose longest times their number stays within `budget`.

    A single utterance over the budget is a run of its own. Returns the sizes of the runs of every
    row. All rows are cut side by side, which for 150 of them takes a tenth of the time.
    """
    counts = np.array([len(row) for row in rows])
    # Behind its end, every row has a window that no budget holds.
    table = np.full((len(rows), int(counts.max(initial=0)) + most), np.inf)
    for place, row in zip(table, rows, strict=True):
        place[: len(row)] = row
    numbers, window = np.arange(1, most + 1), np.arange(most)
    starts, active = np.zeros(len(rows), np.int64), np.flatnonzero(counts)
    found: list[tuple[Integers, Integers]] = []
    while len(active):
        longest = table[active[:, None], starts[active, None] + window]
        padded = np.maximum.accumulate(longest, axis=1) * numbers
        sizes = np.maximum((padded <= budget).sum(1), 1)
        found.append((active, sizes))
        starts[active] += sizes
        active = active[starts[active] < counts[active]]
    owners = np.concatenate([row for row, _ in found] or [np.zeros(0, np.int64)])
    everything = np.concatenate([sizes for _, sizes in found] or [np.zeros(0, np.int64)])
    by_row = everything[np.argsort(owners, kind="stable")]
    return np.split(by_row, np.cumsum(np.bincount(owners, minlength=len(rows)))[:-1])


def _fill(starts: Integers, ends: Integers, group: int) -> tuple[Integers, Integers]:
    """Make the number of micro-batches a multiple of `group`.

    The largest are halved until the last step is full, so that no utterance is left out; where
    there are fewer utterances than slots, fillers follow.
    """
    while len(starts) % group:
        sizes = ends - starts
        largest = len(sizes) - 1 - int(np.argmax(sizes[::-1]))  # the last of the largest
        if sizes[largest] < 2:
            starts, ends = np.append(starts, 0), np.append(ends, 0)
        else:
            middle = starts[largest] + sizes[largest] // 2
            starts = np.insert(starts, largest + 1, middle)
            ends = np.insert(ends, largest, middle)
    return starts, ends
