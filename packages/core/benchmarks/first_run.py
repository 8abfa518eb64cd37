"""Do what the README says in a fresh clone with a new environment and an empty package cache.

    python packages/core/benchmarks/first_run.py docs/results/first-run [--without-tests]

writes `.json` (times, download size, exit statuses), and `.log` (what a person saw).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from asr_lab.reproducibility.environment import machine

REPOSITORY = Path(__file__).resolve().parents[3]
COMMANDS = {
    "install": ["uv", "sync"],
    "train": ["uv", "run", "asr-lab", "train", "--model", "conformer", "--config", "tiny"],
    "test": ["uv", "run", "pytest", "-q"],
}


def received() -> int:
    """Return the bytes that came in over the network since the machine started."""
    lines = Path("/proc/net/dev").read_text().splitlines()[2:]
    counters = (line.split(":") for line in lines)
    return sum(int(rest.split()[0]) for name, rest in counters if name.strip() != "lo")


def run(name: str, clone: Path, environment: dict[str, str]) -> tuple[dict[str, object], str]:
    """Run one command in the clone; return what it cost and what it printed."""
    start, before = time.perf_counter(), received()
    done = subprocess.run(
        COMMANDS[name],
        cwd=clone,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    facts = {
        "command": " ".join(COMMANDS[name]),
        "seconds": round(time.perf_counter() - start, 1),
        "megabytes_received": round((received() - before) / 1e6, 1),
        "exit_status": done.returncode,
    }
    print(f"{name}: {facts}", flush=True)
    return facts, done.stdout


def main() -> None:
    """Clone, run, and write the results."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="file name without ending")
    parser.add_argument("--without-tests", action="store_true")
    options = parser.parse_args()
    names = ["install", "train"] + ([] if options.without_tests else ["test"])
    steps, log = {}, []
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "asr-lab"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        environment = {**os.environ, "UV_CACHE_DIR": str(Path(folder) / "cache")}
        environment.pop("VIRTUAL_ENV", None)
        for name in names:
            steps[name], printed = run(name, clone, environment)
            printed = printed.replace(folder, "").replace(sys.base_prefix, "")
            log.append(f"$ {' '.join(COMMANDS[name])}\n{printed}")
        summary = json.loads((clone / "outputs/conformer-tiny-0001/run.json").read_text())
    result = {
        "command": " ".join(["python packages/core/benchmarks/first_run.py", *sys.argv[1:]]),
        "machine": machine(),
        "environment": summary["environment"],
        "steps": steps,
        "result": summary["results"],
    }
    options.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    options.output.with_suffix(".log").write_text("\n".join(log))


if __name__ == "__main__":
    main()
