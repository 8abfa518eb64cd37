"""A data set of whistled letters, made when it is first read."""

import math
import random
import struct
import wave
from collections.abc import Iterator
from pathlib import Path

from asr_lab.data.utterance import AudioSource, Utterance

RATE = 8000
SECONDS = 0.25
"""Length of a letter."""
PITCHES = {"a": 400, "b": 900, "c": 1600, "d": 2500, " ": 0}
SIZES = {"train": 24, "dev": 4, "test": 6}


def read_tones(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Yield the utterances of a split; their files are written below `location`."""
    assert location is not None
    folder = location / split
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(f"tones {split}")
    for number in range(SIZES[split]):
        text = "".join(draw.choice("abcd") for _ in range(2))
        text += " " + "".join(draw.choice("abcd") for _ in range(2))
        path = folder / f"{number:03}.wav"
        if not path.exists():
            write_tones(path, text)
        yield Utterance(
            id=f"{split}-{number:03}",
            audio=AudioSource(path=str(path)),
            text=text,
            duration=len(text) * SECONDS,
            language="tones",
        )


def write_tones(path: Path, text: str) -> None:
    """Write one tone per letter, fading in and out, as a 16-bit WAV file."""
    samples = []
    count = int(RATE * SECONDS)
    for letter in text:
        for i in range(count):
            level = math.sin(math.pi * i / count) * math.sin(math.tau * PITCHES[letter] * i / RATE)
            samples.append(round(12000 * level))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
