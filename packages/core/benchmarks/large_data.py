"""Measure what it takes to begin with a manifest of ten million utterances, and to begin again.

    python packages/core/benchmarks/large_data.py [docs/results/large-data.json]

writes a manifest with durations, without audio, and prepares a run on it as `asr-lab train` and
`asr-lab resume` do before they build a model: data set read, tokenizer trained, every utterance
checked, index made. The first time everything is made and kept in an empty cache; the next times it
is mapped. Then the epoch of step 1,000,000 is planned, and the utterances of 100 steps are looked
at. Each time is a fork of its own. Memory is what the fork takes besides what it maps, and with it.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "plugins" / "probe"))

from asr_lab.cli.run_options import parse_run
from asr_lab.data.plan import plan_epoch
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.environment import machine
from asr_lab.testing.forks import forked
from asr_lab.training.setup import prepare
from asr_lab.utils.files import CACHE

STEP = 1_000_000
WORDS = "the of and to in a is that for it as was with be by on not he his but at are this".split()
FLAGS = (
    "--model probe --dev-data spoken/en/dev --eval-data spoken/en/test --data manifest:{} "
    "--on-bad-utterance skip --data.batch-seconds 120"
)
SPEAKERS = 50_000


def write_manifest(path: Path, count: int) -> None:
    """Write lines as corpora have them: sentences of about fifty letters, a thousand a folder."""
    draw = np.random.default_rng(0)
    words = np.array(WORDS)
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, count, 100_000):
            number = min(100_000, count - start)
            seconds = draw.uniform(2, 20, number).round(3).tolist()
            chosen = words[draw.integers(0, len(words), (number, 14))]
            speakers = draw.integers(0, SPEAKERS, number).tolist()
            for n, (length, text, speaker) in enumerate(
                zip(seconds, map(" ".join, chosen), speakers, strict=True), start
            ):
                row = {
                    "audio_filepath": f"train/{n // 1000:05}/{n:08}.flac",
                    "duration": length,
                    "text": text,
                    "speaker": f"speaker-{speaker:05}",
                }
                file.write(json.dumps(row) + "\n")


def memory() -> dict[str, float]:
    """Return gigabytes that this process takes: of its own, and with what is mapped."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
    return {
        "own": round(found["RssAnon"] / 2**20, 2),
        "with_mapped": round(found["VmRSS"] / 2**20, 2),
        "most": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def begin(flags: Sequence[str]) -> dict[str, object]:
    """Prepare a run, find the place of a step, and look at utterances."""
    plugins = installed_plugins()
    config, _ = parse_run(flags, plugins.registry)
    before, start = memory(), time.perf_counter()
    setup = prepare(config, plugins)
    prepared = time.perf_counter() - start
    after = memory()
    start = time.perf_counter()
    epoch, place = divmod(STEP, setup.steps_per_epoch)
    plan = plan_epoch(setup.index.durations, setup.sources, config.seed, epoch, setup.plan)
    planned = time.perf_counter() - start
    start, seen = time.perf_counter(), 0
    for step in range(place, min(place + 100, plan.steps)):
        for batch in plan.step(step):
            seen += len([setup.index.utterances[int(one)] for one in batch.indices])
    looked = (time.perf_counter() - start) / seen
    return {
        "prepare_seconds": round(prepared, 1),
        "plan_seconds": round(planned, 1),
        "microseconds_an_utterance_looked_at": round(looked * 1e6, 1),
        "gigabytes_before": before,
        "gigabytes_prepared": after,
        "gigabytes_planned": memory(),
        "index": setup.index.digest,
        "plan": plan.digest(),
    }


def size(folder: Path) -> float:
    """Return the gigabytes of all files below a folder."""
    found = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return round(found / 2**30, 2)


def measure(count: int, again: int, folder: Path) -> dict[str, object]:
    """Return times and memory, the first time and those after it."""
    manifest = folder / "manifest.jsonl"
    write_manifest(manifest, count)
    flags = FLAGS.format(manifest).split()
    rows = []
    for number in range(1 + again):
        value = forked(partial(begin, flags)).value
        assert isinstance(value, dict)
        print(json.dumps(value), flush=True)
        rows.append(value)
        assert value["index"] == rows[0]["index"] and value["plan"] == rows[0]["plan"], number
    return {
        "utterances": count,
        "manifest_gigabytes": size(manifest.parent) - size(folder / "cache"),
        "kept_gigabytes": size(folder / "cache"),
        "kept_bytes_an_utterance": round(size(folder / "cache") * 2**30 / count),
        "first": rows[0],
        "again": rows[1:],
    }


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--utterances", type=int, default=10_000_000)
    parser.add_argument("--again", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        os.environ[CACHE] = str(Path(name) / "cache")
        found = measure(options.utterances, options.again, Path(name))
    command = f"python packages/core/benchmarks/large_data.py --utterances {options.utterances}"
    versions = {name: version(name) for name in ("asr-lab-core", "numpy")}
    result = {"command": command, "machine": machine(), "versions": versions, **found}
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
