"""Run every proof of a GPU that `docs/reproducibility.md` speaks of, into one folder.

    python packages/core/benchmarks/proofs.py OUTPUT [--parts exact digest …] [--gpus 1]

Each part is a command of its own with a time limit, and none waits for another's success: what came
of it stands in `OUTPUT/proofs.json` after every part, with what it printed beside it. All parts
end within ten minutes, those that matter most first; `--gpus 2` runs those for two. `--small` runs
the same commands on a CPU in miniature, which shows that they work; `--list` prints them.
"""

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_lab.reproducibility.levels import VARIABLES, assignments

CORE = Path(__file__).resolve().parent
PACKAGES = CORE.parents[1]
TESTS = (
    "core/tests/test_hash.py core/tests/test_sum_tables.py core/tests/test_operations.py "
    "core/tests/test_levels.py core/tests/test_ctc_cuda.py ssm/tests/test_scan.py"
)
"""Tests that need a GPU for a part of what they say."""


@dataclass(frozen=True)
class Part:
    """One proof: what is run on GPUs, what in miniature, and for how many seconds at most."""

    name: str
    seconds: int
    words: str
    small: str
    gpus: int = 1

    def command(self, output: Path, small: bool) -> list[str]:
        """Return what to run; a result file is the first thing that a benchmark is told."""
        script, *flags = shlex.split(self.small if small else self.words)
        if script == "pytest":
            places = [str(PACKAGES / place) for place in TESTS.split()]
            return [sys.executable, "-m", "pytest", "-q", "-rs", *flags, *places]
        written = str(output / f"{self.name}.json")
        return [sys.executable, str(CORE / script), written, *flags]


STEP = "--device cpu --preset tiny --precision fp32 --utterances 2 --seconds 2 --no-compile"
PLAIN = f"{STEP} --no-graphs"
PARTS = (
    Part("tests", 150, "pytest -m 'gpu or needs'", "pytest -m 'gpu or needs'"),
    Part(
        "exact-cost",
        170,
        "exact_cost.py --pairs 5 --steps 12 --arms rotary",
        f"exact_cost.py {PLAIN} --pairs 3 --steps 2 --arms rotary",
    ),
    Part("digest", 80, "digest.py", f"digest.py {STEP} --runs 2"),
    Part("resume-time", 100, "resume_time.py", "resume_time.py --preset tiny --runs 1"),
    Part(
        "replay",
        300,
        "replay.py --steps 200 --runs 3 --together 9 -- --repro exact --device cuda",
        "replay.py --models conformer/conformer --precisions fp32 --steps 2 --runs 2 --together 2",
    ),
    Part(
        "exact-cost-relative",
        150,
        "exact_cost.py --pairs 3 --steps 10 --arms relative",
        f"exact_cost.py {PLAIN} --pairs 3 --steps 2 --arms relative",
    ),
    Part("ctc", 60, "ctc.py", "ctc.py --help"),
    Part(
        "elastic",
        400,
        "elastic.py --together 6",
        "elastic.py --device cpu --most 2 --models conformer --precisions fp32 --steps 6",
        gpus=2,
    ),
)


def run(part: Part, output: Path, small: bool, limit: float) -> dict[str, object]:
    """Run a part, and end it with all that it started when its time is over."""
    command, start = part.command(output, small), time.monotonic()
    variables = {**os.environ, **assignments(list(VARIABLES))}
    log = output / f"{part.name}.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=variables, start_new_session=True
        )
        try:
            status: int | str = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            status = f"ended after {limit:.0f} s"
            process.wait()
    lines = log.read_text(errors="replace").splitlines()
    return {
        "part": part.name,
        "command": shlex.join(["python", *command[1:]]),
        "status": status,
        "seconds": round(time.monotonic() - start, 1),
        "last": lines[-1] if lines else "",
    }


def prove(parts: Sequence[Part], output: Path, small: bool, seconds: float) -> bool:
    """Run all parts in the time there is; return True if all of them ended well."""
    output.mkdir(parents=True, exist_ok=True)
    end, done = time.monotonic() + seconds, list[dict[str, object]]()
    for part in parts:
        limit = min(part.seconds * (10 if small else 1), end - time.monotonic())
        done.append(
            run(part, output, small, limit)
            if limit > 5
            else {"part": part.name, "status": "no time was left"}
        )
        print(json.dumps(done[-1]), flush=True)
        (output / "proofs.json").write_text(json.dumps(done, indent=2) + "\n", encoding="utf-8")
    return all(one["status"] == 0 for one in done)


def main() -> None:
    """Run, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--parts", nargs="+", choices=[part.name for part in PARTS], default=[])
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=570, help="for all parts together")
    parser.add_argument("--small", action="store_true", help="in miniature, on the CPU")
    parser.add_argument("--list", action="store_true", help="print the commands")
    options = parser.parse_args()
    wanted = options.parts or [one.name for one in PARTS if one.gpus == options.gpus]
    parts = [part for part in PARTS if part.name in wanted]
    if options.list:
        for part in parts:
            print(shlex.join(part.command(options.output, options.small)))
        return
    raise SystemExit(not prove(parts, options.output, options.small, options.seconds))


if __name__ == "__main__":
    main()
