"""Measure what it takes to normalise and score saved hypotheses, and to score them again.

    python packages/core/benchmarks/scoring.py docs/results/scoring.json

Texts are invented: 4 to 38 words of a vocabulary with numbers and contractions, one word in ten
recognised wrongly; no text comes twice, so nothing is saved by equal texts. Scoring again reads the
file of hypotheses and the texts that were kept, and counts word errors; intervals are left out.
"""

import argparse
import json
import os
import platform
import random
import tempfile
import time
from pathlib import Path

from asr_lab.evaluation.hypothesis_files import read_hypotheses
from asr_lab.evaluation.normalising import normalise
from asr_lab.evaluation.normalizers import SLOW, Normalizer, normalizer
from asr_lab.utils.metrics import utterance_errors

WORDS = "the of and to colour won't twenty-five Mr. it's 1,000 said house they organise".split()
TIMES = 3
"""How often what is quick is done; the least time counts."""


def invented(path: Path, number: int) -> int:
    """Write hypotheses that are the same for every call; return the words of the references."""
    draw, lines, words = random.Random(0), [], 0
    for index in range(number):
        reference = [draw.choice(WORDS) for _ in range(draw.randint(4, 38))]
        heard = [draw.choice(WORDS) if draw.random() < 0.1 else word for word in reference]
        texts = (" ".join([f"w{index}", *reference]), " ".join([f"w{index}", *heard, "end"]))
        line = {"id": str(index), "reference": texts[0], "hypothesis": texts[1], "duration": 1.0}
        lines.append(f"{json.dumps(line)}\n")
        words += len(reference) + 1
    path.write_text("".join(lines), encoding="utf-8")
    return words


def scored(path: Path, rule: Normalizer, folder: Path | None) -> dict[str, float]:
    """Return the seconds of each stage, and the number of errors."""
    moments = [time.perf_counter()]
    saved = read_hypotheses(path)
    moments.append(time.perf_counter())
    texts = [text for one in saved for text in (one.reference, one.hypothesis)]
    made = normalise(texts, rule, folder=folder)
    moments.append(time.perf_counter())
    ours, theirs = ([made[text] for text in side] for side in (texts[::2], texts[1::2]))
    errors = sum(one.errors for one in utterance_errors(ours, theirs))
    moments.append(time.perf_counter())
    read, normalised, counted = (b - a for a, b in zip(moments, moments[1:], strict=False))
    return {
        "reading_seconds": read,
        "normalising_seconds": normalised,
        "counting_seconds": counted,
        "seconds": moments[-1] - moments[0],
        "errors": errors,
    }


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--utterances", type=int, default=100_000)
    arguments = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "hypotheses.jsonl"
        words = invented(path, arguments.utterances)
        for name in ("basic", "whisper-en", "openasr"):
            rule = normalizer(name)
            kept = Path(place) / name if name in SLOW else None
            first = scored(path, rule, kept)
            tries = [scored(path, rule, kept) for _ in range(TIMES)]
            again = min(tries, key=lambda row: row["seconds"])
            assert again["errors"] == first["errors"]
            rows.append({"normalizer": rule.id, "first": first, "again": again})
            print(f"{rule.id}: {first['seconds']:.1f} s, again {again['seconds']:.2f} s")
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    result = {
        "command": "python packages/core/benchmarks/scoring.py docs/results/scoring.json",
        "utterances": arguments.utterances,
        "words": words,
        "load_at_end": os.getloadavg()[0],
        "rows": rows,
        "machine": machine,
    }
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
