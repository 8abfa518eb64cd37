"""How many errors two texts have, by each rule; `metrics` says what the rules are.

This is the only place that counts, and it is kept fast: rapidfuzz finds distances in machine code,
and a distance and two lengths settle most counts. Imported when something is counted, not before.
"""

from collections.abc import Callable, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from asr_lab.utils.metrics import Row, Rule

WEIGHTS = {"substitution": 4, "deletion": 3, "insertion": 3}
"""What errors weigh in the rule `sclite`."""
ROOM = 1 << 32
"""More than any number of errors: weight times this, plus number, orders by weight, then number."""


def levenshtein(reference: Sequence[str], hypothesis: Sequence[str]) -> Row:
    """Count the fewest edits; the alignment itself is looked at only where they have a choice."""
    longer = len(reference) - len(hypothesis)
    errors = Levenshtein.distance(reference, hypothesis)
    # What the lengths do not explain is substitutions, and pairs of a deletion and an insertion.
    substitutions = errors - abs(longer)
    if substitutions > 1:
        edits = Levenshtein.editops(reference, hypothesis).as_list()
        substitutions = [tag for tag, _, _ in edits].count("replace")
    deletions = (errors - substitutions + longer) // 2
    return substitutions, deletions, errors - substitutions - deletions, len(reference)


def sclite(reference: Sequence[str], hypothesis: Sequence[str]) -> Row:
    """Count the edits of least weight: that weight and their number settle all three kinds."""
    found = Levenshtein.distance(reference, hypothesis, weights=_WEIGHTS)
    weight, errors = divmod(found, ROOM)
    substitutions = weight - WEIGHTS["deletion"] * errors
    deletions = (errors - substitutions + len(reference) - len(hypothesis)) // 2
    return substitutions, deletions, errors - substitutions - deletions, len(reference)


COUNTERS: Mapping[Rule, Callable[[Sequence[str], Sequence[str]], Row]] = {
    "levenshtein": levenshtein,
    "sclite": sclite,
}
_WEIGHTS = (
    WEIGHTS["insertion"] * ROOM + 1,
    WEIGHTS["deletion"] * ROOM + 1,
    WEIGHTS["substitution"] * ROOM + 1,
)
"""In the order of rapidfuzz."""
