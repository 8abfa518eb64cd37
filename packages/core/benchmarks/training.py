"""Train presets with several seeds, each in a process of its own, and store times and error rates.

    python packages/core/benchmarks/training.py docs/results/NAME \
        --models conformer ssm whisper --seeds 0 1 2 -- --precision fp32

writes NAME.json and NAME.md. What stands after `--` goes to every `asr-lab train`. Seconds are
counted from the start of the process to its end: imports, training and the final evaluation.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from asr_lab.reproducibility.environment import machine
from asr_lab.reproducibility.record import RunRecord

DISTRIBUTIONS = ("asr-lab-core", "asr-lab-conformer", "asr-lab-ssm", "asr-lab-whisper", "torch")


def train(model: str, preset: str, seed: int, flags: Sequence[str]) -> dict[str, object]:
    """Run `asr-lab train` in a new folder and return what it cost and reached."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        command = ["train", "--model", model, "--config", preset, "--seed", str(seed)]
        where = ["--output", str(output)]
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "asr_lab.cli", *command, *where, *flags], check=True)
        seconds = time.perf_counter() - start
        results = RunRecord.read(output).results
        curve = dev_curve(output / "metrics.jsonl")
    result = results.get("test") or results.get("dev")
    assert isinstance(result, dict)
    words, characters = result["words"], result["characters"]
    return {
        "model": model,
        "preset": preset,
        "seed": seed,
        "seconds": round(seconds, 1),
        "dataset": result["dataset"],
        "word_error_rate": words["error_rate"],
        "interval": words["interval"],
        "interval_method": words["method"],
        "character_error_rate": characters["error_rate"],
        "utterances": result["utterances"],
        "rtfx": result["rtfx"],
        "dev_curve": curve,
    }


def dev_curve(metrics: Path) -> list[tuple[int, float]]:
    """Return step and word error rate of every evaluation on the dev set."""
    lines = map(json.loads, metrics.read_text().splitlines())
    name = "dev/word_error_rate"
    return [(line["step"], line[name]) for line in lines if name in line]


def table(result: dict[str, object]) -> str:
    """Return the runs as a Markdown table, with the medians over seeds below."""
    rows = result["runs"]
    assert isinstance(rows, list)
    lines = [
        f"`{result['command']}`",
        "",
        "| model | seed | seconds | WER % | 95 % interval | CER % |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = (100 * bound for bound in row["interval"])
        name = f"{row['model']} {row['preset']}"
        lines.append(
            f"| {name} | {row['seed']} | {row['seconds']:.0f} | {100 * row['word_error_rate']:.2f} "
            f"| {low:.2f} to {high:.2f} | {100 * row['character_error_rate']:.2f} |"
        )
    lines += ["", *medians(rows), "", f"On {facts(result['machine'])}."]
    return "\n".join(lines) + "\n"


def medians(rows: Sequence[dict[str, object]]) -> list[str]:
    """Return one line per model that was trained with several seeds."""
    lines = []
    for model in dict.fromkeys(str(row["model"]) for row in rows):
        rates = [float(str(row["word_error_rate"])) for row in rows if row["model"] == model]
        seconds = [float(str(row["seconds"])) for row in rows if row["model"] == model]
        if len(rates) > 1:
            middle, worst = 100 * statistics.median(rates), 100 * max(rates)
            lines.append(
                f"{model}: median WER {middle:.2f} %, worst {worst:.2f} % of {len(rates)} seeds; "
                f"median {statistics.median(seconds):.0f} s, longest {max(seconds):.0f} s."
            )
    return lines


def facts(found: object) -> str:
    """Return the facts about a machine in one line."""
    assert isinstance(found, dict)
    return ", ".join(f"{name} {fact}" for name, fact in found.items())


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before `--` and what stands after it."""
    marker = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:marker]), list(arguments[marker + 1 :])


def main() -> None:
    """Train everything and write the results."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="file name without ending")
    parser.add_argument("--models", nargs="+", default=["conformer"])
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    ours, flags = split(sys.argv[1:])
    options = parser.parse_args(ours)
    runs = [
        train(model, options.preset, seed, flags)
        for model in options.models
        for seed in options.seeds
    ]
    result: dict[str, object] = {
        "command": " ".join(["python packages/core/benchmarks/training.py", *sys.argv[1:]]),
        "machine": machine(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "runs": runs,
    }
    options.output.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    options.output.with_suffix(".md").write_text(table(result))
    print(table(result))


if __name__ == "__main__":
    main()
