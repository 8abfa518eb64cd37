"""The audio behind a comparison: where it is, what it holds, and copies that a page can play."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Int16

from asr_lab.audio.files import read_audio
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.utterance import Utterance
from asr_lab.evaluation.comparison.reading import System
from asr_lab.plugins import installed_plugins
from asr_lab.utils.errors import UserError

RATE = 16000
"""Samples per second of what a page plays."""
FRAME = RATE // 50
QUIETEST = 1e-10
"""Mean square below which a frame counts as silent, relative to full scale."""
MOST_BYTES = 24 << 20
"""Most bytes of audio in a page."""
MEASURED_HOURS = 2.0
"""Hours of audio up to which noise is estimated where results do not say it."""


def find_utterances(
    dataset: str, systems: Sequence[System], ids: Sequence[str]
) -> tuple[dict[str, Utterance], str]:
    """Return the data set's utterances by id, and why there are none, in a sentence.

    Without the name of a `dataset`, those that the systems name are tried. Raises UserError for a
    name that was typed and does not serve.
    """
    registry = installed_plugins().registry
    reason = "the results name no data set"
    for name in [dataset] if dataset else dict.fromkeys(one.dataset for one in systems):
        try:
            utterances = read_dataset(resolve(name, registry, "test"))
        except (UserError, OSError) as error:
            if dataset:
                raise
            reason = str(error)
            continue
        found = {one.id: one for one in utterances}
        if found.keys() & set(ids):
            return found, ""
        reason = f"{name} has none of these utterances (its first is {utterances[0].id!r})"
        if dataset:
            raise UserError(f"--dataset {reason}")
    return {}, f"no audio: {reason}; say --dataset"


def contrasts(
    systems: Sequence[System], ids: Sequence[str], utterances: Mapping[str, Utterance]
) -> tuple[dict[str, float], str]:
    """Return loud parts over quiet ones in dB, by id, and what is to be said about that.

    Results may hold it; else it is measured, if there is audio and not too much of it.
    """
    said = {name: one.heard[name].contrast for name in ids for one in systems}
    for one in systems:
        said.update({n: one.heard[n].contrast for n in ids if math.isfinite(one.heard[n].contrast)})
    known = {name: value for name, value in said.items() if math.isfinite(value)}
    missing = [name for name in ids if name not in known and name in utterances]
    hours = sum(utterances[name].duration for name in missing) / 3600
    if hours > MEASURED_HOURS:
        return known, f"noise is estimated up to {MEASURED_HOURS:g} h of audio; this is {hours:.1f}"
    for name in missing:
        try:
            known[name] = contrast(read_audio(utterances[name].audio, RATE))
        except UserError:
            continue
    return {name: value for name, value in known.items() if math.isfinite(value)}, ""


def contrast(samples: Int16[np.ndarray, " samples"]) -> float:
    """Return the level of the loudest tenth of 20 ms frames over that of the quietest, in dB.

    It is a rough signal-to-noise ratio: pauses hold the noise. Not a number below ten frames.
    """
    frames = len(samples) // FRAME
    if frames < 10:
        return math.nan
    scaled = samples[: frames * FRAME].reshape(frames, FRAME) / 32768
    power = np.sort((scaled**2).mean(1))
    tenth = max(frames // 10, 1)
    quiet, loud = (max(float(part.mean()), QUIETEST) for part in (power[:tenth], power[-tenth:]))
    return 10 * math.log10(loud / quiet)


def players(ids: Iterable[str], utterances: Mapping[str, Utterance]) -> tuple[dict[str, str], str]:
    """Return `data:` addresses of FLAC by id, and what is to be said about those left out."""
    import soundfile

    found: dict[str, str] = {}
    size, missing, full = 0, [], 0
    for name in ids:
        if size > MOST_BYTES:
            full += 1
            continue
        try:
            samples = read_audio(utterances[name].audio, RATE)
        except (UserError, KeyError):
            missing.append(name)
            continue
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, RATE, format="FLAC")
        found[name] = "data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode()
        size += len(found[name])
    notes = []
    if missing:
        notes.append(f"no audio of {missing[0]!r} and {len(missing) - 1} others")
    if full:
        notes.append(f"the page is full: no audio of {full} more utterances")
    return found, "; ".join(notes)
