"""What makes an utterance bad, one by one; the limits were measured, see docs/data-check.md."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from asr_lab.audio.levels import Levels
from asr_lab.data.checking.facts import (
    AudioFacts,
    broken_characters,
    is_dense,
    spoken_characters,
)
from asr_lab.data.checks import least_steps
from asr_lab.data.utterance import Utterance
from asr_lab.tokenizers.base import Tokenizer
from asr_lab.utils.errors import UserError

LONGER_SECONDS, LONGER_SHARE = 0.25, 0.02
"""How far the length of audio may be from what the data set says."""
CLIPPED = 0.01
"""Share of samples at a flat peak from which audio is bad."""
PAUSE_SECONDS = 2.0
"""Silence at either end that is worth a note."""
NARROW = 0.51
"""Part of the band that audio recorded at half the rate fills at most."""
FASTEST, FASTEST_DENSE = 30.0, 15.0
"""Letters in a second of sound that nobody says; the second for Chinese, Japanese and Korean."""
SPARE_SECONDS = 0.2
"""What is added to the sound, whose faint start and end may have been missed."""
SLOWEST = 0.5
"""Letters in a second of sound below which most of what is said is not in the text."""
SLOW_SECONDS = 5.0
"""Sound that must last so long before too little text is bad: a cry may be long."""
RATES = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000)
"""Sample rates that are taken for each other by mistake."""


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What the utterances are to be used for; what is None is not checked."""

    min_duration: float = 0.1
    """Seconds; shorter audio is bad."""
    max_duration: float = 30.0
    """Seconds; longer audio is bad."""
    tokenizer: Tokenizer | None = None
    steps: Callable[[float], int] | None = None
    """Encoder steps of a CTC model for seconds of audio; None for another model."""
    sample_rate: int = 0
    """Rate of the model's audio in Hz; 0 if unknown."""


def problems(
    utterance: Utterance, facts: AudioFacts, demands: Demands
) -> Iterator[tuple[str, str]]:
    """Yield kind and detail of everything that shows on one utterance alone."""
    if facts.problem:
        yield "damaged", facts.problem
    else:
        yield from _length(utterance, facts.seconds, demands)
        assert facts.levels is not None
        yield from _sound(utterance, facts.levels)
        yield from _rate(utterance, facts.seconds, facts.levels)
        if facts.sample_rate < demands.sample_rate:
            below = f"{hertz(facts.sample_rate)} for a model of {hertz(demands.sample_rate)}"
            yield "sampling", below
        if 0 < facts.levels.bandwidth < NARROW * facts.sample_rate / 2:
            top = hertz(round(facts.levels.bandwidth))
            yield "narrow", f"nothing above {top} at a rate of {hertz(facts.sample_rate)}"
    yield from _text(utterance, 0.0 if facts.problem else facts.seconds, demands)


def _length(utterance: Utterance, seconds: float, demands: Demands) -> Iterator[tuple[str, str]]:
    stated = utterance.duration
    if abs(seconds - stated) > LONGER_SECONDS + LONGER_SHARE * stated:
        yield "duration", f"{seconds:.2f} s, said to be {stated:.2f} s{_misread(seconds, stated)}"
    if seconds < demands.min_duration:
        yield "length", f"{seconds:.3f} s is shorter than {demands.min_duration:g} s"
    if seconds > demands.max_duration:
        yield "length", f"{seconds:.1f} s is longer than {demands.max_duration:g} s"


def _misread(seconds: float, stated: float) -> str:
    """Return which two rates explain that a length is not what was stated, if any do."""
    if stated <= 0:
        return ""
    for here in RATES:
        for there in RATES:
            if here != there and abs(stated / seconds * there / here - 1) < 0.005:
                return f", as if {hertz(here)} were read as {hertz(there)}"
    return ""


def _sound(utterance: Utterance, levels: Levels) -> Iterator[tuple[str, str]]:
    if levels.silent:
        if utterance.text.strip():
            yield "silent", f"nowhere above {levels.loudest:.0f} dBFS, and a transcript"
        return
    if levels.clipped > CLIPPED:
        share, peak = 100 * levels.clipped, levels.peak
        yield "clipped", f"{share:.1f} % of the samples are cut off at {peak:.1f} dBFS"
    for seconds, where in ((levels.leading, "first"), (levels.trailing, "last")):
        if seconds > PAUSE_SECONDS:
            yield "pause", f"silence in the {where} {seconds:.1f} s"


def _rate(utterance: Utterance, seconds: float, levels: Levels) -> Iterator[tuple[str, str]]:
    """Compare text with time; silence at the ends says nothing."""
    sound = seconds - levels.leading - levels.trailing
    letters = spoken_characters(utterance.text)
    if sound <= 0 or not letters:
        return
    fastest = FASTEST_DENSE if is_dense(utterance.text) else FASTEST
    if letters / (sound + SPARE_SECONDS) > fastest:
        yield "rate", f"{letters} letters in {sound:.1f} s of sound: too much for the time"
    elif letters / sound < SLOWEST and sound > SLOW_SECONDS:
        yield "rate", f"{letters} letters in {sound:.1f} s of sound: too little for the time"


def _text(utterance: Utterance, seconds: float, demands: Demands) -> Iterator[tuple[str, str]]:
    text = utterance.text
    if not text.strip():
        yield "empty", "the transcript is empty"
        return
    if broken := broken_characters(text):
        shown = ", ".join(f"U+{ord(character):04X}" for character in broken[:5])
        yield "text", f"the text is damaged: it has {shown}"
    if demands.tokenizer is None:
        return
    try:
        tokens = demands.tokenizer.encode(text)
    except UserError as error:
        yield "characters", str(error).partition(";")[0]
        return
    if demands.steps is not None and seconds:
        needed, steps = least_steps(tokens), demands.steps(seconds)
        if needed > steps:
            yield "ctc", f"{len(tokens)} tokens need {needed} encoder steps, and it has {steps}"


def hertz(rate: int) -> str:
    """Return a rate or frequency as people say it."""
    return f"{rate / 1000:g} kHz" if rate >= 1000 else f"{rate} Hz"
