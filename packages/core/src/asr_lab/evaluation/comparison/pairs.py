"""Which systems differ: every pair is tested twice, and corrected for the number of pairs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from asr_lab.evaluation.comparison.reading import System
from asr_lab.evaluation.matched_pairs import (
    MatchedPairs,
    aligned,
    matched_pairs,
    segments_between,
)
from asr_lab.evaluation.significance import PairedDifference, holm, paired_difference
from asr_lab.evaluation.statistics import RESAMPLES

LEVEL = 0.05
FOR_A_PAIR = 400
"""Resamples for each pair there is: the least probability that they can show is 2 in their number,
which Holm multiplies by the number of pairs. Without more, no two of 11 systems would differ."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What the tests say of two systems, first minus second."""

    first: str
    second: str
    difference: PairedDifference
    segments: MatchedPairs
    p_difference: float
    """Of the paired test over utterances or speakers, after Holm."""
    p_segments: float
    """Of MAPSSWE, after Holm."""

    @property
    def p(self) -> float:
        """The larger of the two probabilities: systems differ if both tests say so."""
        return max(self.p_difference, self.p_segments)

    @property
    def differ(self) -> bool:
        """True if both tests tell the systems apart."""
        return self.p < LEVEL

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {**asdict(self), "p": self.p, "differ": self.differ}


def compare_pairs(
    systems: Sequence[System], ids: Sequence[str], speakers: Sequence[str]
) -> list[Pair]:
    """Test every pair of systems on the utterances `ids`, whose speakers are given, if known."""
    heard = {one.name: [one.heard[name] for name in ids] for one in systems}
    references = [one.reference_normalised for one in heard[systems[0].name]]
    chosen = list(combinations(heard, 2))
    marks = {
        name: aligned(references, [one.hypothesis_normalised for one in side])
        for name, side in heard.items()
    }
    resamples = max(RESAMPLES, FOR_A_PAIR * len(chosen))
    differences, segments = [], []
    for first, second in chosen:
        ours, theirs = ([one.words for one in heard[name]] for name in (first, second))
        differences.append(paired_difference(ours, theirs, speakers, resamples=resamples))
        found = segments_between(references, marks[first], marks[second])
        segments.append(matched_pairs(found))
    corrected = holm([one.p for one in differences]), holm([one.p for one in segments])
    return [
        Pair(
            first=names[0],
            second=names[1],
            difference=differences[index],
            segments=segments[index],
            p_difference=corrected[0][index],
            p_segments=corrected[1][index],
        )
        for index, names in enumerate(chosen)
    ]


def letters(names: Sequence[str], pairs: Sequence[Pair]) -> dict[str, str]:
    """Return letters for systems, best first: two that share one are not told apart."""
    alike = {frozenset((one.first, one.second)) for one in pairs if not one.differ}
    groups = [set(group) for group in _cliques(list(names), alike)]
    order = {name: index for index, name in enumerate(names)}
    groups.sort(key=lambda group: sorted(order[name] for name in group))
    found = dict.fromkeys(names, "")
    for index, group in enumerate(groups):
        for name in group:
            found[name] += _letter(index)
    return found


def _letter(index: int) -> str:
    return chr(ord("a") + index % 26) + str(index // 26 if index >= 26 else "")


def _cliques(names: Sequence[str], alike: set[frozenset[str]]) -> list[frozenset[str]]:
    """Return the largest groups in which no two are told apart (Bron and Kerbosch, 1973)."""
    neighbours = {
        one: {other for other in names if frozenset((one, other)) in alike and other != one}
        for one in names
    }
    found: list[frozenset[str]] = []

    def grow(group: set[str], candidates: set[str], done: set[str]) -> None:
        if not candidates and not done:
            found.append(frozenset(group))
        for one in sorted(candidates):
            near = neighbours[one]
            grow(group | {one}, candidates & near, done & near)
            candidates, done = candidates - {one}, done | {one}

    grow(set(), set(names), set())
    return found
