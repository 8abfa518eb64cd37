"""Measure what `--repro exact` costs: a training step at that level against the fastest at `off`.

    python packages/core/benchmarks/exact_cost.py docs/results/exact-cost.json

The model is the large Fast Conformer with layer norm and rotary positions, learning from 64
utterances of 16 s in BF16, compiled and as CUDA graphs, with our CTC loss; a step is the
trainer's own, from samples to updated weights. Each level has a process of its own, with its
variables set before it starts, and all are on the GPU at the same time: they take turns, so that
heat and clocks are shared. `off` is measured with and without cuDNN choosing kernels by their time
(`off, timed kernels`), and the faster one counts. A pair is one turn of each; `ratio` is exact /
off, `cost` the median of the pairs. The relative-position arm has no goal: there attention has to
leave flash attention.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, cast

from asr_lab.reproducibility.environment import machine
from asr_lab.reproducibility.levels import VARIABLES, assignments

GOAL = 1.05
LEVELS = {"off": ("off", False), "off, timed kernels": ("off", True), "exact": ("exact", False)}
"""What is compared: the level, and whether cuDNN chooses kernels by their time."""
ARMS = {"rotary": GOAL, "relative": None}


class Worker:
    """A process that trains at one level, and does steps when it is told to."""

    def __init__(self, level: str, timed: bool, positions: str, flags: Sequence[str]) -> None:
        """Start it; it prepares while others do."""
        known = {
            name: value
            for name, value in os.environ.items()
            if name not in assignments(list(VARIABLES))
        }
        variables = assignments(list(VARIABLES)) if level != "off" else {}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", level, "--positions", positions, *flags]
            + ["--timed"] * timed,
            env={**known, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def told(self) -> dict[str, object]:
        """Wait for the next line of the process, and return what it says."""
        for line in cast("IO[str]", self.process.stdout):
            if line.startswith("{"):
                found: dict[str, object] = json.loads(line)
                return found
        raise SystemExit(f"a process ended with status {self.process.wait()}")

    def steps(self, count: int) -> float:
        """Let it do steps; return the median milliseconds of one."""
        entry = cast("IO[str]", self.process.stdin)
        entry.write(f"{count}\n")
        entry.flush()
        return float(str(self.told()["ms"]))

    def end(self) -> None:
        """Let it end."""
        cast("IO[str]", self.process.stdin).close()
        self.process.wait()


def work(options: argparse.Namespace) -> None:
    """Train at a level: say when ready, then do as many steps as a line of the input asks for."""
    import large_step
    import torch

    from asr_lab.losses.ctc import why_not_fused
    from asr_lab.reproducibility.deterministic import kernel_facts
    from asr_lab.training.distributed import Group
    from asr_lab.training.levels import at_level

    device = torch.device(options.device)
    run = large_step.settings(
        options.preset,
        options.precision,
        compile=options.compile,
        cuda_graphs=options.graphs,
        repro=options.work,
        positions=options.positions,
    )
    with at_level(run, Group(device)):
        one = large_step.learner(run, device)
        batch, number = large_step.audio(options.utterances, options.seconds), 0
        torch.backends.cudnn.benchmark = options.timed
        first = one.step([batch], 0)
        one.step([batch], 1)  # a graph is captured
        logits = torch.empty(1, 1, 1025, device=device)
        ready = {
            "gpu_ms": large_step.working(lambda: one.step([batch], 2), device),
            "loss": first.losses,
            "kernels": kernel_facts(),
            "ctc": why_not_fused(logits, batch.tokens[:1].to(device)) or "fused",
        }
        print(json.dumps(ready), flush=True)
        for line in sys.stdin:
            times = []
            for _ in range(int(line)):
                number += 1
                times += large_step.timed(lambda: one.step([batch], number), 1, device, 0)  # noqa: B023
            memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
            told = {"ms": statistics.median(times), "peak_gib": round(memory, 2)}
            print(json.dumps(told), flush=True)


def pairs(workers: dict[str, Worker], count: int, steps: int) -> list[dict[str, float]]:
    """Let the levels take turns, in another order every time."""
    for worker in workers.values():  # clocks and caches
        worker.steps(steps)
    found = []
    for number in range(count):
        names = list(workers) if number % 2 else list(reversed(workers))
        one = {name: workers[name].steps(steps) for name in names}
        one["ratio"] = one["exact"] / min(one["off"], one["off, timed kernels"])
        found.append({name: round(value, 4) for name, value in one.items()})
    return found


def measure(positions: str, options: argparse.Namespace, flags: Sequence[str]) -> dict[str, object]:
    """Return the figures of one arm."""
    workers = {name: Worker(*what, positions, flags) for name, what in LEVELS.items()}
    ready = {level: worker.told() for level, worker in workers.items()}
    found = pairs(workers, options.pairs, options.steps)
    for worker in workers.values():
        worker.end()
    ratios, goal = [one["ratio"] for one in found], ARMS[positions]
    cost = statistics.median(ratios)
    return {
        "positions": positions,
        "ms": {
            name: round(statistics.median(one[name] for one in found), 2)
            for name in found[0]
            if name != "ratio"
        },
        "pairs": found,
        "cost": round(cost - 1, 4),
        "least_and_most": [round(min(ratios) - 1, 4), round(max(ratios) - 1, 4)],
        "goal": goal and round(goal - 1, 4),
        "met": goal and cost <= goal,
        "ready": ready,
    }


def parsed() -> tuple[argparse.Namespace, list[str]]:
    """Return the options, and those of them that the processes need."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=15, help="steps of a turn")
    parser.add_argument("--work", choices=("off", "exact"), help=argparse.SUPPRESS)
    parser.add_argument("--timed", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--positions", default="rotary", help=argparse.SUPPRESS)
    shared = {
        "preset": "large",
        "precision": "bf16",
        "device": "cuda",
        "utterances": 64,
        "seconds": 16.0,
    }
    for name, value in shared.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    switches = ("compile", "graphs")
    for name in switches:
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    flags = [word for name in shared for word in (f"--{name}", str(getattr(options, name)))]
    flags += [f"--{name}" if getattr(options, name) else f"--no-{name}" for name in switches]
    return options, flags


def main() -> None:
    """Measure, print, and write."""
    options, flags = parsed()
    if options.work:
        work(options)
        return
    rows = []
    for positions in options.arms:
        rows.append(measure(positions, options, flags))
        print(json.dumps(rows[-1]), flush=True)
    import torch

    gpu = torch.cuda.get_device_name() if options.device == "cuda" else "none"
    result = {
        "command": " ".join(["python packages/core/benchmarks/exact_cost.py", *sys.argv[1:]]),
        "gpu": gpu,
        "machine": machine(),
        "versions": {name: version(name) for name in ("asr-lab-core", "torch", "triton")},
        "model": f"conformer {options.preset}, layer norm, {options.precision}",
        "compiled": options.compile,
        "cuda_graphs": options.graphs,
        "rows": rows,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
