"""Loader: decodes what the plan says, in worker processes, in the plan's order."""

import os
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_all_start_methods

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from asr_lab.audio.errors import AudioError
from asr_lab.audio.files import audio_duration, read_audio
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.cache import SLACK, AudioCache
from asr_lab.data.checks import bad_utterance, too_short
from asr_lab.data.index import Index
from asr_lab.data.plan import MicroBatch
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.reproducibility.hash import short_digest
from asr_lab.reproducibility.seeding import generator, utterance_keys
from asr_lab.utils.errors import UserError

LONGER_SECONDS = 1.0
"""How far audio may exceed the duration that batches are planned by, and 2 % more."""
LARGE_BYTES = 64_000
"""Bytes per second from which the header is read before hours of audio are decoded for nothing."""


@dataclass(frozen=True)
class Request:
    """A micro-batch to load, and the epoch it is for."""

    epoch: int
    batch: MicroBatch


class AudioDataset(Dataset[AudioBatch]):
    """Decodes micro-batches; what it returns depends on the request alone."""

    def __init__(
        self,
        index: Index,
        encode: Callable[[str], Sequence[int]],
        *,
        sample_rate: int,
        seed: int = 0,
        cache_hours: float = 0.0,
        shortest: int = 1,
    ) -> None:
        """Prepare to read the utterances of `index`, of `shortest` samples or more."""
        self.index = index
        self.encode = encode
        self.sample_rate = sample_rate
        self.seed = seed
        self.shortest = shortest
        fits = self.hours <= cache_hours
        self.cache = AudioCache(index.durations, sample_rate) if fits else None
        self._digests: dict[int, str] = {}

    @property
    def hours(self) -> float:
        """Length of all audio, by the index."""
        return float(self.index.durations.sum()) / 3.6e6

    def stays_in_memory(self, device: torch.device) -> bool:
        """Return True where audio is decoded once, ahead of its use, without loader processes.

        On the CPU they would take the cores that the model computes on. A GPU waits for audio, so
        there they fill the cache while it works.
        """
        return self.cache is not None and device.type == "cpu"

    def decode(self) -> dict[str, str]:
        """Decode what is not in the cache yet, on all cores; there must be a cache.

        Returns why utterances cannot be used, by id.
        """
        assert self.cache is not None
        left = [one for one in range(len(self.index)) if self.cache.get(one) is None]
        # Decoding and resampling release the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            problems = pool.map(lambda position: self._load(position)[1], left)
            found = zip(left, problems, strict=True)
            return {self.index.utterances[one].id: text for one, text in found if text}

    def __getstate__(self) -> dict[str, object]:
        """Leave the cache out where a worker is not forked: its memory cannot be sent."""
        return {**self.__dict__, "cache": None, "_digests": {}}

    def __getitem__(self, request: Request) -> AudioBatch:
        """Load one micro-batch; an utterance that cannot be read is marked, not raised."""
        positions = [int(position) for position in request.batch.indices]
        loaded = [self._load(position) for position in positions]
        utterances = [self.index.utterances[position] for position in positions]
        tokens = [self.encode(utterance.text) for utterance in utterances]
        problems = tuple(problem for _, problem in loaded)
        ids = tuple(utterance.id for utterance in utterances)
        counted = request.batch.counted
        return AudioBatch(
            utterance_ids=ids,
            samples=_pad([samples for samples, _ in loaded], np.int16),
            lengths=torch.tensor([len(samples) for samples, _ in loaded]),
            tokens=_pad(tokens, np.int64),
            token_lengths=torch.tensor([len(row) for row in tokens]),
            keys=utterance_keys(self.seed, request.epoch, ids),
            speeds=torch.from_numpy(request.batch.speeds.copy()),
            valid=torch.tensor([counted and not problem for problem in problems]),
            problems=problems,
            language=tuple(utterance.language for utterance in utterances),
            texts=tuple(utterance.text for utterance in utterances),
            audio_digests=tuple(
                self._digest(position, samples)
                for position, (samples, _) in zip(positions, loaded, strict=True)
            ),
        )

    def _digest(self, position: int, samples: NDArray[np.int16]) -> str:
        """Return the digest of samples; those in the cache never change."""
        if self.cache is None or self.cache.get(position) is None:
            return short_digest(samples.data)
        if position not in self._digests:
            self._digests[position] = short_digest(samples.data)
        return self._digests[position]

    def _load(self, position: int) -> tuple[NDArray[np.int16], str]:
        if self.cache is not None and (known := self.cache.get(position)) is not None:
            return known, ""
        source = self.index.utterances[position].audio
        try:
            if _is_large(source, self._stated(position)):
                self._check_length(position, audio_duration(source.path))
            samples = read_audio(source, self.sample_rate)
            self._check_length(position, len(samples) / self.sample_rate)
            if problem := too_short(len(samples), self.shortest, self.sample_rate):
                raise AudioError(f"audio file {source.path}: {problem}")
        except AudioError as error:
            return self._silence(position), str(error)
        if self.cache is not None:
            self.cache.put(position, samples)
        return samples, ""

    def _stated(self, position: int) -> float:
        """Return the length of an utterance by the index, in seconds."""
        return int(self.index.durations[position]) / 1000

    def _check_length(self, position: int, seconds: float) -> None:
        """Raise AudioError for audio that needs far more room than it was planned with."""
        stated = self._stated(position)
        if seconds > SLACK * stated + LONGER_SECONDS:
            raise AudioError(
                f"its audio lasts {seconds:.1f} s, not {stated:.1f} s; correct the manifest"
            )

    def _silence(self, position: int) -> NDArray[np.int16]:
        milliseconds = int(self.index.durations[position])
        samples = milliseconds * self.sample_rate // 1000
        return np.zeros(max(self.shortest, samples), np.int16)


