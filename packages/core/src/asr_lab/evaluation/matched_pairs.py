"""NIST's matched-pairs test of two systems on the same references (Gillick and Cox, 1989).

MAPSSWE, matched pairs sentence segment word error: an utterance is cut where both systems have two
words in a row right, and the errors of each piece are compared. Cut that way, pieces are nearly
independent even if errors within a sentence are not. Alignments are those of the rule `sclite`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from asr_lab.utils.sclite import Marks, marks

ENOUGH_SEGMENTS = 30
"""Segments from which on z is near enough to normal."""


@dataclass(frozen=True, kw_only=True)
class MatchedPairs:
    """What the test found about the difference between two systems, first minus second."""

    segments: int
    mean: float
    """Errors of the first beyond those of the second, in a segment."""
    deviation: float
    """Standard deviation of that difference."""
    z: float
    p: float
    """Probability of a z as far from zero if the systems are equally good (two-tailed)."""
    warning: str = ""
    """Why the test does not say much, in a sentence; empty if it does."""


def mapsswe(references: Sequence[str], first: Sequence[str], second: Sequence[str]) -> MatchedPairs:
    """Test whether two systems make equally many word errors.

    Segments and z are those of `sc_stats -t mapsswe`, but for the few texts of small vocabulary
    where sclite does not find the fewest errors of least weight.
    Raises ValueError for unequal numbers of texts.
    """
    return matched_pairs(segments(references, first, second))


def segments(
    references: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> Int[np.ndarray, "segments 2"]:
    """Return the errors of both systems in each segment that has any."""
    if not len(references) == len(first) == len(second):
        raise ValueError(
            "every reference needs a hypothesis of each system; got"
            f" {len(references)}, {len(first)} and {len(second)}"
        )
    one, two = aligned(references, first), aligned(references, second)
    return segments_between(references, one, two)


def aligned(references: Sequence[str], hypotheses: Sequence[str]) -> Marks:
    """Align one system with the references, once for all pairs that it is part of."""
    words = [text.split() for text in references]
    return _slots(marks(words, [text.split() for text in hypotheses]))


def segments_between(
    references: Sequence[str], one: Marks, two: Marks
) -> Int[np.ndarray, "segments 2"]:
    """Return the errors of both aligned systems in each segment that has any."""
    lengths = [len(text.split()) + 1 for text in references]
    last = np.zeros(len(one.correct), bool)
    last[np.cumsum(lengths, dtype=np.int64) - 1] = True
    good = one.correct & two.correct
    clean = (one.inserted == 0) & (two.inserted == 0)
    # A segment ends behind the second of two good words with nothing between, or with its text.
    ends = (good & clean & _shifted(good)) | last
    of_segment = np.cumsum(_shifted(ends))
    found = np.zeros((ends.sum(), 2), np.int64)
    for column, system in enumerate((one, two)):
        wrong = ~system.correct & ~last
        np.add.at(found[:, column], of_segment, system.inserted + wrong)
    return found[found.any(1)]


def matched_pairs(segments: Int[np.ndarray, "segments 2"]) -> MatchedPairs:
    """Test the hypothesis that the mean difference of errors is zero."""
    number, difference = len(segments), segments[:, 0] - segments[:, 1]
    mean = float(difference.mean()) if number else 0.0
    deviation = float(difference.std(ddof=1)) if number > 1 else 0.0
    z = mean / (deviation / math.sqrt(number)) if deviation else 0.0
    warning = ""
    if not deviation:
        warning = "all segments differ alike, so the test has nothing to compare their mean with"
    elif number < ENOUGH_SEGMENTS:
        counted = "1 segment is" if number == 1 else f"{number} segments are"
        warning = f"{counted} few: from {ENOUGH_SEGMENTS} on, the probability is exact enough"
    return MatchedPairs(
        segments=number,
        mean=mean,
        deviation=deviation,
        z=z,
        p=math.erfc(abs(z) / math.sqrt(2)),
        warning=warning,
    )


def _shifted(values: Bool[np.ndarray, " slots"]) -> Bool[np.ndarray, " slots"]:
    """Return what stands one place before each, and nothing before the first."""
    shifted = np.zeros_like(values)
    shifted[1:] = values[:-1]
    return shifted


def _slots(marked: Sequence[Marks]) -> Marks:
    """Join the marks of all texts: one for each word, and one for the end of each text."""
    if not marked:
        return Marks(np.zeros(0, bool), np.zeros(0, np.int64))
    correct = [part for one in marked for part in (one.correct, [False])]
    return Marks(np.concatenate(correct), np.concatenate([one.inserted for one in marked]))
