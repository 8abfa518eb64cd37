"""What the finders found, as plain data."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from asr_lab.evaluation.failures.calibration import Calibration

FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "empty": "nothing recognised where something was said",
        "loop": "a phrase over and over",
        "hallucination": "text where the audio is silent or the reference empty",
        "too much": "more text than anybody says in that time",
        "script": "letters of another script than the reference",
        "mixed": "words of letters that only look alike",
        "language": "another language than the reference",
    }
)
"""Kinds of failures of a model."""
REFERENCES: Mapping[str, str] = MappingProxyType(
    {
        "swapped": "the model heard the reference of another utterance",
        "unlike": "the model is sure and heard something else",
        "missing": "the reference is empty, and the model is sure of what it heard",
        "impossible": "more text than anybody says in that time",
    }
)
"""Kinds of references that are probably wrong."""
NAMED = 3
"""Utterances that a line names."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about one utterance."""

    kind: str
    """A key of `FAILURES` or `REFERENCES`."""
    id: str
    """The utterance."""
    detail: str
    """What was found, in words."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that the finders found."""

    failures: tuple[Finding, ...]
    """Failures of the model, in the order of the utterances."""
    references: tuple[Finding, ...]
    """References that are probably wrong, in the order of the utterances."""
    calibration: Calibration | None
    """What the model's confidence is worth; None where no score is known."""
    not_searched: tuple[str, ...]
    """What could not be looked for, with the reason."""

    def counts(self) -> dict[str, int]:
        """Return the number of findings of each kind that was found."""
        found = Counter(one.kind for one in (*self.failures, *self.references))
        return {kind: found[kind] for kind in (*FAILURES, *REFERENCES) if found[kind]}

    def lines(self) -> list[str]:
        """Return the few lines that people read; none where there is nothing to say."""
        lines = [*_lines("failures", self.failures), *_lines("suspect", self.references)]
        if self.calibration is not None:
            lines.append(f"confidence  {self.calibration.sentence()}")
        return lines

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values, ready for JSON."""
        return {
            "counts": self.counts(),
            "failures": [asdict(one) for one in self.failures],
            "references": [asdict(one) for one in self.references],
            "calibration": asdict(self.calibration) if self.calibration else None,
            "not_searched": list(self.not_searched),
        }


def _lines(title: str, findings: tuple[Finding, ...]) -> Iterator[str]:
    """Yield one line: each kind with its number and the first utterances."""
    if not findings:
        return
    parts = []
    for kind, count in Counter(one.kind for one in findings).items():
        ids = [one.id for one in findings if one.kind == kind]
        more = ", …" if count > NAMED else ""
        parts.append(f"{count:,} {kind} ({', '.join(ids[:NAMED])}{more})")
    meaning = "references  perhaps wrong: " if title == "suspect" else f"{title}  "
    yield f"{meaning}{'; '.join(parts)}"
