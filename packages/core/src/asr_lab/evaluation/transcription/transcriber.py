"""Transcribe recordings of any length: cut into windows, recognised in batches, joined again."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int16

from asr_lab.audio.errors import AudioError
from asr_lab.audio.streaming import audio_samples, read_windows
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import too_short
from asr_lab.decoding.timestamps import seconds_per_step
from asr_lab.evaluation.recogniser import Loaded, Recogniser, load_checkpoint
from asr_lab.evaluation.transcription.merging import Heard, Token, merge
from asr_lab.evaluation.transcription.transcripts import Segment, Transcript, join_words
from asr_lab.evaluation.transcription.windows import Window, cut, overlap_seconds
from asr_lab.evaluation.transcription.wording import Spelled, spell, timed
from asr_lab.models.base.interfaces import AttentionDecoder
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import Hypothesis

T = TypeVar("T")
THREADS = 16
"""Headers read at a time: the work is waiting for the disk."""
POOL_BATCHES = 16
"""Batches of audio among which files are sorted by length; more save padding, fewer time to the
first transcript."""
MOST_WINDOWS = 256
"""Most windows in a batch."""
NO_WINDOW: Int16[np.ndarray, " samples"] = np.zeros(0, np.int16)


@dataclass
class Recording:
    """A file on its way from its header to its transcript."""

    path: str
    samples: int = 0
    windows: list[Window] = field(default_factory=list)
    problem: str = ""
    heard: dict[int, Hypothesis] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """True if nothing is left to hear."""
        return bool(self.problem) or len(self.heard) == len(self.windows)


@dataclass(frozen=True)
class _Piece:
    """The audio of one window; empty if the file turned out bad."""

    recording: Recording
    number: int
    samples: Int16[np.ndarray, " samples"] = field(default_factory=lambda: NO_WINDOW)
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Transcriber:
    """A model that writes down what is said in audio files."""

    recogniser: Recogniser
    language: str = ""
    """Language tag that a model of several languages is told; empty for none."""
    chunk_seconds: float = 30.0
    """Longest audio that is recognised at once; longer files are cut into overlapping windows."""
    batch_seconds: float = 120.0
    """Seconds of audio in a batch, padding counted; the text does not depend on it."""

    @classmethod
    def load(
        cls,
        checkpoint: str | Path | Loaded,
        decoding: DecodingOptions | None = None,
        precision: str = "fp32",
        device: str = "",
        *,
        chunk_seconds: float = 30.0,
        batch_seconds: float = 120.0,
        context_seconds: float = 0.0,
    ) -> "Transcriber":
        """Load `best.pt`, given itself or the folder of its run; an empty `device` is the best.

        `context_seconds` limits full attention to either side; 0 does not. Raises UserError for a
        checkpoint, decoder, precision, device or limit that cannot be used.
        """
        loaded = checkpoint if isinstance(checkpoint, Loaded) else load_checkpoint(Path(checkpoint))
        if context_seconds:
            loaded = replace(loaded, model=loaded.model.with_context(context_seconds))
        return cls(
            recogniser=Recogniser.of(loaded, decoding, precision, device),
            language=loaded.portable.language,
            chunk_seconds=chunk_seconds,
            batch_seconds=batch_seconds,
        )

    @property
    def knows_times(self) -> bool:
        """True if the decoder tells when each token starts, and so transcripts have words."""
        _, decoder = self.recogniser.model.decoder(self.recogniser.decoding)
        return not isinstance(decoder, AttentionDecoder)

    def transcribe(
        self,
        paths: Iterable[str | Path],
        progress: Callable[[float, float], None] = lambda done, total: None,
    ) -> Iterator[Transcript]:
        """Yield a transcript of each file, in order; one that cannot be used has a `problem`.

        What is yielded does not depend on the other files, nor on how windows are batched, but for
        rounding. `progress` is called with the seconds that are done and those there are.
        """
        with ThreadPoolExecutor(THREADS) as pool:
            recordings = list(pool.map(self._recording, map(str, paths)))
        total = math.fsum(self._work(one) for one in recordings)
        done = 0.0
        progress(done, total)
        for group in self._pools(recordings):
            waiting = list(group)
            for batch in _ahead(self._batches(sorted(group, key=self._longest))):
                self._hear(batch)
                done += math.fsum(self._share(piece) for piece in batch)
                progress(done, total)
                while waiting and waiting[0].done:
                    yield self._transcript(waiting.pop(0))
            yield from map(self._transcript, waiting)

    def _recording(self, path: str) -> Recording:
        """Look at the header, and plan the windows."""
        recogniser, rate = self.recogniser, self.recogniser.recipe.sample_rate
        config = recogniser.model.config
        try:
            samples = audio_samples(path, rate)
        except AudioError as error:
            return Recording(path, problem=str(error))
        if problem := too_short(samples, recogniser.shortest, rate):
            return Recording(path, problem=f"audio file {path}: {problem}")
        overlap = round(overlap_seconds(self.chunk_seconds) * rate)
        longest = round(self.chunk_seconds * rate)
        windows = cut(samples, longest, overlap, round(seconds_per_step(config) * rate))
        return Recording(path, samples, windows)

    def _pools(self, recordings: Sequence[Recording]) -> Iterator[list[Recording]]:
        """Yield neighbours, with audio for some batches together."""
        pool: list[Recording] = []
        for recording in recordings:
            pool.append(recording)
            if sum(map(self._work, pool)) >= POOL_BATCHES * self.batch_seconds:
                yield pool
                pool = []
        yield pool

    def _work(self, recording: Recording) -> float:
        """Return the seconds of audio to recognise, overlaps counted."""
        return sum(w.length for w in recording.windows) / self.recogniser.recipe.sample_rate

    def _share(self, piece: _Piece) -> float:
        """Return the seconds that are done with a piece; all that is left if the file is bad."""
        windows = piece.recording.windows
        chosen = windows[piece.number :] if piece.problem else windows[piece.number :][:1]
        return sum(w.length for w in chosen) / self.recogniser.recipe.sample_rate

    @staticmethod
    def _longest(recording: Recording) -> int:
        """Return a key that sorts by length of window, longest first."""
        return -max((window.length for window in recording.windows), default=0)

    def _batches(self, recordings: Sequence[Recording]) -> Iterator[list[_Piece]]:
        """Yield windows that fit into a batch together; the first is the longest."""
        budget = self.batch_seconds * self.recogniser.recipe.sample_rate
        batch: list[_Piece] = []
        for piece in (piece for recording in recordings for piece in self._pieces(recording)):
            longest = max(len(one.samples) for one in [*batch, piece])
            if batch and ((len(batch) + 1) * longest > budget or len(batch) == MOST_WINDOWS):
                yield batch
                batch = []
            batch.append(piece)
        if batch:
            yield batch

    def _pieces(self, recording: Recording) -> Iterator[_Piece]:
        """Read the windows of a file; the last piece of a bad one says what is wrong."""
        windows = [(window.start, window.length) for window in recording.windows]
        number = 0
        try:
            if windows:
                rate = self.recogniser.recipe.sample_rate
                for samples in read_windows(recording.path, rate, windows):
                    yield _Piece(recording, number, samples)
                    number += 1
        except AudioError as error:
            yield _Piece(recording, number, problem=str(error))

    def _hear(self, batch: Sequence[_Piece]) -> None:
        """Recognise the windows of a batch, and note problems."""
        for piece in batch:
            piece.recording.problem = piece.recording.problem or piece.problem
        pieces = [piece for piece in batch if not piece.recording.problem]
        if not pieces:
            return
        audio = AudioBatch.untranscribed([piece.samples for piece in pieces], self.language)
        with self.recogniser.working():
            found = self.recogniser.hypotheses(audio)
        for piece, hypothesis in zip(pieces, found, strict=True):
            piece.recording.heard[piece.number] = hypothesis

    def _transcript(self, recording: Recording) -> Transcript:
        """Join what was heard in the windows of a file, and forget it."""
        if recording.problem:
            return Transcript(path=recording.path, problem=recording.problem)
        rate = self.recogniser.recipe.sample_rate
        heard = [self._heard(recording, number) for number in range(len(recording.windows))]
        recording.heard.clear()
        tokens = merge(heard)
        words = list(spell(tokens, self.recogniser.tokenizer))
        step = seconds_per_step(self.recogniser.model.config)
        duration = recording.samples / rate
        has_times = all(token.time is not None for token in tokens)
        return Transcript(
            path=recording.path,
            duration=round(duration, 3),
            text=join_words([word.text for word in words]),
            words=timed(words, tokens, step, duration) if has_times else (),
            segments=tuple(_segments(heard, words, tokens)),
        )

    def _heard(self, recording: Recording, number: int) -> Heard:
        """Return what was heard in a window, with times in the recording."""
        rate = self.recogniser.recipe.sample_rate
        step = seconds_per_step(self.recogniser.model.config)
        window, hypothesis = recording.windows[number], recording.heard[number]
        start = window.start / rate
        times = [start + time * step for time in hypothesis.times]
        return Heard(hypothesis.tokens, times, start, window.end / rate)


def _segments(
    heard: Sequence[Heard], words: Sequence[Spelled], tokens: Sequence[Token]
) -> Iterator[Segment]:
    """Yield what came from each window, between the middles of its overlaps."""
    by_window: dict[int, list[str]] = {}
    for word in words:
        by_window.setdefault(tokens[word.first].window, []).append(word.text)
    for number, texts in by_window.items():
        start, end = heard[number].start, heard[number].end
        if number:
            start = (start + heard[number - 1].end) / 2
        if number + 1 < len(heard):
            end = (end + heard[number + 1].start) / 2
        yield Segment(text=join_words(texts), start=round(start, 3), end=round(end, 3))


def _ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield items, of which the next one is made by another thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item
