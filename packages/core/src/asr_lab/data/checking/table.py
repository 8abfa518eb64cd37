"""What is kept of every utterance for rules that look at all of them: 60 bytes each."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt64

from asr_lab.data.checking.facts import AudioFacts, is_dense, spoken_characters, text_digest


class Table:
    """Facts of utterances as arrays; a row is a position in the data set."""

    def __init__(self, count: int) -> None:
        """Make room for `count` utterances."""
        self.audio: UInt64[np.ndarray, "utterances 2"] = np.zeros((count, 2), np.uint64)
        """Digests of audio; zeros where there is none to compare."""
        self.text: UInt64[np.ndarray, "utterances 2"] = np.zeros((count, 2), np.uint64)
        """Digests of text keys; zeros where there is none."""
        self.sample_rates: Int64[np.ndarray, " utterances"] = np.zeros(count, np.int64)
        self.spoken: Int64[np.ndarray, " utterances"] = np.zeros(count, np.int64)
        """Letters and digits."""
        self.sound: Float64[np.ndarray, " utterances"] = np.zeros(count)
        """Seconds between the first sound and the last; 0 where nobody knows."""
        self.dense: Bool[np.ndarray, " utterances"] = np.zeros(count, np.bool_)

    def put(self, position: int, facts: AudioFacts, text: str, key: str) -> None:
        """Keep what is known of an utterance."""
        if key:
            self.text[position] = _words(text_digest(key))
        self.spoken[position] = spoken_characters(text)
        self.dense[position] = is_dense(text)
        self.sample_rates[position] = facts.sample_rate
        if facts.levels is None or facts.levels.silent:
            return
        self.audio[position] = _words(facts.digest)
        self.sound[position] = facts.seconds - facts.levels.leading - facts.levels.trailing

    @property
    def rates(self) -> Float64[np.ndarray, " utterances"]:
        """Letters and digits in a second of sound; 0 where nobody knows."""
        known = (self.sound > 0) & (self.spoken > 0)
        found: np.ndarray = np.where(known, self.spoken / np.where(known, self.sound, 1), 0.0)
        return found


def _words(digest: bytes) -> UInt64[np.ndarray, "2"]:
    found: np.ndarray = np.frombuffer(digest, np.uint64)
    return found


def repeated(digests: UInt64[np.ndarray, "utterances 2"]) -> Iterator[tuple[int, int]]:
    """Yield each row that is equal to an earlier one, with the first of those; not rows of 0."""
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ranked = digests[order]
    same = (ranked[1:] == ranked[:-1]).all(1) & ranked[1:].any(1)
    first = 0
    for place in np.flatnonzero(same).tolist():
        if not place or not same[place - 1]:
            first = int(order[place])
        yield int(order[place + 1]), first


def shared(
    digests: UInt64[np.ndarray, "utterances 2"], others: UInt64[np.ndarray, "others 2"]
) -> Iterator[tuple[int, int]]:
    """Yield each row that `others` has too, with the first place there; not rows of 0."""
    seen: dict[bytes, int] = {}
    for place, row in enumerate(others):
        if row.any():
            seen.setdefault(row.tobytes(), place)
    for position, row in enumerate(digests):
        if (place := seen.get(row.tobytes(), -1)) >= 0:
            yield position, place


def outliers(values: Float64[np.ndarray, " values"], most: float) -> Bool[np.ndarray, " values"]:
    """Return which values lie more than `most` deviations from the median of their logarithms.

    The deviation is 1.4826 times the median absolute one, which equals the standard deviation of
    a normal distribution and does not notice the outliers. Values of 0 are left out.
    """
    found: np.ndarray = np.zeros(len(values), np.bool_)
    known = values > 0
    if known.sum() < FEWEST:
        return found
    logs = np.log(values[known])
    distance = np.abs(logs - np.median(logs))
    found[known] = distance > most * max(1.4826 * np.median(distance), LEAST_DEVIATION)
    return found


FEWEST = 50
"""Values from which on it can be said what is usual."""
LEAST_DEVIATION = 0.1
"""Deviation of logarithms below which data are too regular to be human: nothing is unusual then."""
