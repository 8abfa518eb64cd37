"""Measure what it takes to find the place of a step in a large plan, early and late in a run.

    python packages/core/benchmarks/resume.py [--utterances 10000000] [docs/results/resume.json]

plans the epoch of step 10 and that of step 1,000,000 over that many durations, each in a fork, as a
run does that goes on from there. Memory is that of the process on top of what it had before; the
floor is one shuffled order of the utterances, of which a plan needs four. What utterances take as
an index is measured on up to a million of them. Seconds are those that one core has worked.
"""

import argparse
import json
import resource
import statistics
import time
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr_lab.data.index import Index
from asr_lab.data.plan import PlanSettings, Source, plan_epoch
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.reproducibility.environment import machine
from asr_lab.reproducibility.keys import shuffled
from asr_lab.testing.forks import forked

STEPS = (10, 1_000_000)
GOAL = 0.5
"""Seconds by which the later step may take longer."""
SETTINGS = PlanSettings(batch_seconds=120.0, max_utterances=256)
TEXT = "a sentence of fifty letters or so as people say it"


def utterances(count: int) -> Iterator[Utterance]:
    """Make up utterances of 1 to 20 seconds, a thousand in a folder."""
    seconds = np.random.default_rng(0).uniform(1, 20, count)
    for number, duration in enumerate(seconds.tolist()):
        path = f"/corpus/train/{number // 1000:05}/{number:08}.flac"
        yield Utterance(
            id=f"{number:08}", audio=AudioSource(path=path), text=TEXT, duration=duration
        )


class Row:
    """Utterances that are made as they are read: no list of them is in memory."""

    def __init__(self, count: int) -> None:
        """Keep their number."""
        self.count = count

    def __len__(self) -> int:
        """Return their number."""
        return self.count

    def __iter__(self) -> Iterator[Utterance]:
        """Make one after the other."""
        return utterances(self.count)


def gigabytes() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def locate(durations: NDArray[np.int64], epoch: int, place: int) -> dict[str, float]:
    """Plan an epoch, and find the utterances of a step in it."""
    before, start = gigabytes(), time.process_time()
    plan = plan_epoch(durations, [Source(start=0, end=len(durations))], 0, epoch, SETTINGS)
    assert len(plan.step(min(place, plan.steps - 1))[0].indices)
    seconds = time.process_time() - start
    return {"epoch": epoch, "seconds": seconds, "gigabytes": gigabytes() - before}


def indexed(count: int) -> dict[str, float]:
    """Index utterances; return what that takes."""
    before, start = gigabytes(), time.process_time()
    index = Index.build(Row(count), lambda text: ())  # type: ignore[arg-type]
    seconds = time.process_time() - start
    size = (gigabytes() - before) * 2**30 / len(index)
    return {"utterances": count, "seconds": round(seconds, 2), "bytes_each": round(size)}


def measure(count: int, runs: int) -> dict[str, object]:
    """Return times and memory."""
    durations = np.random.default_rng(0).integers(1000, 20_000, count)
    # A checkpoint holds the epoch and the step in it.
    steps = plan_epoch(durations, [Source(start=0, end=count)], 0, 0, SETTINGS).steps
    start = time.process_time()
    shuffled(count, 0, "floor")
    floor = time.process_time() - start
    times: dict[int, list[dict[str, float]]] = {step: [] for step in STEPS}
    for _ in range(runs):
        for step in STEPS:  # in turn, so that both meet the same load
            value = forked(partial(locate, durations, *divmod(step, steps))).value
            assert isinstance(value, dict)
            times[step].append(value)
    rows = [
        {
            "step": step,
            "epoch": found[0]["epoch"],
            "median_seconds": round(statistics.median(one["seconds"] for one in found), 2),
            "seconds": [round(one["seconds"], 2) for one in found],
            "gigabytes": round(max(one["gigabytes"] for one in found), 2),
        }
        for step, found in times.items()
    ]
    early, late = (float(row["median_seconds"]) for row in rows)  # type: ignore[arg-type]
    return {
        "utterances": count,
        "steps_per_epoch": steps,
        "index": forked(partial(indexed, min(count, 1_000_000))).value,
        "floor_seconds": round(floor, 2),
        "plan": rows,
        "goal_seconds": GOAL,
        "seconds_later": round(late - early, 2),
    }


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--utterances", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    found = measure(options.utterances, options.runs)
    print(json.dumps(found, indent=2))
    command = f"python packages/core/benchmarks/resume.py --utterances {options.utterances}"
    versions = {name: version(name) for name in ("asr-lab-core", "numpy")}
    result = {"command": command, "machine": machine(), "versions": versions, **found}
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
