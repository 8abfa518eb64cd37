"""Evaluate a checkpoint with 1, 2, 4, … devices: are the files the same, and how fast is it?

    python packages/core/benchmarks/devices.py docs/results/devices.json \
        --checkpoint outputs/best.pt --devices 1 2 -- --device cuda --precision bf16

What stands after `--` goes to every `asr-lab evaluate`. The speed is that of features, model and
search, without and with reading the audio, after the batches that warm up.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from training import split

from asr_lab.reproducibility.environment import machine

Line = dict[str, object]
Lines = list[Line]


def evaluated(options: argparse.Namespace, count: int, flags: list[str]) -> tuple[Line, Lines]:
    """Run `asr-lab evaluate` in processes of its own; return its result and the hypotheses."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--checkpoint", options.checkpoint, "--dataset", options.dataset]
        where = ["--devices", str(count), "--output", f"{folder}/out", *flags]
        command = [sys.executable, "-m", "asr_lab.cli", "evaluate", *words, *where]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        result = json.loads(Path(folder, "out", "result.json").read_text("utf-8"))
        lines = Path(folder, "out", "hypotheses.jsonl").read_text("utf-8").splitlines()
    return result, [json.loads(line) for line in lines]


def same(first: Lines, other: Lines, keys: tuple[str, ...]) -> int:
    """Return how many utterances are the same, place by place."""
    pairs = zip(first, other, strict=True)
    return sum(all(one[key] == again[key] for key in keys) for one, again in pairs)


def main() -> int:
    """Evaluate, compare, print and store; the status is 1 if a text differs."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--dataset", default="spoken/en/train")
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 2])
    ours, flags = split(sys.argv[1:])
    options = parser.parse_args(ours)
    rows: Lines = []
    first: Lines = []
    for count in options.devices:
        result, lines = evaluated(options, count, flags)
        first = first or lines
        row: Line = {
            "devices": count,
            "utterances": len(lines),
            "same_texts": same(first, lines, ("id", "hypothesis")),
            "same_bits": same(first, lines, ("id", "hypothesis", "score")),
            "rtfx": result["rtfx"],
            "rtfx_with_loading": result["rtfx_with_loading"],
            "execution": result["execution"],
        }
        print({key: value for key, value in row.items() if key != "execution"}, flush=True)
        rows.append(row)
    command = f"python packages/core/benchmarks/devices.py {' '.join(sys.argv[1:])}"
    stored = {"command": command, "machine": machine(), "rows": rows}
    options.output.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["same_texts"] == row["utterances"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
