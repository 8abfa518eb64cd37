"""Speech made for tests: every character is a short chord, so that a tiny model learns it quickly.

There is no synthesiser behind it: a chord of two tones per character, as on a telephone keypad,
with a little variation in length, pitch, loudness and noise.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int16

LOW_TONES = np.geomspace(250, 1000, 11)
HIGH_TONES = np.geomspace(1250, 3400, 12)
"""In hertz. 11 and 12 share no factor, so that 132 characters in a row have different chords."""
SECONDS = 0.1
"""Mean length of a character."""
EDGE = 0.01
"""Time in which a chord swells and fades, in seconds."""
NOISE = 0.003
"""Loudness of the noise behind everything, relative to full scale."""
SUBTYPES = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "OPUS", "mp3": "MPEG_LAYER_III"}
"""How the files of a corpus are encoded, by ending."""
MANIFEST = "manifest.jsonl"


def tone_speech(text: str, seed: int, sample_rate: int = 16000) -> Int16[np.ndarray, " samples"]:
    """Return `text` as audio; the same text, seed and rate (in Hz) give the same samples.

    A space is silence but for the noise. Every character takes 0.085 to 0.115 s, and 0.05 s of
    noise stand at both ends.
    """
    draw = np.random.default_rng([seed, len(text), *text.encode()])
    silence = np.zeros(round(SECONDS / 2 * sample_rate))
    pieces = [_chord(character, draw, sample_rate) for character in text]
    samples = np.concatenate([silence, *pieces, silence])
    samples += draw.normal(0.0, NOISE, len(samples))
    return np.round(samples * 32767).astype(np.int16)


def _chord(
    character: str, draw: np.random.Generator, sample_rate: int
) -> Float64[np.ndarray, " samples"]:
    """Return the two tones of a character, or silence for a space."""
    length = round(SECONDS * draw.uniform(0.85, 1.15) * sample_rate)
    detune, loudness = draw.uniform(0.99, 1.01), draw.uniform(0.1, 0.2)
    if character == " ":
        return np.zeros(length)
    seconds = np.arange(length) / sample_rate
    code = ord(character)
    tones = (LOW_TONES[code % len(LOW_TONES)], HIGH_TONES[code % len(HIGH_TONES)])
    chord = sum(np.sin(2 * np.pi * tone * detune * seconds) for tone in tones)
    distance = np.minimum(seconds, seconds[::-1])
    return np.asarray(loudness * chord * np.minimum(distance / EDGE, 1.0))


def write_corpus(
    folder: Path,
    sentences: Iterable[str],
    format: str = "wav",
    *,
    seed: int = 0,
    sample_rate: int = 16000,
) -> list[Path]:
    """Write an audio file per sentence, and `manifest.jsonl` as NeMo does; return the audio files.

    `format` is `wav`, `flac`, `ogg` (Opus) or `mp3`; raises ValueError for others. Sentences may
    repeat: each file is drawn with another seed, counted from `seed`.
    """
    import soundfile

    if format not in SUBTYPES:
        raise ValueError(f"no format {format!r}; choose from {', '.join(SUBTYPES)}")
    folder.mkdir(parents=True, exist_ok=True)
    paths, lines = [], []
    for number, text in enumerate(sentences):
        samples = tone_speech(text, seed + number, sample_rate)
        path = folder / f"utterance-{number:04d}.{format}"
        soundfile.write(path, samples, sample_rate, subtype=SUBTYPES[format])
        entry = {"audio_filepath": path.name, "duration": len(samples) / sample_rate, "text": text}
        paths.append(path)
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    (folder / MANIFEST).write_text("".join(lines), encoding="utf-8")
    return paths
