"""Kill a run at random moments, again and again, and compare its end with an undisturbed one.

    python packages/core/benchmarks/kills.py [--kills 100] [--seed 0] [docs/results/kills.json]

trains a model in miniature (the plugin of the tests) with loader processes, augmentation, dropout,
an average of the weights and a checkpoint at every step. Every session is a fork, so that nothing
is imported again, and dies of SIGKILL after a random time; the next goes on where it left off, with
nothing cleaned up. A run that reaches its end is compared with the undisturbed one, and a new one
is begun. Times and kills are told apart by what the process was doing.
"""

import argparse
import json
import mmap
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins" / "probe"))

import torch

from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main as asr_lab
from asr_lab.reproducibility.environment import machine
from asr_lab.reproducibility.hash import file_digest
from asr_lab.reproducibility.record import RECORD
from asr_lab.testing.forks import finish, start
from asr_lab.testing.speech import write_corpus
from asr_lab.training.witnesses import AUDIO
from asr_lab.utils.files import EVENT, PARTIAL

STEPS = 30
FLAGS = (
    f"--train.steps {STEPS} --train.eval-every 10 --train.save-every 1 --train.keep 2 "
    "--train.log-every 1 --train.ema 0.9 --train.accumulate 2 --model.dropout 0.2 --model.dim 768 "
    "--data.speeds 0.9 1.0 1.1 --data.noise-snr 5 20 --data.gain-db 3 --data.freq-masks 2 "
    "--data.workers 2 --data.cache-hours 0"
)
LONGEST = 0.6
"""When a session is killed at the latest, as a fraction of an undisturbed one."""
WORDS = "ab ace bad bed cab dab dad ebb fad fed".split()
PHASES = ("starting", "training", "saving", "deleting", "evaluating")


class Watch:
    """What a session is doing, and for how long, in memory that outlives it."""

    def __init__(self) -> None:
        """Make room for a phase, the time of its start, and the seconds of each phase."""
        self._memory = memoryview(mmap.mmap(-1, 8 * (2 + len(PHASES)))).cast("d")

    @property
    def phase(self) -> str:
        """What the session is doing, or was when it died."""
        return PHASES[int(self._memory[0])]

    @property
    def seconds(self) -> dict[str, float]:
        """How long each phase took, in all sessions."""
        return dict(zip(PHASES, self._memory[2:].tolist(), strict=True))

    def enter(self, phase: str) -> None:
        """Begin a phase, or go on with it."""
        now = time.monotonic()
        self._memory[2 + int(self._memory[0])] += now - self._memory[1]
        self._memory[0], self._memory[1] = float(PHASES.index(phase)), now

    def begin(self) -> None:
        """Begin a session, in its own process."""
        self._memory[0], self._memory[1] = 0.0, time.monotonic()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == EVENT:
            point, path = map(str, arguments)
            self.enter(self._phase_at(point, Path(path)))

    def _phase_at(self, point: str, path: Path) -> str:
        if f"{PARTIAL}old-" in path.name or (re.match("step-", path.name) and "rename" in point):
            return "training" if point == "after remove" else "deleting"
        if f"{PARTIAL}step-" in str(path) or (path.name == AUDIO and self.phase != "starting"):
            return "saving"
        if path.name == "checkpoints":
            saved = point == "after fsync folder" and self.phase == "saving"
            return "training" if saved else self.phase
        if path.name == "metrics.jsonl":
            return "training"
        return self.phase if self.phase == "starting" else "evaluating"


def corpora(folder: Path) -> list[str]:
    """Write corpora and return the flags that name them."""
    draw = random.Random(0)
    words: list[str] = []
    for seed, (name, count) in enumerate({"data": 40, "dev-data": 4, "eval-data": 4}.items()):
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 3))) for _ in range(count)]
        write_corpus(folder / name, texts, seed=1000 * seed)
        words += [f"--{name}", f"manifest:{folder / name / 'manifest.jsonl'}"]
    return words


def outcome(run: Path) -> dict[str, str]:
    """Return the digests of what a run leaves behind; nothing of it may depend on kills."""
    assert not list(run.rglob(f"{PARTIAL}*")), "something half-written is left"
    found = steps(run / "checkpoints")
    assert [step for step, _ in found] == [STEPS - 1, STEPS], found
    files = [*found[-1][1].glob("*.safetensors"), run / "test.hypotheses.jsonl"]
    files += [chain] if (chain := run / "chain.jsonl").exists() else []
    return {file.name: file_digest(file) for file in files}


def words_for(run: Path, flags: list[str]) -> list[str]:
    """Return the command that begins a run or goes on with it."""
    if (run / RECORD).exists():
        return ["resume", str(run)]
    return ["train", "--model", "probe", *FLAGS.split(), *flags, "--output", str(run)]


def session(words: list[str], watch: Watch, seconds: float) -> bool:
    """Run a command and kill it after some seconds; return True if it came to its end before."""
    log = Path(words[-1]).with_suffix(".log")  # the last word is the folder of the run

    def work() -> int:
        watch.begin()
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(sink, 1)
        os.dup2(sink, 2)  # loader processes complain when their parent is killed
        return asr_lab(words)

    child, reader = start(work)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    ended = finish(child, reader)
    told = log.read_text()[-2000:] if log.exists() else ""
    assert ended.status in (0, -signal.SIGKILL) and not ended.value, f"{ended}: {told}"
    return ended.status == 0


def measure(kills: int, seed: int, folder: Path) -> dict[str, object]:
    """Kill that often, let the last run end, and return what happened."""
    draw = random.Random(seed)
    flags = corpora(folder)
    whole, watch = folder / "whole", Watch()
    torch.set_num_threads(1)  # as in forks: the number decides the order of sums
    assert asr_lab(words_for(whole, flags)) == 0  # here, so that everything is imported
    began = time.monotonic()
    assert session(words_for(folder / "timed", flags), Watch(), 600)
    undisturbed = time.monotonic() - began
    expected = outcome(whole)
    assert outcome(folder / "timed") == expected
    killed: Counter[str] = Counter()
    finished, run = 0, folder / "run"
    while killed.total() < kills or run.exists():
        rest = draw.uniform(0, LONGEST * undisturbed) if killed.total() < kills else 600
        words = words_for(run, flags)
        if session(words, watch, rest):
            found = outcome(run)
            other = [name for name in expected if found.get(name) != expected[name]]
            assert not other, f"the killed run has other bits: {other}"
            finished += 1
            shutil.rmtree(run)
        else:
            again = words[0] == "resume" and watch.phase == "starting"
            killed["resuming" if again else watch.phase] += 1
            print(f"{killed.total():4} kills, {finished} runs finished", end="\r", flush=True)
    total = sum(watch.seconds.values())
    return {
        "kills": killed.total(),
        "kills_while": {phase: killed[phase] for phase in ("resuming", *PHASES)},
        "share_of_time": {phase: round(s / total, 3) for phase, s in watch.seconds.items()},
        "runs_finished": finished,
        "runs_that_differ": 0,
        "seconds_undisturbed": round(undisturbed, 2),
        "digests": expected,
    }


def main() -> None:
    """Kill, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = measure(options.kills, options.seed, Path(name))
    command = f"python packages/core/benchmarks/kills.py --kills {options.kills}"
    versions = {name: version(name) for name in ("asr-lab-core", "torch")}
    result = {"command": command, "machine": machine(), "versions": versions, **found}
    print(json.dumps(found, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
