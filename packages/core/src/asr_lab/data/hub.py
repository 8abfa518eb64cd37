"""Data sets of the Hugging Face hub, read from parquet files on disk; nothing is downloaded."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr_lab.data.corpora import of_repository
from asr_lab.data.hub_files import layout
from asr_lab.data.parquet import SHARD, Unpacked, unpacked
from asr_lab.data.reading import given_folder
from asr_lab.data.spoken_text import CLEANERS
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError, unknown
from asr_lab.utils.files import cache_folder


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split of the parquet files in a folder: the hub's cache or any other.

    Audio is the column of bytes and path; what the columns of known corpora are called is in
    `asr_lab.data.corpora`. It is unpacked once, below $ASR_LAB_CACHE. The id is the first column
    whose values all differ, else all of them together, the audio's name or the number of the row.
    """
    folder = given_folder(location, "hf")
    there = layout(folder)
    if config not in there or split not in there[config]:
        found = [f"{each}/{name}" for each, splits in there.items() for name in splits]
        raise unknown(f"configuration and split in {folder}:", f"{config}/{split}", found)
    files = there[config][split]
    source = of_repository(_repository(folder), config)
    target = cache_folder() / "parquet" / _label(folder) / f"{config}-{split}-{_digest(files)}"
    rows = list(unpacked(files, source.columns, target))
    if not rows:
        raise UserError(f"{files[0]} holds no row; download {config}/{split} again")
    shard = str(target / SHARD)
    clean = CLEANERS.get(source.corpus, _as_it_is)
    texts = [clean(row.text) for row in rows]
    return [
        Utterance(
            id=name,
            audio=AudioSource(path=shard, offset=row.offset, size=row.size)
            if row.size
            else AudioSource(path=row.path or f"{files[0]}: row {number} has no audio"),
            text=text,
            duration=row.duration,
            language=row.language or source.language,
            speaker=row.speaker,
        )
        for number, (row, name, text) in enumerate(zip(rows, _ids(rows, split), texts, strict=True))
        if text is not None
    ]


def _as_it_is(text: str) -> str:
    return text


def _ids(rows: Sequence[Unpacked], split: str) -> Iterator[str]:
    """Return ids that all differ: those of a column, of all together, of the audio, or numbers."""
    columns = min(len(row.names) for row in rows)
    *known, audio = ([row.names[each] for row in rows] for each in range(columns))
    together = ["-".join(row.names[: columns - 1]) for row in rows]
    for names in (*known, together, audio):
        if all(names) and len(set(names)) == len(names):
            return iter(names)
    return (f"{split}-{number:07d}" for number in range(len(rows)))


def _repository(folder: Path) -> str:
    """Return ORG/NAME of a snapshot in the hub's cache; empty for another folder."""
    for parent in (folder, *folder.parents):
        if parent.name.startswith("datasets--"):
            return parent.name.removeprefix("datasets--").replace("--", "/", 1)
    return ""


def _label(folder: Path) -> str:
    return _repository(folder).replace("/", "--") or folder.resolve().name


def _digest(files: Sequence[Path]) -> str:
    """Return a digest that changes with the files, from what the folder says of them."""
    digest = hashlib.sha256()
    for path in files:
        about = path.stat()
        digest.update(f"{path.resolve()} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
