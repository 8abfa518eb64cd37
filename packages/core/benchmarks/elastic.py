"""Compare the weights that 1, 2 and 4 processes train, and those of a run whose number changes.

    python packages/core/benchmarks/elastic.py [--device cuda] [docs/results/elastic.json]

trains a tiny model with `--repro elastic` under torchrun on every power of two of GPUs that there
are (NCCL; with `--device cpu`, 1, 2 and 4 processes and gloo), then on the most, one and two of
them by turns, stopped by SIGTERM in between. All checkpoints must be the same, file by file. As a
control, the same without the tree must differ. `--together` rows share the GPUs at a time, for most
of a run on a GPU is its start.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from asr_lab.checkpoints.directory import steps
from asr_lab.reproducibility.environment import machine, torch_facts
from asr_lab.reproducibility.hash import file_digest
from asr_lab.reproducibility.levels import VARIABLES, assignments

FLAGS = (
    "--train.keep 99 --train.accumulate 8 --train.ema 0.9 --data.batch-seconds 30 "
    "--data.speeds 0.9 1.0 1.1 --data.noise-snr 5 20"
)


def launch(size: int, words: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Start an `asr-lab` command in some processes; what they say goes to a file."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, f"--nproc-per-node={size}", "-m", "asr_lab.cli", *words]
    variables = {**os.environ, **assignments(list(VARIABLES)), "OMP_NUM_THREADS": "1"}
    folder.mkdir(parents=True, exist_ok=True)
    log = (folder / "log.txt").open("ab")
    return subprocess.Popen(command, env=variables, stdout=log, stderr=log)


def saved(run: Path) -> int:
    """Return the step of the last checkpoint; 0 if there is none."""
    return max((step for step, _ in steps(run / "checkpoints")), default=0)


def train(size: int, words: list[str], run: Path, last: int, until: int) -> None:
    """Run a command to its end, or stop it once a checkpoint is as late as `until`."""
    process = launch(size, words, run.parent)
    while process.poll() is None:
        if until < last and saved(run) >= until:
            process.send_signal(signal.SIGTERM)  # torchrun hands it on
            process.wait()
        time.sleep(0.02)
    if saved(run) < until:
        raise SystemExit((run.parent / "log.txt").read_text()[-4000:])


def digests(run: Path, every: int) -> dict[str, str]:
    """Return the digests of the tensors of the checkpoints that every run has."""
    return {
        f"{step} {file.name}": file_digest(file)
        for step, path in steps(run / "checkpoints")
        if step % every == 0
        for file in sorted(path.glob("*.safetensors"))
    }


def measure(
    model: str, precision: str, device: str, most: int, last: int, folder: Path
) -> dict[str, object]:
    """Train in all ways, for `last` steps with six checkpoints, and compare."""
    every = last // 6
    base = ["train", "--model", model, "--config", "tiny", "--precision", precision, *FLAGS.split()]
    base += ["--device", device, "--train.steps", str(last), "--train.eval-every", str(last)]
    base += ["--train.save-every", str(every)]

    def words(name: str, level: str = "elastic") -> list[str]:
        return [*base, "--repro", level, "--output", str(folder / name)]

    sizes = [size for size in (1, 2, 4, 8) if size <= most]
    for size in sizes:
        train(size, words(str(size)), folder / str(size), last, last)
    changed, resume = folder / "changed", ["resume", str(folder / "changed")]
    turns = [most, 1, min(2, most)]
    for number, size in enumerate(turns):
        until = (number + 1) * last // len(turns)
        train(size, resume if number else words("changed"), changed, last, until)
    for size in (1, most):
        train(size, words(f"plain-{size}", "replay"), folder / f"plain-{size}", last, last)
    expected = digests(folder / "1", every)
    names = [*map(str, sizes), "changed"]
    different = {
        name: sum(
            digests(folder / name, every).get(key) != value for key, value in expected.items()
        )
        for name in names
    }
    plain = [digests(folder / f"plain-{size}", every) for size in (1, most)]
    return {
        "model": model,
        "precision": precision,
        "backend": "nccl" if device == "cuda" else "gloo",
        "processes": sizes,
        "changed_on_the_way": turns,
        "files_compared": len(expected),
        "files_that_differ": different,
        "files_that_differ_without_the_tree": sum(plain[0][k] != plain[1][k] for k in plain[0]),
    }


def main() -> None:
    """Compare, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--most", type=int, default=0, help="most processes; 0 for all GPUs, or 4")
    parser.add_argument("--steps", type=int, default=24, help="a multiple of six")
    parser.add_argument("--models", nargs="+", default=["conformer", "ssm", "whisper"])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--together", type=int, default=1, help="rows that are measured at a time")
    options = parser.parse_args()
    facts = torch_facts()
    gpus = sum(name.startswith("gpu.") for name in facts)
    most = options.most or (gpus if options.device == "cuda" else 4)

    def row(chosen: tuple[str, str]) -> dict[str, object]:
        with tempfile.TemporaryDirectory() as name:
            found = measure(*chosen, options.device, most, options.steps, Path(name))
        print(json.dumps(found), flush=True)
        return found

    with ThreadPoolExecutor(options.together) as pool:
        rows = list(pool.map(row, itertools.product(options.models, options.precisions)))
    result = {
        "command": " ".join(["python packages/core/benchmarks/elastic.py", *sys.argv[1:]]),
        "machine": {**machine(), **facts},
        "versions": {"asr-lab-core": version("asr-lab-core")},
        "results": rows,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
