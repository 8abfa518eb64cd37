"""The data set `spoken` that comes with the core: synthetic English sentences by many voices.

One shard holds an Ogg Opus file per utterance, one after the other; a tab-separated index says
where each begins. How it was made, and what it is not good for: `docs/data-spoken.md`.
"""

from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError, unknown

SAMPLE_RATE = 16000
"""Samples per second of the audio, and the unit in which the index counts."""
CONFIGS = ("en",)
SPLITS = ("train", "dev", "test")
SHARDS = Path(__file__).parent / "shards"
SHARD = "spoken-en.shard"
INDEX = "spoken-en.tsv"
PREFIX = "spoken-en-"
"""What the identifiers of the index are prefixed with, so that they are unique among data sets."""
REMEDY = "install asr-lab-core again, or name a folder that holds the data set"
COLUMNS = ("id", "offset", "size", "samples", "speaker", "text")
DIGESTS = {
    SHARD: "f1018f6a00f4ee09a0de8e8037025a6864f026bf1ee2301927a3b07d01d9ae27",
    INDEX: "c4c54770bc992ec57be253413614097a413d79b4026f45723bb169a9de1792a5",
}
"""SHA-256 of the files that are shipped, by name."""


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Return the utterances of a split in the order of the shard; an empty `config` means `en`.

    `location` is a folder that holds another copy of shard and index; None takes the one that is
    installed. Raises UserError where a file is missing or damaged or the shard is not as long as
    its index says, UnknownNameError for a configuration or a split that does not exist.
    """
    if config not in ("", *CONFIGS):
        raise unknown("configuration of data set spoken:", config, CONFIGS)
    if split not in SPLITS:
        raise unknown("split of data set spoken:", split, SPLITS)
    folder = location or SHARDS
    shard, index = folder / SHARD, folder / INDEX
    utterances = _utterances(index, shard)
    _check_size(shard, utterances[-1].audio)
    prefix = f"{PREFIX}{split}-"
    return (utterance for utterance in utterances if utterance.id.startswith(prefix))


def _utterances(index: Path, shard: Path) -> list[Utterance]:
    """Return all utterances of all splits."""
    try:
        heading, *lines = index.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is empty or no text"
        raise UserError(f"data set spoken: cannot read {index} ({reason}); {REMEDY}") from error
    try:
        utterances = [_utterance(shard, line.split("\t")) for line in lines]
    except ValueError:
        utterances = []
    if not utterances or tuple(heading.split("\t")) != COLUMNS:
        raise UserError(f"data set spoken: {index} is damaged; {REMEDY}")
    return utterances


def _utterance(shard: Path, fields: list[str]) -> Utterance:
    """Return the utterance of one line of the index; raises ValueError if the line is damaged."""
    name, offset, size, samples, speaker, text = fields
    return Utterance(
        id=PREFIX + name,
        audio=AudioSource(path=str(shard), offset=int(offset), size=int(size)),
        text=text,
        duration=int(samples) / SAMPLE_RATE,
        language="en",
        speaker=speaker,
    )


def _check_size(shard: Path, last: AudioSource) -> None:
    """Raise UserError unless the shard ends where its last utterance ends."""
    expected = last.offset + last.size
    found = shard.stat().st_size if shard.is_file() else None
    if found is None:
        raise UserError(f"data set spoken: {shard} is missing; {REMEDY}")
    if found != expected:
        raise UserError(f"data set spoken: {shard} has {found} bytes, not {expected}; {REMEDY}")
