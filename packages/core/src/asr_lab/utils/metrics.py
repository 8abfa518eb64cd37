"""Word and character error rates: counts of substitutions, deletions and insertions.

Two rules say which alignment of two texts is counted:

* `levenshtein`: the fewest edits. Where several alignments have as few, the split into kinds is
  that of rapidfuzz, and thereby jiwer's.
* `sclite`: the least weight, where a substitution weighs 4, a deletion or an insertion 3, as in
  NIST's tool; among alignments of equal weight, the fewest edits. This makes every count unique.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Unit: TypeAlias = Literal["word", "character"]
Rule: TypeAlias = Literal["levenshtein", "sclite"]
Operation: TypeAlias = Literal["equal", "substitute", "delete", "insert"]
Row: TypeAlias = tuple[int, int, int, int]
"""Substitutions, deletions, insertions, reference length."""


@dataclass(frozen=True)
class ErrorCounts:
    """Errors of hypotheses against references, which add up over a corpus."""

    substitutions: int = 0
    deletions: int = 0
    """Words or characters of the reference that the hypothesis lacks."""
    insertions: int = 0
    """Words or characters of the hypothesis that the reference lacks."""
    reference_length: int = 0
    """Words or characters of the reference."""

    @property
    def errors(self) -> int:
        """Number of errors of all kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def correct(self) -> int:
        """Words or characters of the reference that were recognised."""
        return self.reference_length - self.substitutions - self.deletions

    @property
    def hypothesis_length(self) -> int:
        """Words or characters of the hypothesis."""
        return self.reference_length - self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per word or character of the reference, which may exceed 1.

        Without any reference, 0 if there are no errors, else infinity: insertions into silence
        are errors, and adding the counts of other utterances makes the rate finite.
        """
        if self.reference_length:
            return self.errors / self.reference_length
        return math.inf if self.errors else 0.0

    @property
    def match_error_rate(self) -> float:
        """Errors per column of the alignment (Morris et al. 2004, MER), at most 1; 0 for none."""
        columns = self.reference_length + self.insertions
        return self.errors / columns if columns else 0.0

    @property
    def information_lost(self) -> float:
        """Share of word information lost (Morris et al. 2004, WIL), at most 1; 0 for no words."""
        pairs = self.reference_length * self.hypothesis_length
        if pairs:
            return 1 - self.correct**2 / pairs
        return 1.0 if self.errors else 0.0

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        """Return the counts of both together."""
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference_length + other.reference_length,
        )


class AlignedPair(NamedTuple):
    """One column of an alignment; the side that has nothing there is empty."""

    operation: Operation
    reference: str
    hypothesis: str


def word_error_rate(
    references: Sequence[str], hypotheses: Sequence[str], rule: Rule = "levenshtein"
) -> float:
    """Return all word errors over all words of `references` (a fraction, not percent)."""
    return corpus_errors(references, hypotheses, "word", rule).rate


def character_error_rate(
    references: Sequence[str], hypotheses: Sequence[str], rule: Rule = "levenshtein"
) -> float:
    """Return all character errors over all characters of `references`, spaces included."""
    return corpus_errors(references, hypotheses, "character", rule).rate


def corpus_errors(
    references: Sequence[str],
    hypotheses: Sequence[str],
    unit: Unit = "word",
    rule: Rule = "levenshtein",
) -> ErrorCounts:
    """Return the summed counts of a corpus; raises ValueError for unequal numbers of texts."""
    rows = _rows(references, hypotheses, unit, rule)
    return ErrorCounts(*map(sum, zip(*rows, strict=True))) if rows else ErrorCounts()


def utterance_errors(
    references: Sequence[str],
    hypotheses: Sequence[str],
    unit: Unit = "word",
    rule: Rule = "levenshtein",
) -> list[ErrorCounts]:
    """Return the counts of each pair; raises ValueError for unequal numbers of texts."""
    return [ErrorCounts(*row) for row in _rows(references, hypotheses, unit, rule)]


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Return the sum of counts."""
    return sum(counts, start=ErrorCounts())


def word_errors(reference: str, hypothesis: str, rule: Rule = "levenshtein") -> ErrorCounts:
    """Count errors between texts split at white space; nothing is normalised."""
    return utterance_errors([reference], [hypothesis], "word", rule)[0]


def character_errors(reference: str, hypothesis: str, rule: Rule = "levenshtein") -> ErrorCounts:
    """Count errors between the code points of texts; a run of white space is one space."""
    return utterance_errors([reference], [hypothesis], "character", rule)[0]


def align(reference: str, hypothesis: str, rule: Rule = "levenshtein") -> list[AlignedPair]:
    """Return the alignment of the words of two texts that `word_errors` counts by that rule.

    Where `sclite` leaves several, the choice is NIST's: from the end, first what advances in both
    texts, then an insertion, then a deletion. That rule takes memory for every pair of words.
    """
    ours, theirs = reference.split(), hypothesis.split()
    if rule == "sclite":
        from asr_lab.utils.sclite import path

        return [_column(ours, theirs, *step) for step in path(ours, theirs)]
    from rapidfuzz.distance import Levenshtein

    columns: list[AlignedPair] = []
    for block in Levenshtein.opcodes(ours, theirs):
        one, two = block.src_start, block.dest_start
        while one < block.src_end or two < block.dest_end:
            first, second = one < block.src_end, two < block.dest_end
            columns.append(_column(ours, theirs, one if first else None, two if second else None))
            one, two = one + first, two + second
    return columns


def _column(
    reference: Sequence[str], hypothesis: Sequence[str], one: int | None, two: int | None
) -> AlignedPair:
    """Return a column from the positions of its words."""
    ours = "" if one is None else reference[one]
    theirs = "" if two is None else hypothesis[two]
    if one is None:
        return AlignedPair("insert", ours, theirs)
    if two is None:
        return AlignedPair("delete", ours, theirs)
    return AlignedPair("equal" if ours == theirs else "substitute", ours, theirs)


def _rows(
    references: Sequence[str], hypotheses: Sequence[str], unit: Unit, rule: Rule
) -> list[Row]:
    """Return the counts of each pair as plain numbers."""
    if len(references) != len(hypotheses):
        raise ValueError(
            f"every reference needs a hypothesis; got {len(references)} and {len(hypotheses)}"
        )
    from asr_lab.utils.counting import COUNTERS

    count, pairs = COUNTERS[rule], zip(references, hypotheses, strict=True)
    if unit == "word":
        return [count(one.split(), other.split()) for one, other in pairs]
    return [count(" ".join(one.split()), " ".join(other.split())) for one, other in pairs]
