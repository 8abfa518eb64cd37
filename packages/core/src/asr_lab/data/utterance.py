"""One utterance of a corpus: where its audio is, and what is said in it; torch-free."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class AudioSource:
    """Where the audio of an utterance is: a file, a part of a recording, or bytes in a shard."""

    path: str
    """The file."""
    start: float = 0.0
    """Where the utterance starts in the recording, in seconds."""
    duration: float | None = None
    """How long it lasts, in seconds; None for the rest of the recording."""
    offset: int = 0
    """First byte of an encoded file inside a shard."""
    size: int = 0
    """Number of bytes of the encoded file inside a shard; 0 if the file is no shard."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """A stretch of speech and its transcript."""

    id: str
    """Unique within its data set."""
    audio: AudioSource
    text: str
    duration: float
    """Length of the audio in seconds, as the corpus or the file's header says."""
    language: str = ""
    """Language tag such as `en` or `en_us`; empty if unknown."""
    speaker: str = ""
    """Speaker label; empty if unknown."""