def _is_large(source: AudioSource, stated: float) -> bool:
    """Return True for a whole file that may hold hours instead of the seconds that are stated."""
    if source.size or source.duration is not None:
        return False
    try:
        return os.stat(source.path).st_size > LARGE_BYTES * (stated + 16)
    except OSError:  # reading it says why
        return False


def _pad(rows: Sequence[Sequence[int] | NDArray[np.int16]], dtype: type) -> torch.Tensor:
    padded: NDArray[np.generic] = np.zeros((len(rows), max(map(len, rows))), dtype)
    for row, values in zip(padded, rows, strict=True):
        row[: len(values)] = values
    return torch.from_numpy(padded)


def load(
    dataset: AudioDataset,
    requests: Iterable[Request],
    *,
    workers: int,
    prefetch: int,
    pin: bool = False,
) -> Iterator[AudioBatch]:
    """Yield the requested micro-batches in order.

    Neither `workers` (processes; 0 for this one) nor `prefetch` (micro-batches that each prepares
    ahead) changes what is yielded. Workers leave signals to the main process, which saves.
    """
    fork = "fork" in get_all_start_methods()
    with warnings.catch_warnings():
        # More processes than cores may be what was asked for.
        warnings.filterwarnings("ignore", "This DataLoader will create", UserWarning)
        # From Python 3.12 on; the workers run no code but decoding, on one thread each.
        warnings.filterwarnings("ignore", ".*is multi-threaded, use of fork", DeprecationWarning)
        loader = DataLoader(
            dataset,
            sampler=requests,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=prefetch if workers else None,
            worker_init_fn=_ignore_signals,
            # Its own generator: `iter` draws a seed, and must not draw it from the global one.
            generator=generator(dataset.seed, "loader"),
            multiprocessing_context="fork" if workers and fork else None,
            pin_memory=pin,
        )
        return iter(loader)


def evaluation_dataset(
    utterances: Sequence[Utterance],
    sample_rate: int,
    cache_hours: float = 0.0,
    shortest: int = 1,
) -> AudioDataset:
    """Return utterances to be recognised: their texts need not be made of the model's tokens."""
    return AudioDataset(
        Index.build(utterances, _no_tokens),
        _no_tokens,
        sample_rate=sample_rate,
        cache_hours=cache_hours,
        shortest=shortest,
    )


def _no_tokens(text: str) -> list[int]:
    return []


def refuse_bad(batches: Iterable[AudioBatch]) -> Iterator[AudioBatch]:
    """Pass batches on; raise UserError at the first utterance whose audio cannot be used."""
    for batch in batches:
        for name, problem in zip(batch.utterance_ids, batch.problems, strict=True):
            if problem:
                raise UserError(bad_utterance(name, problem))
        yield batch


def _ignore_signals(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
