"""Measure what the start of `asr-lab resume` takes, item by item, up to the first step.

    python packages/core/benchmarks/resume_time.py docs/results/resume-time.json

trains a large Fast Conformer on `spoken/en` with loader workers and an average until there is a
checkpoint, kills it, and resumes it as the command does, several times, each in a process of its
own. The clock starts with the process. An item is the time in a part of the start less that in the
parts within it; `other` is what no item covers. The checkpoint is read and its digests are
taken on other threads while the model is built: `reading_seconds` is how long that takes, and of it
only what the start then waits for is an item. Weights are mapped from their files, and so read when
they go into the model. The first step compiles and chooses kernels: the total has the
second in its place. `imports_compiler` says whether torch's compiler was imported by then, which
only `--train.compile` should do.
"""

import argparse
import importlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from asr_lab.checkpoints.directory import steps
from asr_lab.reproducibility.environment import machine
from asr_lab.reproducibility.levels import VARIABLES, assignments

GOAL = 10.0
FIT = "--model.norm layer --model.positions rotary --data.tokenizer bpe --data.vocab 512".split()
"""Pieces, because the large encoder has fewer steps than the sentences have characters."""
ITEMS = {
    "asr_lab.training.run:installed_plugins": "plugins",
    "asr_lab.training.trainer:prepare": "settings",
    "asr_lab.training.setup:read_dataset": "manifests",
    "asr_lab.training.setup:_usable": "checks of utterances",
    "asr_lab.training.setup:with_vocabulary": "tokenizer",
    "asr_lab.training.setup:Index.build": "index",
    "asr_lab.training.setup:plan_epoch": "plan",
    "asr_lab.training.stream:plan_epoch": "plan",
    "asr_lab.training.trainer:check_unchanged": "comparison with the record",
    "asr_lab.training.trainer:Trainer._decode": "audio that stays in memory",
    "asr_lab.training.trainer:build_learner": "model and optimizer",
    "asr_lab.training.run_folder:environment_with_plugins": "environment",
    "asr_lab.training.run_folder:RunFolder.open": "record",
    "asr_lab.training.run_folder:RunFolder._loaded": "checkpoint, rest of reading and digests",
    "asr_lab.training.learner:Learner.load": "checkpoint, into model and optimizer",
    "asr_lab.training.chaining:Recorder.check_restored": "checkpoint, comparison with the chain",
    "asr_lab.training.run_folder:RunFolder._restarted": "chain and metrics",
    "asr_lab.training.stream:BatchStream.batches": "first batch",
}
"""Parts of the start by where they are called; a generator counts up to its first value."""


class Clock:
    """Takes the time of parts within parts."""

    def __init__(self) -> None:
        """Start with the process."""
        from asr_lab.training.clock import process_seconds

        self.seconds: dict[str, float] = {"interpreter and torch": process_seconds()}
        self.start = time.perf_counter() - self.seconds["interpreter and torch"]
        self._inner = [0.0]

    def timed(self, item: str, work: Callable[[], object]) -> object:
        """Do some work as a part of an item."""
        begin = time.perf_counter()
        self._inner.append(0.0)
        try:
            return work()
        finally:
            took, inner = time.perf_counter() - begin, self._inner.pop()
            self.seconds[item] = self.seconds.get(item, 0.0) + took - inner
            self._inner[-1] += took

    def watch(self, place: str, item: str) -> None:
        """Let a function count as a part of an item, and what it yields or enters first."""
        module, _, path = place.partition(":")
        owner: object = importlib.import_module(module)
        *parents, name = path.split(".")
        for parent in parents:
            owner = getattr(owner, parent)
        work = getattr(owner, name)
        if name == "batches":

            def wrapped(*given: object) -> object:
                found = work(*given)
                yield self.timed(item, lambda: next(found))
                yield from found

            setattr(owner, name, wrapped)
            return
        plain = vars(owner).get(name) if isinstance(owner, type) else None
        if isinstance(plain, classmethod):
            watched = staticmethod(lambda *a, **k: self.timed(item, lambda: work(*a, **k)))
            setattr(owner, name, watched)
        else:
            setattr(owner, name, lambda *a, **k: self.timed(item, lambda: work(*a, **k)))


