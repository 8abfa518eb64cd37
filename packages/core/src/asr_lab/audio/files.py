"""Read audio of any common format as 16-bit mono samples at one rate; torch-free."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16

from asr_lab.audio.errors import AudioError
from asr_lab.audio.lengths import resampled_length
from asr_lab.audio.truncation import refuse_cut_chunk, refuse_cut_ogg

__all__ = ["AudioError", "AudioLocation", "audio_duration", "read_audio"]

UNKNOWN_FRAMES = 2**40
"""A header that claims more frames than this does not know them (streamed FLAC)."""
MP3_SLACK = 2 * 1152
"""Frames by which an MP3 may fall short of its header, which counts whole MPEG frames."""
SLACK_SECONDS = 0.1
"""How far a manifest's rounded times may reach beyond the end of the audio."""
LOUDEST = 16.0
"""Peak of floating-point samples above which they cannot be on the scale of -1 to 1."""


@runtime_checkable
class AudioLocation(Protocol):
    """Where audio is; `asr_lab.data.AudioSource` is one."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def start(self) -> float:
        """Where the wanted part starts, in seconds."""

    @property
    def duration(self) -> float | None:
        """How long the wanted part is, in seconds; None for the rest."""

    @property
    def offset(self) -> int:
        """First byte of an encoded file inside a shard."""

    @property
    def size(self) -> int:
        """Number of bytes of the encoded file inside a shard; 0 if the file is no shard."""


def read_audio(source: AudioLocation, sample_rate: int) -> Int16[np.ndarray, " samples"]:
    """Return the audio as 16-bit mono samples at `sample_rate` (in Hz).

    Channels are averaged, and other rates are resampled by soxr's HQ filter. 16-bit audio of one
    channel at the wanted rate comes out bit for bit.

    Raises AudioError, naming the file, where it is missing, empty, cut off, damaged, not audio,
    not finite, or shorter than the part that is asked for.
    """
    with opened(source.path, source.offset, source.size) as file:
        start, frames = part(file, source)
        if is_exact(file, sample_rate):
            return decoded(file, start, frames, "int16")[:, 0]
        samples = mono(file, decoded(file, start, frames, "float32"))
        return to_int16(_resampled(samples, file.samplerate, sample_rate))


def audio_duration(path: str | Path, offset: int = 0, size: int = 0) -> float:
    """Return the seconds of audio in a file, or in `size` bytes of a shard, from its header.

    Raises AudioError where the file is missing, not audio, empty, or shorter than its header says
    as far as that shows without decoding.
    """
    with opened(str(path), offset, size) as file:
        return float(header_frames(file) / file.samplerate)


@contextmanager
def opened(path: str, offset: int, size: int) -> Iterator[soundfile.SoundFile]:
    """Open a file or a part of a shard; turn what goes wrong with it into AudioError."""
    try:
        content = _shard_bytes(path, offset, size) if size else path
        # soundfile takes names that are not UTF-8 as bytes only.
        stream = io.BytesIO(content) if isinstance(content, bytes) else os.fsencode(content)
        with soundfile.SoundFile(stream) as file:
            refuse_cut_chunk(file.extra_info)
            if file.format == "OGG":
                refuse_cut_ogg(content)
            yield file
    except AudioError as error:
        raise AudioError(f"{_name(path, offset, size)}: {error}") from None
    except (soundfile.SoundFileError, OSError, TypeError) as error:
        raise AudioError(f"{_name(path, offset, size)}: {_reason(path, error)}") from None


def _name(path: str, offset: int, size: int) -> str:
    """Return how messages name the audio."""
    return f"audio at byte {offset} of {path}" if size else f"audio file {path}"


def _reason(path: str, error: Exception) -> str:
    """Say why audio could not be opened or decoded."""
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read ({error.strerror.lower()}); check the path"
    if not os.path.exists(path):  # for a name that cannot be one, too, where Path raises
        return "is not there; check the path"
    if Path(path).is_dir():
        return "is a folder; name the file"
    if Path(path).stat().st_size == 0:
        return "is empty; 0 bytes"
    said = str(error).rsplit(": ", 1)[-1].rstrip(".").lower()
    if "not recognised" in said or isinstance(error, TypeError):
        return "is not audio in a known format; use WAV, FLAC, OGG, Opus or MP3"
    return f"is cut off or damaged ({said}); replace or remove it"


def _shard_bytes(path: str, offset: int, size: int) -> bytes:
    """Return an encoded file from inside a shard."""
    with open(path, "rb") as shard:
        shard.seek(offset)
        content = shard.read(size)
    if len(content) < size:
        raise AudioError(
            f"the shard is cut off: {len(content)} of {size} bytes are there; get it again"
        )
    return content


def header_frames(file: soundfile.SoundFile) -> int:
    """Return the number of frames by the header; refuse none, and a header that does not say."""
    frames: int = file.frames
    if frames > UNKNOWN_FRAMES:
        raise AudioError("has a header that does not say how long it is; encode it again")
    if frames == 0:
        raise AudioError("holds no samples; leave it out")
    return frames


def part(file: soundfile.SoundFile, source: AudioLocation) -> tuple[int, int]:
    """Return the first frame that is wanted and how many."""
    rate, total = file.samplerate, header_frames(file)
    start = round(source.start * rate)
    wanted = total - start if source.duration is None else round(source.duration * rate)
    end = min(start + wanted, total)
    if start < 0 or start + wanted > total + SLACK_SECONDS * rate or end <= start:
        raise AudioError(
            f"has {total / rate:.3f} s, which does not hold {wanted / rate:.3f} s "
            f"from {source.start:.3f} s; correct the manifest"
        )
    return start, end - start


def decoded(file: soundfile.SoundFile, start: int, frames: int, dtype: str) -> np.ndarray:
    """Return `frames` frames from `start` as `[frames, channels]`; refuse fewer."""
    # After a seek Opus and MP3 decode differently or not at all until their state has built up.
    skipped = start if file.subtype == "OPUS" or file.format == "MP3" else 0
    file.seek(start - skipped)
    found: np.ndarray = file.read(skipped + frames, dtype=dtype, always_2d=True)
    if len(found) <= skipped:
        raise _cut_off(len(found), skipped + frames)
    refuse_cut(file, len(found), skipped + frames)
    return found[skipped:]


def refuse_cut(file: soundfile.SoundFile, found: int, expected: int) -> None:
    """Raise AudioError where fewer frames are there than the header says."""
    if expected - found > (MP3_SLACK if file.format == "MP3" else 0) or not found:
        raise _cut_off(found, expected)


def _cut_off(found: int, expected: int) -> AudioError:
    return AudioError(f"is cut off: {found} of {expected} samples are there; get it again")


def is_exact(file: soundfile.SoundFile, sample_rate: int) -> bool:
    """Return True for audio that needs no conversion: 16 bits, one channel, the wanted rate."""
    return bool(file.samplerate == sample_rate and file.channels == 1 and file.subtype == "PCM_16")


def mono(
    file: soundfile.SoundFile, decoded: Float32[np.ndarray, "samples channels"]
) -> Float32[np.ndarray, " samples"]:
    """Average the channels; refuse what is not a signal between -1 and 1."""
    samples: np.ndarray = decoded[:, 0] if file.channels == 1 else decoded.mean(1)
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        raise AudioError("has samples that are NaN or infinite; write it again")
    if peak > LOUDEST:
        raise AudioError(
            f"has samples up to {peak:.0f}; floating-point samples must lie between -1 and 1"
        )
    return samples


def _resampled(
    samples: Float32[np.ndarray, " samples"], source_rate: int, target_rate: int
) -> Float32[np.ndarray, " resampled"]:
    """Resample to exactly `resampled_length` samples, at least one."""
    if source_rate == target_rate:
        return samples
    wanted = max(resampled_length(len(samples), source_rate, target_rate), 1)
    found = soxr.resample(samples, source_rate, target_rate, quality="HQ")[:wanted]
    return np.pad(found, (0, wanted - len(found)))


def to_int16(samples: Float32[np.ndarray, " samples"]) -> Int16[np.ndarray, " samples"]:
    """Round to 16 bits; what lies outside their range becomes their largest value."""
    whole: np.ndarray = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    return whole
