"""Measure what it takes to normalise and score saved hypotheses again.

    python packages/core/benchmarks/scoring.py docs/results/scoring.json

Texts are invented: 4 to 38 words of a vocabulary with numbers and contractions, one word in ten
recognised wrongly; no text comes twice, so nothing is saved by equal texts.
"""

import argparse
import json
import os
import platform
import random
import time
from pathlib import Path

from asr_lab.evaluation.hypothesis_files import SavedHypothesis
from asr_lab.evaluation.normalising import normalise
from asr_lab.evaluation.normalizers import normalizer
from asr_lab.utils.metrics import corpus_errors

WORDS = "the of and to colour won't twenty-five Mr. it's 1,000 said house they organise".split()


def invented(number: int) -> list[SavedHypothesis]:
    """Return hypotheses and references that are the same for every call."""
    draw = random.Random(0)
    found = []
    for index in range(number):
        reference = [draw.choice(WORDS) for _ in range(draw.randint(4, 38))]
        heard = [draw.choice(WORDS) if draw.random() < 0.1 else word for word in reference]
        texts = (" ".join([f"w{index}", *reference]), " ".join([f"w{index}", *heard, "end"]))
        found.append(SavedHypothesis(id=str(index), reference=texts[0], hypothesis=texts[1]))
    return found


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--utterances", type=int, default=100_000)
    arguments = parser.parse_args()
    saved = invented(arguments.utterances)
    rows: list[dict[str, object]] = []
    for name in ("basic", "whisper-en"):
        rule, started = normalizer(name), time.perf_counter()
        made = normalise([text for one in saved for text in (one.reference, one.hypothesis)], rule)
        normalised = time.perf_counter()
        ours, theirs = zip(
            *((made[one.reference], made[one.hypothesis]) for one in saved), strict=True
        )
        counts = corpus_errors(ours, theirs)
        rows.append(
            {
                "normalizer": rule.id,
                "normalising_seconds": normalised - started,
                "counting_seconds": time.perf_counter() - normalised,
                "words": counts.reference_length,
            }
        )
        print(rows[-1])
    machine = {"cores": os.cpu_count(), "python": platform.python_version()}
    result = {"utterances": len(saved), "rows": rows, "machine": machine}
    arguments.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
