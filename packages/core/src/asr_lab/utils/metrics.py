"""Word and character error rates: Levenshtein counts of substitutions, deletions and insertions.

The rule is `levenshtein`: the fewest edits, each at cost 1. The number of errors is thereby unique.
Where several alignments reach it, the split into kinds is that of rapidfuzz, and `align` shows the
very alignment that is counted.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

Unit: TypeAlias = Literal["word", "character"]
Operation: TypeAlias = Literal["equal", "substitute", "delete", "insert"]


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
    def rate(self) -> float:
        """Errors per word or character of the reference, which may exceed 1.

        Without any reference, 0 if there are no errors, else infinity: insertions into silence
        are errors, and adding the counts of other utterances makes the rate finite.
        """
        if self.reference_length:
            return self.errors / self.reference_length
        return math.inf if self.errors else 0.0

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


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return all word errors over all words of `references` (a fraction, not percent)."""
    return corpus_errors(references, hypotheses, "word").rate


def character_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return all character errors over all characters of `references`, spaces included."""
    return corpus_errors(references, hypotheses, "character").rate


def corpus_errors(
    references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word"
) -> ErrorCounts:
    """Return the summed counts of a corpus; raises ValueError for unequal numbers of texts."""
    if len(references) != len(hypotheses):
        raise ValueError(
            f"every reference needs a hypothesis; got {len(references)} and {len(hypotheses)}"
        )
    count = word_errors if unit == "word" else character_errors
    return total(count(one, other) for one, other in zip(references, hypotheses, strict=True))


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Return the sum of counts."""
    return sum(counts, start=ErrorCounts())


def word_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Count errors between texts split at white space; nothing is normalised."""
    return _count(reference.split(), hypothesis.split())


def character_errors(reference: str, hypothesis: str) -> ErrorCounts:
    """Count errors between the code points of texts; a run of white space is one space."""
    return _count(" ".join(reference.split()), " ".join(hypothesis.split()))


def align(reference: str, hypothesis: str) -> list[AlignedPair]:
    """Return the alignment of the words of two texts that `word_errors` counts."""
    from rapidfuzz.distance import Levenshtein

    ours, theirs = reference.split(), hypothesis.split()
    pairs: list[AlignedPair] = []
    for code in Levenshtein.opcodes(ours, theirs):
        old, new = ours[code.src_start : code.src_end], theirs[code.dest_start : code.dest_end]
        operation = _OPERATIONS[code.tag]
        for index in range(max(len(old), len(new))):
            one, other = "".join(old[index : index + 1]), "".join(new[index : index + 1])
            pairs.append(AlignedPair(operation, one, other))
    return pairs


_OPERATIONS: dict[str, Operation] = {
    "equal": "equal",
    "replace": "substitute",
    "delete": "delete",
    "insert": "insert",
}


def _count(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Count the edits between two sequences."""
    if reference == hypothesis:
        return ErrorCounts(reference_length=len(reference))
    from rapidfuzz.distance import Levenshtein

    tags = [edit.tag for edit in Levenshtein.editops(reference, hypothesis)]
    return ErrorCounts(
        tags.count("replace"), tags.count("delete"), tags.count("insert"), len(reference)
    )
