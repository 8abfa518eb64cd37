"""Transcribe recordings as streams: in order, by a model that carries its state along."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int16

from asr_lab.audio.errors import AudioError
from asr_lab.audio.features import to_float
from asr_lab.audio.streaming import read_blocks
from asr_lab.decoding.streaming import StreamingRecogniser
from asr_lab.evaluation.transcription.transcriber import (
    NO_WINDOW,
    THREADS,
    Recording,
    Transcriber,
)
from asr_lab.evaluation.transcription.transcripts import Transcript
from asr_lab.evaluation.transcription.windows import Window
from asr_lab.utils.errors import UserError

MOST_STREAMS = 16
"""Files that are followed at a time."""


@dataclass(frozen=True, kw_only=True)
class StreamTranscriber(Transcriber):
    """Follows each recording from start to end, as it would follow a microphone.

    There are no chunks and no seams, and memory does not grow with the audio; its text does.
    """

    @property
    def look_ahead_ms(self) -> float:
        """Audio, in ms, that a step waits for; see `StreamingRecogniser.look_ahead_ms`.

        Raises UserError for a model that does not stream, and for a beam.
        """
        return self._streams(1).look_ahead_ms

    def transcribe(
        self,
        paths: Iterable[str | Path],
        progress: Callable[[float, float], None] = lambda done, total: None,
    ) -> Iterator[Transcript]:
        """Yield a transcript of each file, in order; one that cannot be used has a `problem`."""
        rate = self.recogniser.recipe.sample_rate
        with ThreadPoolExecutor(THREADS) as pool:
            recordings = list(pool.map(self._recording, map(str, paths)))
        total, done = math.fsum(one.samples for one in recordings) / rate, 0.0
        progress(done, total)
        for first in range(0, len(recordings), MOST_STREAMS):
            group = recordings[first : first + MOST_STREAMS]
            for samples in self._follow([one for one in group if not one.problem]):
                done += samples / rate
                progress(done, total)
            yield from map(self._transcript, group)

    def _streams(self, count: int) -> StreamingRecogniser:
        """Start so many streams."""
        recogniser = self.recogniser
        if recogniser.decoding.beam > 1:
            raise UserError(
                f"streams are searched greedily; found a beam of {recogniser.decoding.beam};"
                " leave it out, or transcribe without streams"
            )
        with recogniser.working():
            return StreamingRecogniser(
                recogniser.model, streams=count, decoding=recogniser.decoding
            )

    def _follow(self, recordings: Sequence[Recording]) -> Iterator[int]:
        """Hear recordings side by side; yield how many samples are done each time."""
        rate = self.recogniser.recipe.sample_rate
        for one in recordings:
            one.windows = [Window(0, one.samples)]
        streams, left = self._streams(len(recordings)), [one.samples for one in recordings]
        sources = [read_blocks(one.path, rate) for one in recordings]
        waiting = list(range(len(recordings)))
        while waiting:
            pieces, ended, before = [NO_WINDOW] * len(recordings), [], sum(left)
            for number in waiting:
                piece = _next(recordings[number], sources[number])
                if piece is None:
                    ended.append(number)
                else:
                    pieces[number] = piece
                left[number] -= left[number] if piece is None else min(len(piece), left[number])
            with self.recogniser.working(), self.recogniser.autocast():
                streams.push([to_float(torch.from_numpy(piece)) for piece in pieces])
                found = streams.finish(ended)
            for number in ended:
                recordings[number].heard[0] = found[number]
            waiting = [number for number in waiting if number not in ended]
            yield before - sum(left)


def _next(
    recording: Recording, blocks: Iterator[Int16[np.ndarray, " samples"]]
) -> Int16[np.ndarray, " samples"] | None:
    """Return the next block of a file; none behind its end, or where it turns out bad."""
    try:
        return next(blocks, None)
    except AudioError as error:
        recording.problem = str(error)
        return None
