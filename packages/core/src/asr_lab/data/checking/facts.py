"""What is known of an utterance once its audio was decoded and its text was looked at."""

import hashlib
import unicodedata
from dataclasses import dataclass

import numpy as np

from asr_lab.audio.errors import AudioError
from asr_lab.audio.levels import LevelMeter, Levels
from asr_lab.audio.native import native_audio
from asr_lab.data.utterance import AudioSource

DIGEST_BYTES = 16
"""So that two of 10 million utterances share a digest by chance once in 10 ** 24 data sets."""
ALWAYS_BROKEN = frozenset({"Cc", "Co", "Cn", "Cs"})
"""Unicode categories that no transcript has: control, private use, unassigned, half of a pair."""
SPACES = frozenset("\t\n\r")
"""Control characters that are mere space."""


@dataclass(frozen=True, kw_only=True)
class AudioFacts:
    """What decoding has shown."""

    problem: str = ""
    """Why the audio cannot be used; empty if it can, and only then the rest means something."""
    sample_rate: int = 0
    """In Hz, as the header says."""
    channels: int = 0
    seconds: float = 0.0
    """Length of what was decoded."""
    digest: bytes = b""
    """Of rate and samples: equal audio in another lossless file has the same."""
    levels: Levels | None = None


def audio_facts(source: AudioSource) -> AudioFacts:
    """Decode the audio of an utterance; what is wrong with it is told, not raised."""
    try:
        with native_audio(source) as audio:
            meter = LevelMeter(audio.sample_rate, spectrum=True)
            digest = hashlib.blake2b(f"{audio.sample_rate}:".encode(), digest_size=DIGEST_BYTES)
            samples = 0
            for block in audio.blocks:
                meter.add(block)
                samples += len(block)
                digest.update((block + np.float32(0)).astype("<f4").data)  # -0.0 is 0.0
            return AudioFacts(
                sample_rate=audio.sample_rate,
                channels=audio.channels,
                seconds=samples / audio.sample_rate,
                digest=digest.digest(),
                levels=meter.levels(),
            )
    except AudioError as error:
        return AudioFacts(problem=str(error))
    except (MemoryError, OverflowError) as error:
        return AudioFacts(problem=f"audio file {source.path}: cannot be decoded ({error!r})")


def crashed(source: AudioSource) -> AudioFacts:
    """Return what is said of audio that ended the process which decoded it."""
    return AudioFacts(problem=f"audio file {source.path}: the decoder crashed; replace it")


def text_key(text: str) -> str:
    """Return what two transcripts have in common that say the same.

    Letters, marks and digits after compatibility composition (NFKC) and folding of case; all else
    is space between words.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = (
        character if unicodedata.category(character)[0] in "LMN" else " " for character in folded
    )
    return " ".join("".join(kept).split())


def text_digest(key: str) -> bytes:
    """Return the digest of a text key."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()


def spoken_characters(text: str) -> int:
    """Return the number of letters, marks and digits, which take time to say."""
    return sum(unicodedata.category(character)[0] in "LMN" for character in text)


def broken_characters(text: str) -> str:
    """Return the characters that show that a text was damaged, each once, in order."""
    found = {
        character: None
        for character in text
        if character == "\N{REPLACEMENT CHARACTER}"
        or (character not in SPACES and unicodedata.category(character) in ALWAYS_BROKEN)
    }
    return "".join(found)


def is_dense(text: str) -> bool:
    """Return True for text in which a character is a syllable or more: Chinese, Japanese, Korean.

    Half of the letters, or more, are of the blocks from U+2E80 to U+D7FF or of the planes 2 and 3.
    """
    letters = [ord(character) for character in text if character.isalpha()]
    wide = sum(0x2E80 <= code <= 0xD7FF or 0x20000 <= code <= 0x3FFFF for code in letters)
    return 2 * wide > len(letters)
