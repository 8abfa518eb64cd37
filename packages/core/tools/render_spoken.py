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


def render() -> tuple[bytes, bytes]:
    """Return the bytes of the shard and of its index."""
    synthesiser = Synthesiser()
    shard = bytearray()
    lines = ["\t".join(COLUMNS)]
    counts = dict.fromkeys(SENTENCES, 0)
    for row in plan():
        samples = synthesiser.speak(row.text, row.voice, row.rate, row.pitch)
        speech = prepare(samples, synthesiser.sample_rate)
        encoded = encode(speech)
        name = f"{row.split}-{counts[row.split]:04d}"
        counts[row.split] += 1
        fields = (name, len(shard), len(encoded), len(speech), row.voice.name, row.text)
        lines.append("\t".join(map(str, fields)))
        shard += encoded
    return bytes(shard), ("\n".join(lines) + "\n").encode()


def main() -> int:
    """Render, then write or compare; return 1 if the digests are not the pinned ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    same = True
    for name, data in zip((SHARD, INDEX), render(), strict=True):
        digest = hashlib.sha256(data).hexdigest()
        same = same and digest == DIGESTS[name]
        print(f"{digest}  {name}  {len(data):,} bytes  (pinned: {DIGESTS[name]})")
        if not check:
            SHARDS.mkdir(exist_ok=True)
            (SHARDS / name).write_bytes(data)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
