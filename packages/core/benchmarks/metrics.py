"""Measure how long counting word errors takes, by both rules, against jiwer.

    python packages/core/benchmarks/metrics.py [--runs 9] [docs/results/metrics.json]

The texts are drawn: 10,000 utterances of 21.5 words on average, a tenth of the words wrong. Times
are processor seconds of one thread, texts given as strings; nothing is normalised. All take turns,
after a run of each that is not counted. Both must count the same errors.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jiwer

from asr_lab.reproducibility.environment import machine
from asr_lab.utils.counting import WEIGHTS
from asr_lab.utils.metrics import ErrorCounts, Rule, corpus_errors
from asr_lab.utils.sclite import marks

UTTERANCES = 10_000
GOALS = {"levenshtein": 0.07, "sclite": 0.35}
"""Seconds that each rule may take."""
GOAL_RATIO = 7.0
"""How much faster than jiwer the rule `levenshtein` should be."""
DISTRIBUTIONS = ("asr-lab-core", "jiwer", "rapidfuzz", "numpy")


def texts(seed: int = 0) -> tuple[list[str], list[str]]:
    """Return references and hypotheses."""
    draw = random.Random(seed)
    words = [f"{draw.choice('bcdfgklmnprst')}{draw.choice('aeiou')}{n}" for n in range(8000)]
    references, hypotheses = [], []
    for _ in range(UTTERANCES):
        reference = draw.choices(words, k=draw.randint(3, 40))
        hypothesis = []
        for word in reference:
            kind = draw.random()
            hypothesis += [] if kind < 0.02 else [draw.choice(words) if kind < 0.08 else word]
            hypothesis += [draw.choice(words)] if kind > 0.98 else []
        references.append(" ".join(reference))
        hypotheses.append(" ".join(hypothesis))
    return references, hypotheses


def by_jiwer(references: list[str], hypotheses: list[str]) -> ErrorCounts:
    """Return jiwer's counts."""
    found = jiwer.process_words(references, hypotheses)
    length = found.hits + found.substitutions + found.deletions
    return ErrorCounts(found.substitutions, found.deletions, found.insertions, length)


def by_rule(rule: Rule) -> Callable[[list[str], list[str]], ErrorCounts]:
    """Return our counts by a rule."""
    return lambda references, hypotheses: corpus_errors(references, hypotheses, "word", rule)


def alignments(references: list[str], hypotheses: list[str]) -> ErrorCounts:
    """Return the counts of the alignments of the rule `sclite`."""
    found = marks([text.split() for text in references], [text.split() for text in hypotheses])
    inserted = sum(int(one.inserted.sum()) for one in found)
    wrong = sum(int((~one.correct).sum()) for one in found)
    longer = sum(len(text.split()) for text in references) - sum(
        map(len, map(str.split, hypotheses))
    )
    deleted = inserted + longer
    length = sum(len(one.correct) for one in found)
    return ErrorCounts(wrong - deleted, deleted, inserted, length)


ARMS: dict[str, Callable[[list[str], list[str]], ErrorCounts]] = {
    "jiwer.process_words": by_jiwer,
    "levenshtein": by_rule("levenshtein"),
    "sclite": by_rule("sclite"),
    "sclite, with alignments": alignments,
}


def measure(runs: int) -> dict[str, object]:
    """Return times and counts by arm, with machine and versions."""
    references, hypotheses = texts()
    times: dict[str, list[float]] = {name: [] for name in ARMS}
    counts = {name: arm(references, hypotheses) for name, arm in ARMS.items()}
    for _ in range(runs):
        for name, arm in ARMS.items():
            start = time.process_time()
            assert arm(references, hypotheses) == counts[name]
            times[name].append(time.process_time() - start)
    assert counts["levenshtein"] == counts["jiwer.process_words"]
    assert counts["sclite"] == counts["sclite, with alignments"]
    peer = statistics.median(times["jiwer.process_words"])
    return {
        "command": f"python packages/core/benchmarks/metrics.py --runs {runs}",
        "machine": machine(),
        "versions": {name: version(name) for name in DISTRIBUTIONS},
        "utterances": UTTERANCES,
        "words": counts["sclite"].reference_length,
        "weights": WEIGHTS,
        "goal_seconds": GOALS,
        "goal_ratio_levenshtein": GOAL_RATIO,
        "results": [
            {
                "counted_by": name,
                "median_seconds": round(statistics.median(found), 4),
                "least_seconds": round(min(found), 4),
                "most_seconds": round(max(found), 4),
                "times_faster_than_jiwer": round(peer / statistics.median(found), 2),
                "substitutions": counts[name].substitutions,
                "deletions": counts[name].deletions,
                "insertions": counts[name].insertions,
                "runs": runs,
            }
            for name, found in times.items()
        ],
    }


def table(result: dict[str, object]) -> str:
    """Return the results as lines for people."""
    rows = result["results"]
    assert isinstance(rows, list)
    lines = [f"{'counted by':24} {'median s':>9} {'least':>7} {'most':>7} {'x jiwer':>8}"]
    for row in rows:
        name, median, ratio = (
            row["counted_by"],
            row["median_seconds"],
            row["times_faster_than_jiwer"],
        )
        least, most = row["least_seconds"], row["most_seconds"]
        lines.append(f"{name:24} {median:9.4f} {least:7.4f} {most:7.4f} {ratio:8.1f}")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    result = measure(options.runs)
    print(table(result))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
