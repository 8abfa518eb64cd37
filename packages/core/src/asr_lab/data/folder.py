"""A plain folder of audio files, each with its transcript in a .txt file beside it."""

from pathlib import Path

from asr_lab.data.reading import AUDIO_ENDINGS, UNKNOWN, given_folder, open_text, with_durations
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.utils.errors import UserError


def read(location: Path | None, config: str, split: str) -> list[Utterance]:
    """Read a folder and the folders below it, in order of path; the path is the id.

    Raises UserError where a file has no text beside it, or shares it with another.
    """
    folder = given_folder(location, "folder")
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_ENDINGS)
    silent = [path for path in files if not path.with_suffix(".txt").exists()]
    if silent:
        first, count = silent[0], len(silent)
        raise UserError(f"{count} audio files have no .txt beside them, first {first}; add it")
    if not files:
        endings = ", ".join(AUDIO_ENDINGS)
        raise UserError(f"{folder} holds no audio ({endings}); each file needs a .txt beside it")
    return with_durations(_utterance(path, folder) for path in files)


def _utterance(path: Path, folder: Path) -> Utterance:
    with open_text(path.with_suffix(".txt")) as file:
        text = " ".join(file.read().split())
    name = path.relative_to(folder).with_suffix("").as_posix()
    return Utterance(id=name, audio=AudioSource(path=str(path)), text=text, duration=UNKNOWN)
