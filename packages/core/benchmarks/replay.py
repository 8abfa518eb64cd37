"""Train every registered model several times, and count the digests that differ.

    python packages/core/benchmarks/replay.py docs/results/replay.json --steps 200 --runs 3

Each run is a process of its own, with an entry of the chain after every `--every` steps, and with
all augmentation, dropout and the average on. The first run of a model in a precision is what the
others are compared with, digest by digest; `differing` counts those of all that are not equal.
`--together` runs are done at a time, which must not change them either. What stands after `--` goes
to every `asr-lab train`.
"""

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from asr_lab.plugins import ModelSpec, installed_plugins
from asr_lab.reproducibility.chain import Chain
from asr_lab.reproducibility.environment import machine, torch_facts
from asr_lab.reproducibility.record import RunRecord

RANDOM = (
    "--data.speeds 0.9 1.0 1.1 --data.noise-snr 5 30 --data.gain-db 3 --data.freq-masks 2 "
    "--data.time-masks 2 --train.ema 0.99 --train.accumulate 2 --data.workers 2"
)
"""Everything that draws random numbers."""


def train(model: str, preset: str, precision: str, folder: Path, flags: Sequence[str]) -> float:
    """Train in a new folder, and return the seconds it took. Raises if it fails."""
    words = ["train", "--model", model, "--config", preset, "--precision", precision]
    command = [sys.executable, "-m", "asr_lab.cli", *words, "--output", str(folder), *flags]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    return time.perf_counter() - start


def differences(first: Chain, second: Chain) -> list[str]:
    """Return the digests that differ, as `STEP/WHAT`; of a missing entry, all."""
    found = []
    there = {entry.step: entry.digests for entry in second.entries}
    for entry in first.entries:
        other = there.get(entry.step, {})
        names = sorted({*entry.digests, *other})
        found += [
            f"{entry.step}/{name}" for name in names if entry.digests.get(name) != other.get(name)
        ]
    return found


def measure(
    model: str, preset: str, precision: str, runs: int, flags: Sequence[str], pool: Executor
) -> dict[str, object]:
    """Train a model several times in one precision, and compare."""
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place) / str(number) for number in range(runs)]
        started = [pool.submit(train, model, preset, precision, at, flags) for at in folders]
        seconds = [one.result() for one in started]
        chains = [Chain.read(folder) for folder in folders]
        execution = RunRecord.read(folders[0]).execution
    different = [differences(chains[0], other) for other in chains[1:]]
    digests = sum(len(entry.digests) for entry in chains[0].entries)
    return {
        "model": model,
        "preset": preset,
        "precision": precision,
        "device": execution["device"],
        "mode": execution["mode"],
        "steps": chains[0].step,
        "runs": runs,
        "entries": len(chains[0].entries),
        "digests_compared": digests * (runs - 1),
        "differing": sum(map(len, different)),
        "first_differing": [found[0] for found in different if found],
        "heads": sorted({chain.head for chain in chains}),
        "seconds": [round(one, 1) for one in seconds],
    }


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before `--` and what stands after it."""
    marker = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:marker]), list(arguments[marker + 1 :])


def main() -> None:
    """Train everything, print, and write."""
    assert __doc__ is not None
    known = [f"{owner}/{spec.name}" for owner, spec in installed_plugins().registry.all(ModelSpec)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--models", nargs="+", default=known)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--together", type=int, default=1, help="runs that are done at a time")
    ours, more = split(sys.argv[1:])
    options = parser.parse_args(ours)
    count = ["--train.steps", str(options.steps), "--train.eval-every", str(options.steps)]
    flags = [*RANDOM.split(), *count, "--train.digest-every", str(options.every), *more]

    def row(chosen: tuple[str, str]) -> dict[str, object]:
        model, precision = chosen
        found = measure(model, options.preset, precision, options.runs, flags, pool)
        print(json.dumps(found), flush=True)
        return found

    # A row waits for its runs, so it needs a thread besides theirs.
    with ThreadPoolExecutor(options.together) as pool, ThreadPoolExecutor(options.together) as all_:
        rows = list(all_.map(row, itertools.product(options.models, options.precisions)))
    result = {
        "command": " ".join(["python packages/core/benchmarks/replay.py", *sys.argv[1:]]),
        "machine": {**machine(), **torch_facts()},
        "versions": {name: version(name) for name in ("asr-lab-core", "torch")},
        "differing": sum(int(str(row["differing"])) for row in rows),
        "rows": rows,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{result['differing']} digests differ")


if __name__ == "__main__":
    main()