def work(run: Path) -> None:
    """Resume a run, print the seconds of every item after the second step, and end."""
    clock = Clock()
    clock.timed("imports", lambda: importlib.import_module("asr_lab.training.run"))
    from asr_lab.reproducibility.record import RunRecord
    from asr_lab.training import run_folder
    from asr_lab.training.learner import Learner
    from asr_lab.training.run import resume

    if RunRecord.read(run).execution["mode"] == "compiled":
        clock.timed("imports, torch's compiler", lambda: importlib.import_module("torch._inductor"))

    for place, item in ITEMS.items():
        clock.watch(place, item)
    load, reading = vars(run_folder)["load_latest"], list[float]()

    def loaded(folder: Path) -> object:
        begin = time.perf_counter()
        try:
            return load(folder)
        finally:
            reading.append(time.perf_counter() - begin)

    vars(run_folder)["load_latest"] = loaded
    step, taken = Learner.step, list[float]()

    def stepped(self: Learner, *given: object) -> object:
        if not taken:
            total = time.perf_counter() - clock.start
            clock.seconds["other"] = total - sum(clock.seconds.values())
        begin = time.perf_counter()
        result = step(self, *given)  # type: ignore[arg-type]
        taken.append(time.perf_counter() - begin)
        if len(taken) == 2:
            items = {name: round(one, 3) for name, one in clock.seconds.items()}
            compiler = "torch._dynamo" in sys.modules
            found = {"items": items, "steps": taken, "reading": reading, "compiler": compiler}
            print(json.dumps(found), flush=True)
            os._exit(0)
        return result

    Learner.step = stepped  # type: ignore[method-assign, assignment]
    raise SystemExit(resume(run))


def begun(run: Path, words: Sequence[str]) -> None:
    """Train until there is a checkpoint, and kill the run."""
    command = [sys.executable, "-m", "asr_lab.cli", "train", *words, "--output", str(run)]
    log = run.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env=variables())
    while process.poll() is None and not list(steps(run / "checkpoints")):
        time.sleep(0.05)
    if process.poll() is not None:
        raise SystemExit(log.read_text()[-4000:])
    process.send_signal(signal.SIGKILL)
    process.wait()


def variables() -> dict[str, str]:
    """Return the environment that levels of reproducibility ask for."""
    return {**os.environ, **assignments(list(VARIABLES))}


def resumed(run: Path) -> dict[str, object]:
    """Resume a run in a process of its own; return what it says."""
    command = [sys.executable, __file__, "--work", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables())
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(options: argparse.Namespace, words: Sequence[str]) -> dict[str, object]:
    """Return the seconds of every item."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        begun(run, words)
        size = sum(file.stat().st_size for file in (run / "checkpoints").rglob("*.safetensors"))
        found = [resumed(run) for _ in range(options.runs)]
    items: dict[str, list[float]] = {}
    for one in found:
        for item, seconds in dict(one["items"]).items():  # type: ignore[call-overload]
            items.setdefault(item, []).append(seconds)
    medians = {item: round(statistics.median(seconds), 3) for item, seconds in items.items()}
    pairs = [list(one["steps"]) for one in found]  # type: ignore[call-overload]
    reading = [seconds for one in found for seconds in list(one["reading"])]  # type: ignore[call-overload]
    before = [sum(dict(one["items"]).values()) for one in found]  # type: ignore[call-overload]
    totals = [start + pair[1] for start, pair in zip(before, pairs, strict=True)]
    return {
        "checkpoint_GB": round(size / 1e9, 3),
        "seconds": dict(sorted(medians.items(), key=lambda pair: -pair[1])),
        "reading_seconds": [round(seconds, 2) for seconds in reading],
        "first_step_seconds": [round(pair[0], 2) for pair in pairs],
        "second_step_seconds": [round(pair[1], 3) for pair in pairs],
        "totals_without_compilation": [round(total, 2) for total in totals],
        "total_without_compilation": round(statistics.median(totals), 2),
        "imports_compiler": any(one["compiler"] for one in found),
        "goal_seconds": GOAL,
        "met": statistics.median(totals) <= GOAL,
    }


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--preset", default="large")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--repro", default="exact")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options, more = parser.parse_known_args()
    if options.work:
        work(options.work)
    words = ["--model", "conformer", "--config", options.preset, "--precision", options.precision]
    words += [
        "--repro",
        options.repro,
        "--train.ema",
        "0.999",
        "--train.save-every",
        "1",
        *FIT,
        *more,
    ]
    found = measure(options, words)
    print(json.dumps(found, indent=2))
    result = {
        "command": " ".join(["python packages/core/benchmarks/resume_time.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: version(name) for name in ("asr-lab-core", "torch")},
        "model": f"conformer {options.preset}, {options.precision}, --repro {options.repro}",
        **found,
    }
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
