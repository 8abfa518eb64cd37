"""What a check of a data set found, as plain data."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

BAD: Mapping[str, str] = MappingProxyType(
    {
        "damaged": "audio that is missing, cut off, or cannot be decoded",
        "duration": "the audio is not as long as the data set says",
        "length": "too short or too long to be trained on",
        "silent": "nothing loud enough to be speech",
        "clipped": "samples cut off at the peak",
        "empty": "no transcript",
        "text": "characters that only a damaged text has",
        "characters": "characters that the tokenizer does not have",
        "ctc": "more tokens than a CTC model has encoder steps for",
        "rate": "more or less text than anybody says in that time",
        "duplicate": "the same audio and text as an earlier utterance",
        "conflict": "the same audio as another utterance with another text",
        "leak": "audio or text that another data set has too",
    }
)
"""Kinds of findings that make an utterance bad, in the order in which they are shown."""
NOTES: Mapping[str, str] = MappingProxyType(
    {
        "sampling": "not the sample rate of most, or below the model's",
        "narrow": "nothing in the upper half of the band: recorded at a lower rate",
        "pause": "long silence at the start or the end",
        "unusual": "much more or less text for the time than the others",
        "short text": "a few words that another data set has too",
        "speaker": "a speaker that another data set has too",
    }
)
"""Kinds of findings that are told and leave an utterance as good as it was."""


@dataclass(frozen=True, kw_only=True, order=True)
class DataFinding:
    """One thing about one utterance, or, of a speaker, about all of theirs."""

    position: int
    """Place of the utterance in its data set, from 0."""
    kind: str
    """A key of `BAD` or `NOTES`."""
    id: str
    """The utterance; for the kind `speaker`, the speaker."""
    detail: str
    """What was found, in words."""


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """All that was found in a data set."""

    dataset: str
    """What to type to name it."""
    utterances: int
    hours: float
    """Length of all audio that could be decoded."""
    sample_rates: Mapping[int, int]
    """Number of utterances by sample rate in Hz."""
    channels: Mapping[int, int]
    """Number of utterances by number of channels."""
    characters: Mapping[str, int]
    """How often each character occurs in all transcripts."""
    against: tuple[str, ...]
    """The data sets that it was compared with."""
    not_checked: tuple[str, ...]
    """What could not be checked because nothing was said about it."""
    findings: tuple[DataFinding, ...]
    """By position, bad ones and notes."""

    @property
    def bad(self) -> frozenset[int]:
        """Positions of the utterances that are bad."""
        return frozenset(one.position for one in self.findings if one.kind in BAD)

    @property
    def clean(self) -> bool:
        """True if no utterance is bad."""
        return not self.bad

    def counts(self) -> dict[str, int]:
        """Return the number of findings by kind, in the order in which kinds are shown."""
        found = Counter(one.kind for one in self.findings)
        return {kind: found[kind] for kind in (*BAD, *NOTES) if found[kind]}

    def of_kind(self, kind: str) -> list[DataFinding]:
        """Return the findings of a kind, by position."""
        return [one for one in self.findings if one.kind == kind]

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values, ready for JSON."""
        return {
            "dataset": self.dataset,
            "utterances": self.utterances,
            "hours": self.hours,
            "clean": self.clean,
            "bad_utterances": len(self.bad),
            "sample_rates": {str(rate): count for rate, count in self.sample_rates.items()},
            "channels": {str(number): count for number, count in self.channels.items()},
            "characters": dict(self.characters),
            "against": list(self.against),
            "not_checked": list(self.not_checked),
            "counts": self.counts(),
            "findings": [
                {"id": one.id, "kind": one.kind, "bad": one.kind in BAD, "detail": one.detail}
                for one in self.findings
            ],
        }
