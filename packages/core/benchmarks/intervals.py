"""Simulate how often intervals of error rates hold the true rate, and tests of differences err.

    python packages/core/benchmarks/intervals.py [--sets 2000] [docs/results/intervals.json]

A set is a drawn test set. Independent data are 500 utterances whose rates of errors have a
log-normal effect of their own. Speakers have a log-normal effect, as the deviation of the
logarithm says, and unequal numbers of utterances (log-normal too, deviation 0.5 or 0.8). The true
rate is that of the population, not of the speakers drawn. The negative control draws utterances of
such speakers. Two systems that are equally good should differ in 5 % of the sets.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from asr_lab.evaluation.matched_pairs import mapsswe
from asr_lab.evaluation.significance import paired_difference
from asr_lab.evaluation.statistics import Interval, bootstrap_interval, rate_interval
from asr_lab.reproducibility.environment import machine
from asr_lab.utils.metrics import ErrorCounts, utterance_errors

RATE = 0.1
"""The true word error rate."""
RESAMPLES = 2000
WORDS = [f"w{index}" for index in range(2000)]
DISTRIBUTIONS = ("asr-lab-core", "numpy")


@dataclass(frozen=True)
class Case:
    """One kind of test sets."""

    name: str
    speakers: int
    effect: float
    """Deviation of the logarithm of a speaker's rate."""
    unequal: float
    """Deviation of the logarithm of a speaker's number of utterances."""
    least: float
    """Share of intervals that must hold the true rate."""
    most: float

    def interval(self, seed: int) -> Interval:
        """Return the interval of one set."""
        if not self.speakers:
            return rate_interval(independent(seed), resamples=RESAMPLES)
        counts, names = of_speakers(self.speakers, self.effect, self.unequal, seed)
        if self.name == "negative control":
            return bootstrap_interval(counts, resamples=RESAMPLES // 4)
        return rate_interval(counts, names, resamples=RESAMPLES)


def log_normal(draw: np.random.Generator, deviation: float, number: int) -> np.ndarray:
    """Return factors of mean 1."""
    return np.exp(deviation * draw.standard_normal(number) - deviation**2 / 2)


def independent(seed: int) -> list[ErrorCounts]:
    """Draw 500 utterances, each with a rate of its own."""
    draw = np.random.default_rng((0, seed))
    lengths = draw.integers(3, 40, 500)
    wrong = draw.binomial(lengths, np.minimum(RATE * log_normal(draw, 0.8, 500), 1))
    return rows(wrong, lengths)


def of_speakers(
    number: int, effect: float, unequal: float, seed: int
) -> tuple[list[ErrorCounts], list[str]]:
    """Draw about 15 utterances of each speaker."""
    draw = np.random.default_rng((number, seed))
    rates = RATE * log_normal(draw, effect, number)
    sizes = 1 + np.rint(15 * log_normal(draw, unequal, number)).astype(int)
    owner = np.repeat(np.arange(number), sizes)
    lengths = draw.integers(3, 40, len(owner))
    wrong = draw.binomial(lengths, np.minimum(rates[owner], 1))
    return rows(wrong, lengths), [f"speaker {index}" for index in owner.tolist()]


def rows(wrong: np.ndarray, lengths: np.ndarray) -> list[ErrorCounts]:
    """Return counts of utterances."""
    pairs = zip(wrong.tolist(), lengths.tolist(), strict=True)
    return [ErrorCounts(errors, 0, 0, length) for errors, length in pairs]


def cases() -> list[Case]:
    """Return all kinds of test sets."""
    found = [Case("500 independent utterances", 0, 0.0, 0.0, 0.93, 0.97)]
    for speakers in (8, 12, 20, 39, 40, 60, 100):
        least, most = (0.93, 0.97) if speakers >= 40 else (0.92, 0.98)
        found += [
            Case("speakers", speakers, effect, unequal, least, most)
            for effect in (0.3, 0.5)
            for unequal in (0.5, 0.8)
        ]
    return [*found, Case("negative control", 40, 0.5, 0.5, 0.0, 0.9)]


def coverage(case: Case, sets: int) -> dict[str, object]:
    """Return how often the interval of a kind of sets holds the true rate."""
    low = high = 0
    width, method = 0.0, ""
    for seed in range(sets):
        found = case.interval(seed)
        low, high = low + (RATE < found.low), high + (RATE > found.high)
        width, method = width + (found.high - found.low) / sets, found.method
    share = 1 - (low + high) / sets
    return {
        "case": case.name,
        "speakers": case.speakers,
        "log_deviation_of_rates": case.effect,
        "log_deviation_of_sizes": case.unequal,
        "method": method.partition(", widened")[0],
        "coverage": round(share, 4),
        "below_the_interval": round(low / sets, 4),
        "above_the_interval": round(high / sets, 4),
        "mean_width": round(width, 5),
        "goal": [case.least, case.most],
        "met": case.least <= share <= case.most,
    }


def pair(seed: int) -> tuple[list[str], list[str], list[str]]:
    """Draw 50 references and two systems that are equally good on them."""
    draw = random.Random(seed)
    texts = [draw.choices(WORDS, k=draw.randint(5, 20)) for _ in range(50)]
    return [" ".join(text) for text in texts], damaged(texts, draw), damaged(texts, draw)


def damaged(texts: list[list[str]], draw: random.Random) -> list[str]:
    """Return texts with a fifth of the words wrong."""
    found = []
    for text in texts:
        words: list[str] = []
        for word in text:
            kind = draw.random()
            words += [] if kind < 0.05 else [draw.choice(WORDS) if kind < 0.15 else word]
            words += [draw.choice(WORDS)] if kind > 0.95 else []
        found.append(" ".join(words))
    return found


def level(name: str, test: Callable[[int], float], sets: int) -> dict[str, object]:
    """Return how often a test finds a difference that is not there."""
    share = sum(test(seed) < 0.05 for seed in range(sets)) / sets
    return {
        "test": name,
        "sets": sets,
        "share_below_0.05": round(share, 4),
        "goal": [0.03, 0.07],
        "met": 0.03 <= share <= 0.07,
    }


def by_bootstrap(seed: int) -> float:
    """Return the probability of the paired bootstrap by utterance."""
    references, first, second = pair(seed)
    counts = [utterance_errors(references, texts) for texts in (first, second)]
    return paired_difference(counts[0], counts[1], resamples=RESAMPLES).p


def by_speaker(seed: int, speakers: int) -> float:
    """Return the probability for two systems whose errors share what a speaker makes hard."""
    draw = np.random.default_rng((7, speakers, seed))
    rates, lengths = RATE * log_normal(draw, 0.5, speakers), draw.integers(100, 500, speakers)
    own = [np.minimum(rates * log_normal(draw, 0.3, speakers), 1) for _ in range(2)]
    counts = [rows(draw.binomial(lengths, one), lengths) for one in own]
    names = [f"speaker {index}" for index in range(speakers)]
    return paired_difference(counts[0], counts[1], names, resamples=RESAMPLES).p


def main() -> None:
    """Simulate, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--sets", type=int, default=2000)
    options = parser.parse_args()
    tests: dict[str, Callable[[int], float]] = {
        "mapsswe": lambda seed: mapsswe(*pair(seed)).p,
        "paired bootstrap by utterance": by_bootstrap,
        "paired t test over 12 speakers": lambda seed: by_speaker(seed, 12),
        "paired bootstrap by speaker, 40 speakers": lambda seed: by_speaker(seed, 40),
    }
    intervals, levels = [], []
    for case in cases():
        intervals.append(coverage(case, options.sets))
        print(intervals[-1], flush=True)
    for name, test in tests.items():
        levels.append(level(name, test, options.sets // 2))
        print(levels[-1], flush=True)
    if options.output:
        result = {
            "command": " ".join(["python packages/core/benchmarks/intervals.py", *sys.argv[1:]]),
            "machine": machine(),
            "versions": {name: version(name) for name in DISTRIBUTIONS},
            "true_rate": RATE,
            "sets": options.sets,
            "standard_error_of_95_percent": round(math.sqrt(0.95 * 0.05 / options.sets), 4),
            "confidence": 0.95,
            "intervals": intervals,
            "tests_of_equal_systems": levels,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
