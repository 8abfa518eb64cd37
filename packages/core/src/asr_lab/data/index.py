"""The index: what the plan needs to know of every utterance, as arrays."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

from asr_lab.data.checks import audio_problem
from asr_lab.data.packed import PackedUtterances
from asr_lab.data.utterance import Utterance
from asr_lab.reproducibility.hash import dataset_digest
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """Utterances with their durations and token counts; a position in it names an utterance."""

    utterances: Sequence[Utterance]
    durations: Int64[np.ndarray, " utterances"]
    """Milliseconds of audio."""
    token_counts: Int64[np.ndarray, " utterances"]
    """Tokens of the transcript; 0 where it has none or is a problem."""
    digest: str
    """SHA-256, in hexadecimal, of what is said and where, the same on every machine."""
    problems: dict[int, str] = field(default_factory=dict)
    """Why an utterance cannot be used, by position; the caller's policy acts on it."""

    def __len__(self) -> int:
        """Return the number of utterances, usable or not."""
        return len(self.utterances)

    @classmethod
    def build(
        cls, utterances: Sequence[Utterance], encode: Callable[[str], Sequence[int]]
    ) -> "Index":
        """Index `utterances`; `encode` turns a transcript into tokens, or raises UserError.

        Utterances without a length, and those whose text cannot be encoded, become problems.
        """
        packed = PackedUtterances()
        durations = np.zeros(len(utterances), np.int64)
        token_counts = np.zeros(len(utterances), np.int64)
        problems: dict[int, str] = {}
        for position, utterance in enumerate(utterances):
            packed.append(utterance)
            durations[position] = milliseconds(utterance)
            try:
                token_counts[position] = len(encode(utterance.text))
            except UserError as error:
                problems[position] = str(error)
            if problem := audio_problem(utterance):
                problems[position] = problem
        return cls(
            utterances=packed,
            durations=durations,
            token_counts=token_counts,
            digest=dataset_digest(map(facts, utterances)),
            problems=problems,
        )


WITNESS = 8
"""Bytes by which an utterance is known again."""


def witness(utterance: Utterance) -> bytes:
    """Return a few bytes that are others when anything that the digest covers has changed."""
    return _short(json.dumps(facts(utterance)).encode())


def _short(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=WITNESS).digest()


def known_of(utterances: Iterable[Utterance]) -> tuple[str, bytes]:
    """Return the digest of all, as `dataset_digest` has it, and the witness of each."""
    digest, found = hashlib.sha256(), bytearray()
    for utterance in utterances:
        text = json.dumps(facts(utterance)).encode()
        digest.update(text + b"\n")
        found += _short(text)
    return digest.hexdigest(), bytes(found)


def milliseconds(utterance: Utterance) -> int:
    """Return the length of an utterance as plans count it."""
    return round(utterance.duration * 1000)


def facts(utterance: Utterance) -> tuple[object, ...]:
    """Return what the digest covers; of the path the file name, so that folders may move."""
    audio = utterance.audio
    source = (os.path.basename(audio.path), audio.start, audio.duration, audio.offset, audio.size)
    length = milliseconds(utterance)
    return (utterance.id, length, utterance.text, utterance.language, source)
