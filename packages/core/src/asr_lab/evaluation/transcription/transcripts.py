"""What transcribing one recording gives."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from asr_lab.decoding.timestamps import Timed


class Word(Timed):
    """A word, and when it was said, in seconds from the start of the recording."""


class Segment(Timed):
    """Text that was said within some seconds; a segment may be longer than one can read."""


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """What was said in a recording, or why that cannot be told."""

    path: str
    """The file, as it was named."""
    problem: str = ""
    """Why the file could not be transcribed, in one line that names it; empty if it could."""
    duration: float = 0.0
    """Length of the recording, in seconds."""
    text: str = ""
    words: tuple[Word, ...] = ()
    """Empty where the decoder does not know when a token starts."""
    segments: tuple[Segment, ...] = ()
    """One for each window that the recording was cut into, and that something was said in."""

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values, ready for JSON."""
        return {
            "file": self.path,
            "duration": self.duration,
            "text": self.text,
            "words": [asdict(word) for word in self.words],
            "segments": [asdict(segment) for segment in self.segments],
        }


def join_words(words: Sequence[str]) -> str:
    """Return words as text: a space between them, but not in scripts that are written without."""
    text = ""
    for word in words:
        glued = not text or (is_unspaced(text[-1]) and is_unspaced(word[:1]))
        text += word if glued else f" {word}"
    return text


UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x9FFF),  # Chinese and Japanese, with their punctuation
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),
    (0x20000, 0x3FFFF),
)
"""Code points, first and last, of scripts that are written without spaces."""


def is_unspaced(character: str) -> bool:
    """Return True for a character of a script without spaces between words."""
    return bool(character) and any(low <= ord(character) <= high for low, high in UNSPACED)
