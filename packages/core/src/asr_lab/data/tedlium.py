"""TED-LIUM as it unpacks: SPLIT/stm with a table of segments and SPLIT/sph with the talks."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from asr_lab.data.reading import given_folder, number, numbered_lines
from asr_lab.data.spoken_text import tedlium as words
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

FIELDS = 6
"""talk, channel, speaker, start, end, label; the text follows."""


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Read a split (Hernandez et al. 2018, arXiv 1805.04699), talk after talk.

    The location holds train, dev and test, or a folder `legacy` that does. Segments that are not
    scored or have no words are left out. Raises UserError for what is not there and a line that
    does not fit.
    """
    for table in _tables(given_folder(location, "tedlium"), split):
        yield from _segments(table)


def read_talks(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Read a split like `read`, but a whole talk as one utterance.

    It goes from the start of its first segment that is scored to the end of the last (Radford et
    al. 2022, arXiv 2212.04356, appendix A.2), and its text is that of those segments.
    """
    for table in _tables(given_folder(location, "tedlium_long"), split):
        segments = sorted(_segments(table), key=lambda each: each.audio.start)
        if not segments:
            continue
        start = segments[0].audio.start
        length = round(max(each.audio.start + each.duration for each in segments) - start, 6)
        audio = replace(segments[0].audio, duration=length)
        text = " ".join(each.text for each in segments)
        yield replace(segments[0], id=table.stem, audio=audio, text=text, duration=length)


def _tables(root: Path, split: str) -> list[Path]:
    for below in ("TEDLIUM_release-3", "legacy"):
        root = root / below if (root / below).is_dir() else root
    if tables := sorted((root / split / "stm").glob("*.stm")):
        return tables
    raise UserError(
        f"tedlium needs {split}/stm/*.stm in {root}; unpack TEDLIUM_release-3.tgz of "
        "openslr.org/51 there"
    )


def _segments(table: Path) -> Iterator[Utterance]:
    for line, text in numbered_lines(table):
        if not text.startswith(";;") and (found := _utterance(text, table, line)):
            yield found


def _utterance(text: str, table: Path, line: int) -> Utterance | None:
    where = f"{table}:{line}"
    fields = text.split(maxsplit=FIELDS)
    if len(fields) < FIELDS:
        raise UserError(f"{where} has {len(fields)} fields; a segment has at least {FIELDS}")
    talk, channel, speaker, first, last, _ = fields[:FIELDS]
    spoken = words(fields[FIELDS] if len(fields) > FIELDS else "")
    if spoken is None:
        return None
    start, end = number(first, "start", where), number(last, "end", where)
    if end <= start:
        raise UserError(f"{where} ends at {end:g} s, before it starts at {start:g} s")
    length = round(end - start, 6)
    audio = AudioSource(
        path=str(table.parent.parent / "sph" / f"{talk}.sph"), start=start, duration=length
    )
    return Utterance(
        id=f"{talk}-{channel}-{first}-{last}",
        audio=audio,
        text=spoken,
        duration=length,
        language="en",
        speaker=speaker,
    )
