"""Kaldi data folders: wav.scp and text, with segments, utt2spk, utt2lang and utt2dur."""

import os
from collections.abc import Iterable
from pathlib import Path

from asr_lab.data.reading import (
    UNKNOWN,
    beside_or_here,
    given_folder,
    number,
    numbered_lines,
    with_durations,
)
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a folder as kaldi-asr.org/doc/data_prep.html describes it.

    Relative paths start from the folder if the file is there, else from the working folder.
    Raises UserError for a missing file, a repeated key, a recording made by a command, and an
    utterance that has audio without text or text without audio.
    """
    folder = given_folder(location, "kaldi")
    texts, durations = _table(folder / "text"), _numbers(folder / "utt2dur")
    speakers = _table(folder / "utt2spk", optional=True)
    languages = _table(folder / "utt2lang", optional=True)
    sources = _sources(folder)
    _refuse_unpaired(texts, sources, folder)
    return with_durations(
        Utterance(
            id=name,
            audio=source,
            text=texts[name],
            duration=durations.get(name, UNKNOWN if source.duration is None else source.duration),
            language=languages.get(name, ""),
            speaker=speakers.get(name, ""),
        )
        for name, source in sources.items()
    )


def _table(path: Path, *, optional: bool = False) -> dict[str, str]:
    """Return first field -> rest of the line."""
    if optional and not path.exists():
        return {}
    found: dict[str, str] = {}
    for line, text in numbered_lines(path):
        key, _, rest = text.strip().replace("\t", " ").partition(" ")
        if key in found:
            raise UserError(f"{path}:{line} has {key!r} a second time; keep one")
        found[key] = rest.strip()
    return found


def _numbers(path: Path) -> dict[str, float]:
    table = _table(path, optional=True)
    return {key: number(text, key, str(path)) for key, text in table.items()}


def _sources(folder: Path) -> dict[str, AudioSource]:
    recordings = {name: _path(folder, name, path) for name, path in _scp(folder).items()}
    if not (folder / "segments").exists():
        return {name: AudioSource(path=path) for name, path in recordings.items()}
    segments = _table(folder / "segments")
    return {name: _segment(name, text, recordings, folder) for name, text in segments.items()}


def _scp(folder: Path) -> dict[str, str]:
    return _table(folder / "wav.scp")


def _path(folder: Path, name: str, entry: str) -> str:
    where = f"{folder / 'wav.scp'}: recording {name!r}"
    if entry.endswith("|") or entry.startswith("|"):
        raise UserError(f"{where} is a command; run it once and give the path of the file it makes")
    archive, _, position = entry.rpartition(":")
    if archive and position.isdigit():
        raise UserError(f"{where} is part of an archive; give the path of an audio file")
    if not entry:
        raise UserError(f"{where} has no path")
    return beside_or_here(folder, entry)


def _segment(name: str, text: str, recordings: dict[str, str], folder: Path) -> AudioSource:
    """Return the part of a recording; an end of -1 is the end of the recording."""
    where = f"{folder / 'segments'}: utterance {name!r}"
    fields = text.split()
    if len(fields) != 3:
        raise UserError(f"{where} must have recording, start and end; got {text!r}")
    recording, start = fields[0], number(fields[1], "start", where)
    if recording not in recordings:
        raise UserError(f"{where} is of recording {recording!r}, which wav.scp does not have")
    if fields[2] in ("-1", "-1.0"):
        return AudioSource(path=recordings[recording], start=start)
    end = number(fields[2], "end", where)
    if end <= start:
        raise UserError(f"{where} ends at {end:g} s, before it starts at {start:g} s")
    return AudioSource(path=recordings[recording], start=start, duration=end - start)


def _refuse_unpaired(texts: Iterable[str], sources: Iterable[str], folder: Path) -> None:
    heard, written = set(sources), set(texts)
    table = "segments" if os.path.exists(folder / "segments") else "wav.scp"
    for missing, there, other in (
        (written - heard, "text", table),
        (heard - written, table, "text"),
    ):
        if missing:
            raise UserError(
                f"{folder}: {len(missing)} of the utterances of {there} are not in {other}, "
                f"first {min(missing)!r}; make both the same"
            )
