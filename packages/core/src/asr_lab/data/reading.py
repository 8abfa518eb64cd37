"""What readers of corpora share: text files, audio beside them, lengths from headers."""

import gzip
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from asr_lab.data.utterance import Utterance
from asr_lab.utils.errors import UserError

UNKNOWN = -1.0
"""Duration of an utterance whose header is still to be read."""
THREADS = 16
"""Headers read at a time: the work is waiting for the disk."""
AUDIO_ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au")


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """Open UTF-8 text, unpacked if its name ends with `.gz`.

    Raises UserError for a file that cannot be opened, is not UTF-8 or is damaged, also while the
    block reads it.
    """
    with reading(path), path.open("rb") as plain:
        packed = gzip.GzipFile(fileobj=plain) if path.suffix == ".gz" else plain
        with io.TextIOWrapper(packed, encoding="utf-8-sig", newline="\n") as file:
            yield file


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file that the block reads into UserError."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error.reason}); convert it") from error
    except EOFError as error:
        raise UserError(f"{path} is cut short; pack it again") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of every line that is not blank; raises as `open_text`."""
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line.rstrip("\r\n")


def json_objects(path: Path, meaning: str) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the number and the object of every line of JSON Lines; a line is one `meaning`.

    Raises UserError with file and line for what is no object, or is text that UTF-8 cannot hold.
    """
    for line, text in numbered_lines(path):
        try:
            row = json.loads(text)
            if "\\u" in text:  # an escape may be half of a character, which no file can hold
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{path}:{line} holds half of a character; write it again") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}:{line} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{path}:{line} is not a JSON object; a line is one {meaning}")
        yield line, row


def given(location: Path | None, dataset: str) -> Path:
    """Return `location`; raises UserError if there is none."""
    if location is None:
        raise UserError(f"data set {dataset} has no location; say {dataset}:LOCATION")
    return location


def given_folder(location: Path | None, dataset: str) -> Path:
    """Return `location`; raises UserError if it is no folder."""
    folder = given(location, dataset)
    if not folder.is_dir():
        raise UserError(f"{dataset} needs a folder; {folder} is none")
    return folder


def beside(folder: Path, path: str) -> str:
    """Return `path`, taken from `folder` if it is relative."""
    return os.path.normpath(os.path.join(folder, os.path.expanduser(path)))


def beside_or_here(folder: Path, path: str) -> str:
    """Return `path` from `folder` if it is there, else as it stands: from the working folder."""
    found = beside(folder, path)
    return found if os.path.exists(found) else path


def number(value: object, what: str, where: str) -> float:
    """Return a finite number of at least 0; raises UserError with its name and place."""
    try:
        found = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        found = -1.0
    if isinstance(value, bool) or not 0 <= found < float("inf"):
        raise UserError(f"{where}: {what} must be a number of at least 0; got {value!r}")
    return found


def header_durations(paths: Sequence[str]) -> list[float]:
    """Return the lengths of audio files in seconds, 0 for one that is missing or is no audio.

    What is wrong with such a file is told later, by the index, so that one bad file among many
    can be skipped.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_header_duration, paths))


def _header_duration(path: str) -> float:
    from asr_lab.audio.files import audio_duration

    try:
        return audio_duration(path)
    except UserError:
        return 0.0


def with_durations(utterances: Iterable[Utterance]) -> list[Utterance]:
    """Fill in every UNKNOWN duration from the header of its file, each file read once."""
    found = list(utterances)
    paths = list(dict.fromkeys(u.audio.path for u in found if u.duration == UNKNOWN))
    lengths = dict(zip(paths, header_durations(paths), strict=True)) if paths else {}
    return [
        utterance
        if utterance.duration != UNKNOWN
        else replace(
            utterance, duration=max(lengths[utterance.audio.path] - utterance.audio.start, 0.0)
        )
        for utterance in found
    ]


@contextmanager
def unpacking(target: Path) -> Iterator[Path]:
    """Give a new folder to unpack into, which is named `target` once the block ends well.

    Several processes may do so at a time: the first to finish wins. Where the block raises,
    nothing is left.
    """
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:32]}-", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
