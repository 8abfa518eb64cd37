"""How sure a model is of an utterance, and whether that means anything."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from asr_lab.utils.metrics import ErrorCounts

BINS = 10
"""Rows of the reliability table, equally wide."""
SMALLEST = 1e-6
"""Confidences are kept so far from 0 and 1 that one mistake does not cost infinitely much."""


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Words whose confidence lies between two bounds."""

    low: float
    high: float
    words: int
    confidence: float
    """Mean confidence of these words."""
    accuracy: float
    """Share of them that were right."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What confidences are worth, over all words that were recognised.

    The confidence of a word is that of its utterance.
    """

    words: int
    """Words that were recognised."""
    accuracy: float
    """Share of them that were right."""
    confidence: float
    """Their mean confidence."""
    expected_calibration_error: float
    """Mean distance of confidence and accuracy over the bins, by words (ECE)."""
    normalised_cross_entropy: float | None
    """NIST's NCE: 1 for perfect confidences, 0 for those that know no more than the accuracy, below
    0 for worse ones; None where all words are right, or all wrong."""
    error_detection: float | None
    """Probability that an utterance with errors has less confidence than one without (AUC, ties
    count half); None where either kind is missing."""
    utterances: int
    """Utterances whose confidence is known."""
    bins: tuple[ReliabilityBin, ...]
    """The reliability table; bins without words are left out."""

    def sentence(self) -> str:
        """Return what a person wants to know."""
        parts = [f"ECE {100 * self.expected_calibration_error:.1f} %"]
        if self.normalised_cross_entropy is not None:
            parts.append(f"NCE {self.normalised_cross_entropy:.2f}")
        if self.error_detection is not None:
            parts.append(f"finds utterances with errors (AUC {self.error_detection:.2f})")
        return " · ".join(parts)


def confidence(score: float, words: int) -> float:
    """Return the confidence of an utterance: the geometric mean probability of its words.

    `score` is the log probability of the text and `words` the number of words in it; of an empty
    text it is the probability. Not a number if the score is none. A score with a
    language model in it is no probability, and is cut at 1.
    """
    return math.exp(min(score / max(words, 1), 0.0)) if not math.isnan(score) else math.nan


def calibrate(confidences: Sequence[float], errors: Sequence[ErrorCounts]) -> Calibration | None:
    """Return what the confidences of utterances are worth; None where none is known."""
    known = [(c, e) for c, e in zip(confidences, errors, strict=True) if not math.isnan(c)]
    if not known:
        return None
    sure = np.asarray([value for value, _ in known], np.float64)
    right = np.asarray([count.correct for _, count in known])
    heard = np.asarray([count.hypothesis_length for _, count in known])
    wrong = np.asarray([count.errors > 0 for _, count in known])
    words = int(heard.sum())
    if not words:
        return None
    table = _bins(sure, right, heard)
    distance = math.fsum(one.words * abs(one.confidence - one.accuracy) for one in table)
    return Calibration(
        words=words,
        accuracy=float(right.sum() / words),
        confidence=float((sure * heard).sum() / words),
        expected_calibration_error=distance / words,
        normalised_cross_entropy=_normalised_cross_entropy(sure, right, heard),
        error_detection=_error_detection(sure, wrong),
        utterances=len(known),
        bins=tuple(table),
    )


def _bins(
    sure: Float64[np.ndarray, " utterances"],
    right: Int64[np.ndarray, " utterances"],
    heard: Int64[np.ndarray, " utterances"],
) -> list[ReliabilityBin]:
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    table = []
    for place in range(BINS):
        here = places == place
        words = int(heard[here].sum())
        if words:
            table.append(
                ReliabilityBin(
                    low=place / BINS,
                    high=(place + 1) / BINS,
                    words=words,
                    confidence=float((sure[here] * heard[here]).sum() / words),
                    accuracy=float(right[here].sum() / words),
                )
            )
    return table


def _normalised_cross_entropy(
    sure: Float64[np.ndarray, " utterances"],
    right: Int64[np.ndarray, " utterances"],
    heard: Int64[np.ndarray, " utterances"],
) -> float | None:
    """Return NIST's measure, as in the evaluation plans of RT: by words, in bits."""
    words, correct = int(heard.sum()), int(right.sum())
    if correct in (0, words):
        return None
    share = correct / words
    most = -(correct * math.log2(share) + (words - correct) * math.log2(1 - share))
    bounded = np.clip(sure, SMALLEST, 1 - SMALLEST)
    said = float((right * np.log2(bounded) + (heard - right) * np.log2(1 - bounded)).sum())
    return (most + said) / most


def _error_detection(
    sure: Float64[np.ndarray, " utterances"], wrong: Bool[np.ndarray, " utterances"]
) -> float | None:
    """Return the area under the curve, by ranks (Mann and Whitney 1947)."""
    bad, good = int(wrong.sum()), int((~wrong).sum())
    if not bad or not good:
        return None
    _, places, counts = np.unique(-sure, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return float((ranks[wrong].sum() - bad * (bad + 1) / 2) / (bad * good))
