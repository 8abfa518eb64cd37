"""Read audio of any length window by window, so that memory does not grow with the file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16

from asr_lab.audio.errors import AudioError
from asr_lab.audio.files import header_frames, is_exact, mono, opened, refuse_cut, to_int16
from asr_lab.audio.lengths import resampled_length

__all__ = ["audio_samples", "read_blocks", "read_windows"]

BLOCK_SECONDS = 10
"""Audio that is decoded at a time."""
PACKET_SECONDS = 0.12
"""The longest packet of Opus (RFC 6716); libsndfile decodes a part of the last one wrongly."""


def audio_samples(path: str | Path, sample_rate: int) -> int:
    """Return how many samples a file has at `sample_rate` (in Hz), by its header.

    Raises AudioError as `audio_duration` does.
    """
    with opened(str(path), 0, 0) as file:
        return max(resampled_length(header_frames(file), file.samplerate, sample_rate), 1)


def read_blocks(path: str | Path, sample_rate: int) -> Iterator[Int16[np.ndarray, " samples"]]:
    """Yield the samples of `read_audio`, but for rounding, some seconds at a time.

    Raises AudioError, naming the file, at the block that cannot be read or used.
    """
    with opened(str(path), 0, 0) as file:
        exact = is_exact(file, sample_rate)
        blocks = decoded_blocks(file, "int16" if exact else "float32")
        if exact:
            yield from (block[:, 0] for block in blocks)
        else:
            signal = (mono(file, block) for block in blocks)
            yield from map(to_int16, _resampled(signal, file.samplerate, sample_rate))


def read_windows(
    path: str | Path, sample_rate: int, windows: Sequence[tuple[int, int]]
) -> Iterator[Int16[np.ndarray, " samples"]]:
    """Yield stretches of a file, each a first sample and a number of samples, in rising order.

    They may overlap, and the last may reach beyond the end, where it is cut short. What is kept
    in memory is one of them and one block. Raises AudioError as `read_blocks`, and for a stretch
    that starts behind the end.
    """
    blocks, buffer, at = read_blocks(path, sample_rate), np.zeros(0, np.int16), 0
    for start, length in windows:
        parts, held = [buffer[start - at :]], at + len(buffer)
        while held < start + length and (block := next(blocks, None)) is not None:
            parts.append(block[max(start - held, 0) :])
            held += len(block)
        buffer, at = np.concatenate(parts), start
        if not len(buffer):
            raise AudioError(f"audio file {path}: ends before {start / sample_rate:.3f} s")
        yield buffer[:length]
    for _ in blocks:  # what is wrong with the rest of the file is told as well
        pass


def decoded_blocks(file: soundfile.SoundFile, dtype: str) -> Iterator[np.ndarray]:
    """Yield all frames by the header as `[frames, channels]`; refuse fewer."""
    total, found = header_frames(file), 0
    most = BLOCK_SECONDS * file.samplerate
    while found < total:
        left = total - found
        wanted = left if left < most + PACKET_SECONDS * file.samplerate else most
        block: np.ndarray = file.read(wanted, dtype=dtype, always_2d=True)
        found += len(block)
        if len(block) < wanted:
            refuse_cut(file, found, total)
            total = found
        if len(block):
            yield block


def _resampled(
    blocks: Iterator[Float32[np.ndarray, " samples"]], source_rate: int, target_rate: int
) -> Iterator[Float32[np.ndarray, " resampled"]]:
    """Resample block by block to what the whole would be."""
    if source_rate == target_rate:
        yield from blocks
        return
    stream = soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32", quality="HQ")
    read = written = 0
    for block in blocks:
        read += len(block)
        found = stream.resample_chunk(block)
        written += len(found)
        yield found
    wanted = max(resampled_length(read, source_rate, target_rate), 1)
    rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)[: max(wanted - written, 0)]
    yield np.pad(rest, (0, max(wanted - written - len(rest), 0)))
