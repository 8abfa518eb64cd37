"""What a run remembers of every utterance, so that the first that has changed can be named.

`utterances.bin` holds eight bytes for what is known of each before its audio is read, in the order
of training, dev and test set; `audio.bin` eight bytes for the id and eight for the samples of each
utterance, as they are first heard.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.index import WITNESS as SIZE
from asr_lab.data.index import witness
from asr_lab.data.selection import Selection
from asr_lab.data.utterance import Utterance
from asr_lab.training.setup import Setup
from asr_lab.utils.files import append, write_atomically

UTTERANCES, AUDIO = "utterances.bin", "audio.bin"
MOST = 2**20
"""Utterances whose audio a run remembers, and those of data sets that are read anew each time;
beyond, a change is noticed and not named."""


def _short(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=SIZE).digest()


def _sets(setup: Setup) -> dict[str, Sequence[Utterance]]:
    test = setup.test.utterances if setup.test else ()
    return {"index": setup.index.utterances, "dev": setup.dev.utterances, "test": test}


def _of(utterances: Sequence[Utterance]) -> bytes:
    if isinstance(utterances, Selection):
        return utterances.witnesses()
    return b"".join(map(witness, utterances))


def remember(folder: Path, setup: Setup) -> None:
    """Write what is known of every utterance of a run, unless that is there.

    A run that goes on may have been killed before it was. Raises CannotWriteError.
    """
    sets = _sets(setup)
    large = sum(map(len, sets.values())) > MOST and not setup.utterances.witnessed
    if large or (folder / UTTERANCES).exists():
        return
    counts = json.dumps({name: len(utterances) for name, utterances in sets.items()})
    content = b"".join(map(_of, sets.values()))
    write_atomically(folder / UTTERANCES, counts.encode() + b"\n" + content)


def first_change(folder: Path, setup: Setup, name: str) -> str:
    """Say which utterance of a set, `index`, `dev` or `test`, is the first that has changed.

    Empty where the run remembers nothing of it, or nothing has changed.
    """
    try:
        first, _, content = (folder / UTTERANCES).read_bytes().partition(b"\n")
        counts = json.loads(first)
        start = SIZE * sum(counts[one] for one in list(counts)[: list(counts).index(name)])
        known = np.frombuffer(content[start : start + SIZE * counts[name]], "<u8")
    except (OSError, ValueError, LookupError, TypeError):
        return ""
    utterances = _sets(setup)[name]
    here = np.frombuffer(_of(utterances), "<u8")
    both = min(len(known), len(here))
    place = int(next(iter(np.flatnonzero(known[:both] != here[:both])), both))
    if place < len(here):
        return f"the first is utterance {utterances[place].id!r}, {utterances[place].audio.path}"
    missing = len(known) - len(here)
    return f"{missing} at its end are gone" if missing > 0 else ""


def heard(batches: Iterable[AudioBatch]) -> bytes:
    """Return what `audio.bin` holds of some micro-batches."""
    return b"".join(
        _short(name.encode()) + bytes.fromhex(digest)[:SIZE]
        for batch in batches
        for name, digest, bad in _rows(batch)
        if not bad
    )


def _rows(batch: AudioBatch) -> Iterable[tuple[str, str, str]]:
    return zip(batch.utterance_ids, batch.audio_digests, batch.problems, strict=True)


def append_heard(folder: Path, records: bytes) -> None:
    """Add to `audio.bin`, and wait until it is on the disk. Raises CannotWriteError."""
    append(folder / AUDIO, records, durable=True, unit=2 * SIZE)


def read_heard(folder: Path) -> dict[int, int]:
    """Return what a run has heard, by id; what was heard first counts."""
    path = folder / AUDIO
    if not path.exists() or path.stat().st_size > 2 * SIZE * MOST:
        return {}
    content = path.read_bytes()
    whole = len(content) - len(content) % (2 * SIZE)
    pairs = np.frombuffer(content[:whole], "<u8").reshape(-1, 2)[::-1]
    return dict(zip(pairs[:, 0].tolist(), pairs[:, 1].tolist(), strict=True))


def changed_audio(known: Mapping[int, int], batches: Iterable[AudioBatch]) -> str:
    """Return the first utterance whose samples are not those that a run has heard; or nothing."""
    for batch in batches:
        for name, digest, bad in _rows(batch):
            before = known.get(int.from_bytes(_short(name.encode()), "little"))
            here = int.from_bytes(bytes.fromhex(digest)[:SIZE], "little")
            if before is not None and not bad and before != here:
                return name
    return ""


def told_change(name: str, setup: Setup) -> str:
    """Say in one line that the audio of an utterance has changed."""
    paths = (one.audio.path for one in setup.index.utterances if one.id == name)
    return (
        f"the audio of utterance {name!r} of this run has changed ({next(paths, 'moved')}); "
        "put back what it was or start a new run"
    )
