"""What the finders need to know of an utterance."""

from typing import Protocol, runtime_checkable

from asr_lab.utils.metrics import ErrorCounts


@runtime_checkable
class Scored(Protocol):
    """An utterance that was recognised and scored, such as a `ScoredUtterance`."""

    @property
    def id(self) -> str:
        """Unique name."""

    @property
    def reference_normalised(self) -> str:
        """What was said."""

    @property
    def hypothesis_normalised(self) -> str:
        """What was recognised."""

    @property
    def word_errors(self) -> ErrorCounts:
        """Errors by words."""

    @property
    def character_errors(self) -> ErrorCounts:
        """Errors by characters."""

    @property
    def duration(self) -> float:
        """Length of the audio in seconds; 0 if unknown."""

    @property
    def confidence(self) -> float:
        """Mean probability of a word; not a number if unknown."""

    @property
    def loudest(self) -> float:
        """Level of the loudest 20 ms in dBFS; not a number if unknown."""
