"""Find the audio files that a command line names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_lab.data.reading import AUDIO_ENDINGS


@dataclass(frozen=True)
class Input:
    """An audio file, or what should be one."""

    path: str
    name: Path
    """What its transcript is called, without ending: in a folder, the path from there."""


def find_inputs(named: Sequence[str]) -> tuple[list[Input], list[str]]:
    """Return the files in the order in which they are named, folders sorted by path.

    The second is a line for each folder without audio. Whether a file that is named is audio
    shows when it is read, whatever its ending.
    """
    inputs: list[Input] = []
    problems = []
    for name in named:
        path = Path(name)
        if not path.is_dir():
            inputs.append(Input(name, Path(path.stem)))
            continue
        files = sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_ENDINGS)
        found = [file for file in files if file.is_file()]
        if not found:
            problems.append(f"folder {name} holds no audio ({', '.join(AUDIO_ENDINGS)})")
        for file in found:
            inputs.append(Input(str(file), file.relative_to(path).with_suffix("")))
    return inputs, problems
