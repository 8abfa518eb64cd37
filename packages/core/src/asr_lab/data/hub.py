"""Data sets of the Hugging Face hub, read from parquet files on disk; nothing is downloaded."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr_lab.data.corpora import LANGUAGE_CODES, Corpus, of_repository
from asr_lab.data.hub_files import layout
from asr_lab.data.parquet import SHARD, Unpacked, unpacked
from asr_lab.data.reading import given_folder
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError, unknown

TAG = re.compile(r"[a-z]{2,3}([_-]\w+)?")


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a split of the parquet files in a folder: the hub's cache or any other.

    Audio is the column of bytes and path; what the columns of known corpora are called is in
    `asr_lab.data.corpora`. It is unpacked once, below $ASR_LAB_CACHE. The id is the first column
    whose values all differ, else the number of the row.
    """
    folder = given_folder(location, "hf")
    there = layout(folder)
    if config not in there or split not in there[config]:
        found = [f"{each}/{name}" for each, splits in there.items() for name in splits]
        raise unknown(f"configuration and split in {folder}:", f"{config}/{split}", found)
    files = there[config][split]
    corpus = of_repository(_repository(folder))
    target = _cache() / _label(folder) / f"{config}-{split}-{_digest(files)}"
    rows = list(unpacked(files, corpus.columns if corpus else None, target))
    if not rows:
        raise UserError(f"{files[0]} holds no row; download {config}/{split} again")
    language = _language(corpus, config)
    shard = str(target / SHARD)
    skipped = corpus.skipped if corpus else ()
    return [
        Utterance(
            id=name,
            audio=AudioSource(path=shard, offset=row.offset, size=row.size)
            if row.size
            else AudioSource(path=row.path or f"{files[0]}: row {number} has no audio"),
            text=_plain(row.text, corpus),
            duration=row.duration,
            language=row.language or language,
            speaker=row.speaker,
        )
        for number, (row, name) in enumerate(zip(rows, _ids(rows, split), strict=True))
        if row.text not in skipped
    ]


def _plain(text: str, corpus: Corpus | None) -> str:
    """Return the text with its tags of punctuation written as what they stand for."""
    for mark, meaning in corpus.marks if corpus else ():
        text = text.replace(mark, meaning)
    return text


def _ids(rows: Sequence[Unpacked], split: str) -> Iterator[str]:
    """Return ids that all differ."""
    for column in range(min(len(row.names) for row in rows)):
        names = [row.names[column] for row in rows]
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


def _language(corpus: Corpus | None, config: str) -> str:
    if corpus and len(corpus.languages) == 1:
        return corpus.languages[0]
    if config in LANGUAGE_CODES:
        return LANGUAGE_CODES[config]
    return config if TAG.fullmatch(config) else ""


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("ASR_LAB_CACHE") or f"{base}/asr-lab").expanduser() / "parquet"


def _digest(files: Sequence[Path]) -> str:
    """Return a digest that changes with the files, from what the folder says of them."""
    digest = hashlib.sha256()
    for path in files:
        about = path.stat()
        digest.update(f"{path.resolve()} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
