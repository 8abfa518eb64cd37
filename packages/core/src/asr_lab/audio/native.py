"""Read audio as it was stored: its own rate, block by block, nothing resampled or rounded."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from asr_lab.audio.files import AudioLocation, decoded, mono, opened, part
from asr_lab.audio.streaming import decoded_blocks


@dataclass(frozen=True, kw_only=True)
class NativeAudio:
    """An open file, or a part of it."""

    sample_rate: int
    """In Hz, as the header says."""
    channels: int
    lossless: bool
    """True where samples come out as they went in, so that equal audio has equal samples."""
    blocks: Iterator[Float32[np.ndarray, " samples"]]
    """The samples, channels averaged, some seconds at a time; reading them raises AudioError."""


@contextmanager
def native_audio(source: AudioLocation) -> Iterator[NativeAudio]:
    """Open the audio of an utterance.

    A whole file is decoded block by block, so that memory does not grow with its length; a part of
    one is decoded at once. Raises AudioError, naming the file, also while the block reads.
    """
    with opened(source.path, source.offset, source.size) as file:
        start, frames = part(file, source)
        if source.start or source.duration is not None:
            found = iter([decoded(file, start, frames, "float32")])
        else:
            found = decoded_blocks(file, "float32")
        yield NativeAudio(
            sample_rate=file.samplerate,
            channels=file.channels,
            lossless=file.subtype.startswith(("PCM", "FLOAT", "DOUBLE", "ULAW", "ALAW")),
            blocks=(mono(file, block) for block in found),
        )
