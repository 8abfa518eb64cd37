"""Rows of parquet files with audio in them, unpacked once into a shard that is read at random."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from asr_lab.data.corpora import Columns
from asr_lab.data.reading import AUDIO_ENDINGS, unpacking
from asr_lab.utils.errors import UserError

BUFFER = 2**20
"""Bytes of a column that are read at a time, so that a row group need not be in memory."""
ROWS = 32
"""Rows in memory at a time."""
SHARD, INDEX = "audio.shard", "index.jsonl"
TEXT = ("text", "transcript", "transcription", "sentence", "normalized_text", "raw_text")
SPEAKER = ("speaker_id", "speaker", "client_id")
LANGUAGE = ("locale", "lang")
ID = ("id", "utterance_id", "segment_id", "audio_id", "file_name", "path", "file")
UNSAID = ("", "N/A", "None", "nan", "unknown")
"""What corpora write where a speaker is not known."""

Row: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What is kept of a row."""

    names: tuple[str, ...]
    """What may be its id, the best first."""
    text: str
    speaker: str
    language: str
    path: str
    """Name of the audio file, as the row has it."""
    offset: int
    size: int
    """Number of bytes in the shard; 0 for audio that is not in the row."""
    duration: float
    """Seconds by the header, 0 for audio that cannot be opened."""


def unpacked(files: Sequence[Path], known: Columns | None, target: Path) -> Iterator[Unpacked]:
    """Yield the rows of `files` in order, with their audio in the file SHARD of folder `target`.

    Encoded audio in parquet cannot be read at random, so it is copied there, never more in memory
    than a row group, unless that was done before; then pyarrow is not needed. Raises UserError for
    a damaged file, missing columns, a full disk and a missing pyarrow.
    """
    if not target.is_dir():
        _unpack(files, known, target)
    with open(target / INDEX, encoding="utf-8") as index:
        for line in index:
            fields = json.loads(line)
            yield Unpacked(**{**fields, "names": tuple(fields["names"])})


def _unpack(files: Sequence[Path], known: Columns | None, target: Path) -> None:
    """Make the folder `target`, all of it or none; the first of several processes wins."""
    _refuse_without_pyarrow(files[0])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with unpacking(target) as folder:
            _write(files, known, folder)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"cannot unpack audio into {target.parent} ({reason}); set ASR_LAB_CACHE to a folder "
            "with room"
        ) from error


def _refuse_without_pyarrow(path: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"reading {path.name} needs pyarrow ({error}); pip install 'asr-lab-core[parquet]'"
        ) from error


def _write(files: Sequence[Path], known: Columns | None, folder: Path) -> None:
    with open(folder / SHARD, "wb") as shard, open(folder / INDEX, "w", encoding="utf-8") as index:
        for path in files:
            columns = _columns(path, known)
            for row in _rows(path, columns):
                fields = _fields(row, columns, shard, path)
                index.write(json.dumps(fields, ensure_ascii=False) + "\n")


def _rows(path: Path, columns: Columns) -> Iterator[Row]:
    """Yield rows, one row group after the other."""
    import pyarrow
    import pyarrow.parquet

    named = (columns.audio, columns.text, columns.speaker, columns.language, *columns.ids)
    wanted = list(dict.fromkeys(filter(None, named)))
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(ROWS, [group], wanted):
                    yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    reason = str(error).splitlines()[0][:120]
    return UserError(f"{path} cannot be read as parquet ({reason}); download it again")


def _columns(path: Path, known: Columns | None) -> Columns:
    """Return which columns to read: those that are known of the corpus, else by their names."""
    import pyarrow
    import pyarrow.parquet

    try:
        schema = pyarrow.parquet.read_schema(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    names = list(schema.names)
    if known and {known.audio, known.text} <= set(names):
        there = {each: getattr(known, each) for each in ("speaker", "language")}
        kept = {each: name if name in names else "" for each, name in there.items()}
        ids = tuple(name for name in known.ids or ID if name in names)
        return Columns(audio=known.audio, text=known.text, ids=ids, **kept)
    audio = next((field.name for field in schema if _holds_audio(field.type)), "")
    text = _first(TEXT, names)
    if not audio or not text:
        wanted = "text" if audio else "audio (bytes and path)"
        raise UserError(f"{path} has no column of {wanted}; it has {', '.join(names)}")
    ids = tuple(name for name in ID if name in names)
    speaker, language = _first(SPEAKER, names), _first(LANGUAGE, names)
    return Columns(audio=audio, text=text, speaker=speaker, language=language, ids=ids)


def _holds_audio(kind: object) -> bool:
    import pyarrow

    if not pyarrow.types.is_struct(kind):
        return False
    return {"bytes", "path"} <= {field.name for field in kind}  # type: ignore[attr-defined]


def _first(names: Sequence[str], there: Sequence[str]) -> str:
    return next((name for name in names if name in there), "")


def _fields(row: Row, columns: Columns, shard: BinaryIO, source: Path) -> dict[str, object]:
    """Write the audio of a row to the shard, and return the rest."""
    from asr_lab.audio.files import audio_duration

    audio = row[columns.audio]
    content, path = audio, ""
    if isinstance(audio, dict):
        content, path = audio.get("bytes"), _text(audio.get("path"))
    content = content if isinstance(content, bytes) else b""
    offset = shard.tell()
    shard.write(content)
    shard.flush()
    if path and not content:
        path = os.path.normpath(source.parent / path)
    try:
        at = (shard.name, offset, len(content)) if content else (path, 0, 0)
        duration = audio_duration(*at)
    except UserError:  # told later, by the index, so that one of many can be skipped
        duration = 0.0
    names = [_name(_text(row[name])) for name in columns.ids]
    speaker = _text(row[columns.speaker]) if columns.speaker else ""
    return {
        "names": [*names, _name(path)],
        "text": _text(row[columns.text]).strip(),
        "speaker": "" if speaker in UNSAID else speaker,
        "language": _text(row[columns.language]) if columns.language else "",
        "path": path,
        "offset": offset,
        "size": len(content),
        "duration": duration,
    }


def _name(value: str) -> str:
    """Return an id as it is; of an audio file the name, with folders if they are relative."""
    stem, ending = os.path.splitext(value)
    if ending.lower() not in AUDIO_ENDINGS:
        return value
    return os.path.basename(stem) if os.path.isabs(stem) else stem


def _text(value: object) -> str:
    return "" if value is None else str(value)
