"""Render the embedded data set `spoken/en`, or check that it renders to the pinned digests.

    uv run python packages/core/tools/render_spoken.py           write the shard and its index
    uv run python packages/core/tools/render_spoken.py --check   render in memory and compare

The digests of what is shipped stand in `asr_lab/data/spoken.py`.
"""

import argparse
import hashlib
import io
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import soundfile
import soxr
from espeak import Synthesiser
from jaxtyping import Float32, Int16
from ogg_opus import compact
from spoken_grammar import sentences
from spoken_voices import Voice, voices

from asr_lab.data.spoken import COLUMNS, DIGESTS, INDEX, SAMPLE_RATE, SHARD, SHARDS

SEED = 20
SENTENCES = {"train": 2442, "dev": 120, "test": 276}
COMPRESSION = 0.978
"""Compression level of libsndfile, about 12 kbit/s: the whole set stays below 10 MB."""
PEAK = 0.7
"""Largest sample of every utterance, relative to full scale."""
QUIET = 0.004
"""Samples below this part of full scale are silence to the trimmer (-48 dB)."""
MARGIN = 0.08
"""Silence kept before and after the speech, in seconds."""
MIN_PACE = 0.046
"""Fewest seconds per letter: CTC with steps of 40 ms needs as many steps as letters, and one more
between equal letters; this leaves room for speed perturbation by 10 %."""
MIN_RATE = 80
"""Slowest rate that espeak-ng knows, in words per minute."""
SLOWER = 0.88
"""Factor on the rate of an utterance that was spoken faster than that."""


@dataclass(frozen=True)
class Row:
    """One utterance before it is spoken."""

    split: str
    voice: Voice
    text: str
    rate: int
    pitch: int


def plan() -> Iterator[Row]:
    """Yield all utterances in the order in which they are spoken and stored."""
    draw = random.Random(SEED)
    texts = sentences(sum(SENTENCES.values()), SEED)
    draw.shuffle(texts)
    speakers = voices(SEED)
    for split, number in SENTENCES.items():
        for position in range(number):
            voice = speakers[split][position * len(speakers[split]) // number]
            rate = round(voice.rate * draw.uniform(0.92, 1.08))
            yield Row(split, voice, texts.pop(), rate, voice.pitch + draw.randint(-6, 6))


def prepare(
    samples: Int16[np.ndarray, " samples"], sample_rate: int
) -> Float32[np.ndarray, " trimmed"]:
    """Resample to 16 kHz, bring to the common level and trim the silence around the speech."""
    speech = soxr.resample(samples.astype(np.float32), sample_rate, SAMPLE_RATE, "VHQ")
    speech = speech * (PEAK / np.abs(speech).max())
    loud = np.flatnonzero(np.abs(speech) > QUIET)
    margin = round(MARGIN * SAMPLE_RATE)
    trimmed: Float32[np.ndarray, " trimmed"] = speech[
        max(0, loud[0] - margin) : loud[-1] + 1 + margin
    ]
    return trimmed


def speak(synthesiser: Synthesiser, row: Row) -> Float32[np.ndarray, " samples"]:
    """Return the audio of one utterance, spoken again more slowly while it is too fast for CTC."""
    letters = len(row.text) + sum(a == b for a, b in pairwise(row.text))
    rate = row.rate
    while rate >= MIN_RATE:
        samples = synthesiser.speak(row.text, row.voice, rate, row.pitch)
        speech = prepare(samples, synthesiser.sample_rate)
        if len(speech) >= MIN_PACE * letters * SAMPLE_RATE:
            return speech
        rate = round(rate * SLOWER)
    raise ValueError(f"{row.voice.name} cannot speak slowly enough: {row.text!r}")


def encode(speech: Float32[np.ndarray, " samples"]) -> bytes:
    """Return one Ogg Opus file."""
    target = io.BytesIO()
    soundfile.write(
        target,
        speech,
        SAMPLE_RATE,
        format="OGG",
        subtype="OPUS",
        compression_level=COMPRESSION,
    )
    return compact(target.getvalue())


def decode(encoded: bytes) -> Float32[np.ndarray, " samples"]:
    """Return the samples of an Ogg Opus file."""
    samples: Float32[np.ndarray, " samples"]
    samples, _ = soundfile.read(io.BytesIO(encoded), dtype="float32")
    return samples


def signal_to_noise(
    speech: Float32[np.ndarray, " samples"], decoded: Float32[np.ndarray, " samples"]
) -> float:
    """Return how far the codec's error lies below the speech, in decibels."""
    error = speech - decoded
    return float(10 * np.log10(np.mean(speech**2) / np.mean(error**2)))


@dataclass(frozen=True)
class Rendering:
    """What the generator makes."""

    files: dict[str, bytes]
    """Shard and index, by name."""
    signal_to_noise: list[float]
    """Of every utterance after the codec, in decibels."""


def render() -> Rendering:
    """Speak and encode everything."""
    synthesiser = Synthesiser()
    shard = bytearray()
    lines = ["\t".join(COLUMNS)]
    counts = dict.fromkeys(SENTENCES, 0)
    ratios = []
    for row in plan():
        speech = speak(synthesiser, row)
        encoded = encode(speech)
        ratios.append(signal_to_noise(speech, decode(encoded)))
        name = f"{row.split}-{counts[row.split]:04d}"
        counts[row.split] += 1
        fields = (name, len(shard), len(encoded), len(speech), row.voice.name, row.text)
        lines.append("\t".join(map(str, fields)))
        shard += encoded
    index = ("\n".join(lines) + "\n").encode()
    return Rendering({SHARD: bytes(shard), INDEX: index}, ratios)


def main() -> int:
    """Render, then write or compare; return 1 if the digests are not the pinned ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    same = True
    rendering = render()
    for name, data in rendering.files.items():
        digest = hashlib.sha256(data).hexdigest()
        same = same and digest == DIGESTS[name]
        print(f"{digest}  {name}  {len(data):,} bytes  (pinned: {DIGESTS[name]})")
        if not check:
            SHARDS.mkdir(exist_ok=True)
            (SHARDS / name).write_bytes(data)
    low, median = np.quantile(rendering.signal_to_noise, (0.05, 0.5))
    print(f"signal to noise of the codec: median {median:.1f} dB, 5 % below {low:.1f} dB")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
