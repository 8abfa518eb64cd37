"""Which results may be compared with each other, and on which utterances."""

from collections.abc import Sequence
from dataclasses import dataclass

from asr_lab.evaluation.comparison.reading import System
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Match:
    """Results that measure the same thing, and those that do not."""

    base: System
    """Whose measure the others are held to: that which most results share."""
    systems: tuple[System, ...]
    """Those that can be compared, `base` among them, in their order."""
    reasons: dict[str, str]
    """Why others cannot, by name."""
    ids: tuple[str, ...]
    """Utterances that all comparable ones have."""
    left_out: int
    """Utterances that some of them have and others lack."""


def match(systems: Sequence[System]) -> Match:
    """Find the largest group of results that can be compared; of equal ones that of the first.

    Raises UserError if there are no two with an utterance in common.
    """
    if not any(set(a.heard) & set(b.heard) for a in systems for b in systems if a is not b):
        first, second = systems[0], systems[1]
        raise UserError(
            f"no utterance in common: {first.name} has {next(iter(first.heard))!r} and others,"
            f" {second.name} has {next(iter(second.heard))!r}; evaluate both on the same data"
        )
    found = [{one.name: difference(base, one) for one in systems} for base in systems]
    counts = [sum(not reason for reason in reasons.values()) for reasons in found]
    chosen = counts.index(max(counts))
    reasons = {name: reason for name, reason in found[chosen].items() if reason}
    comparable = tuple(one for one in systems if one.name not in reasons)
    base = systems[chosen]
    everywhere = [name for name in base.heard if all(name in one.heard for one in comparable)]
    anywhere = set().union(*(one.heard for one in comparable))
    return Match(
        base=base,
        systems=comparable,
        reasons=reasons,
        ids=tuple(everywhere),
        left_out=len(anywhere) - len(everywhere),
    )


def difference(base: System, other: System) -> str:
    """Return why a result cannot be compared with `base`; empty if it can."""
    if base.normalizer != other.normalizer:
        return f"normaliser {other.normalizer}, not {base.normalizer}"
    digests = base.normalizer_digest, other.normalizer_digest
    if all(digests) and digests[0] != digests[1]:
        return f"normaliser {other.normalizer} of another digest, {digests[1][:8]}"
    if base.rule != other.rule:
        return f"errors counted by {other.rule}, not {base.rule}"
    common = [name for name in base.heard if name in other.heard]
    if 2 * len(common) < max(len(base.heard), len(other.heard)):
        return (
            f"other data: {len(common):,} of {len(other.heard):,} utterances are those of"
            f" {base.name}"
        )
    texts = ((base.heard[one], other.heard[one], one) for one in common)
    wrong = [one for a, b, one in texts if a.reference_normalised != b.reference_normalised]
    if wrong:
        return f"other references: {len(wrong):,} of {len(common):,} differ, first {wrong[0]!r}"
    return ""


def remedy(base: System, other: System) -> str:
    """Return what to do about a result that cannot be compared."""
    digests = base.normalizer_digest, other.normalizer_digest
    if (base.normalizer, base.rule) == (other.normalizer, other.rule) and digests[0] == digests[1]:
        return "evaluate both on the same data"
    name = base.normalizer.partition("@")[0]
    return f"asr-lab score {other.hypotheses} --normalizer {name} --rule {base.rule}"
