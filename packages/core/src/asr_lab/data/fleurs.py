"""FLEURS as it is distributed: a .tsv and a .tar.gz of WAV files per language and split."""

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from asr_lab.data.reading import given_folder, number, numbered_lines, unpacking
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError

SAMPLE_RATE = 16000
COLUMNS = 7
"""id, file_name, raw_transcription, transcription, characters, num_samples, gender."""


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Read a split of one language (Conneau et al. 2022, arXiv 2205.12446).

    The location holds data/LANGUAGE/SPLIT.tsv, or LANGUAGE/SPLIT.tsv. The text is the normalised
    `transcription`; a file listed twice counts once. The archive cannot be read at random, so it
    is unpacked once, into audio/SPLIT beside it. Raises UserError for what is not there, a line
    that does not fit, and an archive that cannot be unpacked safely.
    """
    root = given_folder(location, "fleurs")
    root = root / "data" if (root / "data").is_dir() else root
    table = root / config / f"{split}.tsv"
    if not table.exists():
        raise UserError(f"fleurs needs {config}/{split}.tsv in {root}; download it first")
    audio = _audio_folder(root / config / "audio", split)
    seen = set()
    for line, text in numbered_lines(table):
        utterance = _utterance(text, f"{table}:{line}", audio, config)
        if utterance.id not in seen:
            seen.add(utterance.id)
            yield utterance


def _utterance(line: str, where: str, audio: Path, language: str) -> Utterance:
    fields = line.split("\t")
    if len(fields) < COLUMNS:
        raise UserError(f"{where} has {len(fields)} fields; FLEURS has {COLUMNS}")
    name = PurePosixPath(fields[1]).name
    return Utterance(
        id=PurePosixPath(name).stem,
        audio=AudioSource(path=str(audio / name)),
        text=fields[3].strip(),
        duration=number(fields[5], "num_samples", where) / SAMPLE_RATE,
        language=language,
    )


def _audio_folder(folder: Path, split: str) -> Path:
    """Return the folder of WAV files, unpacking it if only the archive is there."""
    target, archive = folder / split, folder / f"{split}.tar.gz"
    if target.is_dir():
        return target
    if not archive.exists():
        raise UserError(f"fleurs needs {archive} or the folder {target}; neither is there")
    try:
        unpack(archive, target)
    except tarfile.TarError as error:
        raise UserError(f"{archive} is damaged ({error}); download it again") from error
    except EOFError as error:
        raise UserError(f"{archive} is cut short; download it again") from error
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot unpack {archive} beside it ({reason}); do so by hand") from error
    return target


def unpack(archive: Path, target: Path) -> None:
    """Unpack the WAV files of a tar archive flat into the folder `target`, all of them or none.

    Several processes may do so at a time. Raises UserError for an archive that holds links,
    absolute paths or `..`.
    """
    with unpacking(target) as folder, tarfile.open(archive) as tar:
        for member in tar:
            _unpack_member(tar, member, folder, archive)


def _unpack_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, archive: Path
) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
        raise UserError(f"{archive} holds {member.name!r}, which is not a plain file; not unpacked")
    if path.suffix != ".wav" or (file := tar.extractfile(member)) is None:
        return
    with file, open(os.path.join(folder, path.name), "xb") as output:
        shutil.copyfileobj(file, output)
