"""Measure how long `asr-lab --help` and `asr-lab models` take, in a process of their own.

    python packages/core/benchmarks/startup.py [--runs 11] [docs/results/startup.json]

prints a table, and writes it to the file if one is named. What is reported is the median of the
wall-clock times after one run that fills the caches; the floor is the same Python doing nothing.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from asr_lab.reproducibility.environment import machine

FLOOR = "python -c pass"
COMMANDS = {
    FLOOR: (sys.executable, "-c", "pass"),
    "asr-lab --help": (sys.executable, "-m", "asr_lab.cli", "--help"),
    "asr-lab models": (sys.executable, "-m", "asr_lab.cli", "models"),
}
GOAL = 0.5
"""Seconds that a command may take."""
DISTRIBUTIONS = ("asr-lab-core", "asr-lab-conformer", "asr-lab-ssm", "asr-lab-whisper", "torch")


def seconds(command: Sequence[str], runs: int) -> list[float]:
    """Return the wall-clock seconds of each of `runs` runs, after one that is not counted."""
    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def measure(runs: int) -> dict[str, object]:
    """Return times by command, with machine and versions."""
    times = {name: seconds(command, runs) for name, command in COMMANDS.items()}
    floor = statistics.median(times[FLOOR])
    return {
        "command": f"python packages/core/benchmarks/startup.py --runs {runs}",
        "machine": machine(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "goal_seconds": GOAL,
        "results": [
            {
                "command": name,
                "median_seconds": round(statistics.median(found), 4),
                "least_seconds": round(min(found), 4),
                "most_seconds": round(max(found), 4),
                "times_the_floor": round(statistics.median(found) / floor, 2),
                "runs": runs,
            }
            for name, found in times.items()
        ],
    }


def table(result: dict[str, object]) -> str:
    """Return the results as lines for people."""
    rows = result["results"]
    assert isinstance(rows, list)
    lines = [f"{'command':16} {'median s':>9} {'least':>7} {'most':>7} {'x floor':>8}"]
    for row in rows:
        name, median = row["command"], row["median_seconds"]
        least, most, ratio = row["least_seconds"], row["most_seconds"], row["times_the_floor"]
        lines.append(f"{name:16} {median:9.3f} {least:7.3f} {most:7.3f} {ratio:8.1f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=11)
    options = parser.parse_args()
    result = measure(options.runs)
    print(table(result))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
