"""Small corpora as files."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile

from asr_lab.data.utterance import Utterance


def write_audio(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, [0.0] * round(seconds * 16000), 16000)
    return path


def write_text(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def ids(utterances: Iterator[Utterance] | Sequence[Utterance]) -> list[str]:
    return [utterance.id for utterance in utterances]
