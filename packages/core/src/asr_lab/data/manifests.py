"""Manifests: JSON Lines as NeMo writes them, and tables (CSV, TSV) with a header line."""

import csv
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from asr_lab.data.packed import PackedUtterances
from asr_lab.data.reading import (
    UNKNOWN,
    beside,
    given,
    json_objects,
    number,
    open_text,
    reading,
    with_durations,
)
from asr_lab.data.stored import LARGE, keep, kept, key_of
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

AUDIO = ("audio_filepath", "audio", "audio_path", "path", "wav", "file_name", "file")
TEXT = ("text", "transcript", "transcription", "sentence")
DURATION = ("duration",)
OFFSET = ("offset",)
LANGUAGE = ("lang", "language", "locale")
SPEAKER = ("speaker", "speaker_id", "client_id")
ID = ("id", "utterance_id", "utt_id")
"""Keys and columns that are understood, the usual one first."""
LINE = 100
"""Bytes of a line, or more; a manifest is large if it holds so many times `LARGE`."""


class TabSeparated(csv.excel_tab):
    """Fields between tabs, quotation marks left as they are."""

    quoting = csv.QUOTE_NONE


Row: TypeAlias = Mapping[str, object]


def read(location: Path | None, config: str, split: str) -> Sequence[Utterance]:
    """Read a manifest; a relative path of audio starts from the manifest's folder.

    Needs audio and text. A missing duration comes from the file's header. With an offset, in
    seconds, the utterance is that part of the recording. Without an id, the path is it. What is in
    a large one is kept, and mapped the next time, if it says every duration. Raises UserError with
    file and line for a line that is no utterance, and for an id given twice.
    """
    path = given(location, "manifest")
    ending = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    if path.is_dir():
        raise UserError(f"{path} is a folder, no manifest; say folder:{path} or kaldi:{path}")
    if ending not in READERS:
        raise UserError(f"a manifest ends with .jsonl, .json, .csv or .tsv; got {path.name}")
    return _read_large(path) if _size(path) >= LARGE * LINE else list(_packed(path)[0])


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _read_large(path: Path) -> PackedUtterances:
    """Read a large manifest, or map what it held when it was read before."""
    from asr_lab.data.index import known_of
    from asr_lab.reproducibility.hash import file_digest

    with reading(path):
        digest = file_digest(path)
    home = os.path.expanduser("~")
    key = key_of("manifest", digest, path.name, str(path.parent), home)
    if (known := kept(key)) is not None:
        return PackedUtterances.mapped(known)
    found, headers = _packed(path)
    if headers or file_digest(path) != digest:
        return found  # what is in audio files may change, or the manifest just has
    found.digest, witnesses = known_of(found)
    found.witnesses = memoryview(witnesses)
    return PackedUtterances.mapped(keep(key, found.columns()))


def _packed(path: Path) -> tuple[PackedUtterances, bool]:
    """Return all utterances of a manifest, and whether headers of audio were read for them."""
    found, lines, folders, named = PackedUtterances(), array("q"), set[str](), True
    ending = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    for line, row in READERS[ending](path):
        utterance = _utterance(row, f"{path}:{line}", path.parent)
        found.append(utterance)
        lines.append(line)
        if not utterance.id:
            named = False
            folders.add(os.path.dirname(utterance.audio.path))
    if not named:
        found.rename(_ids(found, folders, path.parent))
    _refuse_same_ids(found, lines, path)
    return found, _fill_durations(found)


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    return json_objects(path, "utterance")


def _table_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield rows by column name; CSV fields may be quoted, TSV fields are taken as they are."""
    tabs = path.name.removesuffix(".gz").lower().endswith(".tsv")
    with open_text(path) as file:
        rows = csv.reader(file, TabSeparated if tabs else csv.excel)
        try:
            header = [column.strip() for column in next(rows, [])]
            _check_header(header, path)
            for row in rows:
                if not row:
                    continue
                if len(row) != len(header):
                    found = f"{len(row)} fields; the header has {len(header)}"
                    raise UserError(f"{path}:{rows.line_num} has {found}")
                yield rows.line_num, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise UserError(f"{path}:{rows.line_num} is not a table line: {error}") from error


def _check_header(header: list[str], path: Path) -> None:
    for names in (AUDIO, TEXT):
        if header and not set(names) & set(header):
            columns = ", ".join(header)
            raise UserError(f"{path} needs a column {' or '.join(names)}; it has {columns}")


def _utterance(row: Row, where: str, folder: Path) -> Utterance:
    """Make an utterance; its id stays empty, or the path as it was written, until all are read."""
    written, text = _string(row, AUDIO, where), _string(row, TEXT, where, empty=True)
    offset, duration = _number(row, OFFSET, where), _number(row, DURATION, where)
    part = duration if offset is not None else None
    audio = AudioSource(path=beside(folder, written), start=offset or 0.0, duration=part)
    return Utterance(
        id=_label(row, ID),
        audio=audio,
        text=text,
        duration=UNKNOWN if duration is None else duration,
        language=_label(row, LANGUAGE),
        speaker=_label(row, SPEAKER),
    )


def _value(row: Row, names: Iterable[str]) -> object:
    return next((row[name] for name in names if row.get(name) not in (None, "")), None)


def _string(row: Row, names: tuple[str, ...], where: str, *, empty: bool = False) -> str:
    value = _value(row, names)
    if value is None and empty and any(row.get(name) == "" for name in names):
        return ""
    if value is None:
        raise UserError(f"{where} has no {names[0]!r}; found {', '.join(row) or 'nothing'}")
    if not isinstance(value, str):
        raise UserError(f"{where}: {names[0]!r} must be a string; got {value!r}")
    return value


def _number(row: Row, names: tuple[str, ...], where: str) -> float | None:
    value = _value(row, names)
    return None if value is None else number(value, names[0], where)


def _label(row: Row, names: tuple[str, ...]) -> str:
    value = _value(row, names)
    return "" if value is None else str(value)


def _ids(utterances: Iterable[Utterance], folders: set[str], folder: Path) -> Iterator[str]:
    """Give utterances without an id that of their path, so that it is the same on any machine.

    It is relative to the manifest's folder if all their `folders` are inside, else to the folder
    that these share.
    """
    inside = all(Path(each).is_relative_to(os.path.normpath(folder)) for each in folders)
    root = os.path.normpath(folder) if inside else os.path.commonpath(folders)
    for utterance in utterances:
        if utterance.id:
            yield utterance.id
            continue
        name = os.path.splitext(os.path.relpath(utterance.audio.path, root))[0]
        start = utterance.audio.start
        part = f"@{start:.3f}" if start or utterance.audio.duration is not None else ""
        yield name.replace(os.sep, "/") + part


def _refuse_same_ids(utterances: PackedUtterances, lines: Sequence[int], path: Path) -> None:
    if twice := utterances.same_ids():
        both = f"lines {lines[twice[0]]} and {lines[twice[1]]}"
        name = utterances.id(twice[0])
        raise UserError(f"{path}: {both} have id {name!r}; give each its own")


def _fill_durations(utterances: PackedUtterances) -> bool:
    """Fill in unknown durations from the headers of files; return True if there were any."""
    unknown = (utterances.durations == UNKNOWN).nonzero()[0].tolist()
    filled = with_durations(utterances[position] for position in unknown)
    utterances.durations[unknown] = [utterance.duration for utterance in filled]
    return bool(unknown)


READERS = {"jsonl": _json_rows, "json": _json_rows, "csv": _table_rows, "tsv": _table_rows}
