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
COLUMNS = ("id", "offset", "size", "samples", "speaker", "text")
DIGESTS = {
    SHARD: "",
    INDEX: "",
}
"""SHA-256 of the files that are shipped, by name."""


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Yield the utterances of a split in the order of the shard; an empty `config` means `en`.

    `location` is a folder that holds another copy of shard and index; None takes the one that is
    installed. Raises UserError where a file is missing or the shard is shorter than its index
    says, UnknownNameError for a configuration or a split that does not exist.
    """
    if config not in ("", *CONFIGS):
        raise unknown("configuration of data set spoken:", config, CONFIGS)
    if split not in SPLITS:
        raise unknown("split of data set spoken:", split, SPLITS)
    folder = location or SHARDS
    shard, lines = folder / SHARD, _index(folder / INDEX)
    _check_size(shard, lines[-1])
    return (_utterance(shard, fields) for fields in lines if fields[0].startswith(f"{split}-"))


def _index(path: Path) -> list[list[str]]:
    """Return the fields of every line of the index but the heading."""
    try:
        heading, *lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"data set spoken: cannot read its index {path}: {error}") from error
    fields = [line.split("\t") for line in lines]
    if tuple(heading.split("\t")) != COLUMNS or not fields or len(fields[-1]) != len(COLUMNS):
        raise UserError(f"data set spoken: {path} is not its index; install the core again")
    return fields


def _check_size(shard: Path, last: list[str]) -> None:
    """Raise UserError unless the shard ends where its last utterance ends."""
    expected = int(last[1]) + int(last[2])
    found = shard.stat().st_size if shard.is_file() else None
    if found != expected:
        size = "is missing" if found is None else f"has {found} bytes instead of {expected}"
        raise UserError(f"data set spoken: {shard} {size}; install the core again")


def _utterance(shard: Path, fields: list[str]) -> Utterance:
    """Return the utterance of one line of the index."""
    name, offset, size, samples, speaker, text = fields
    return Utterance(
        id=f"spoken-en-{name}",
        audio=AudioSource(path=str(shard), offset=int(offset), size=int(size)),
        text=text,
        duration=int(samples) / SAMPLE_RATE,
        language="en",
        speaker=speaker,
    )
