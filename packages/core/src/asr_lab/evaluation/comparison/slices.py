"""Error rates of parts of a test set: by language, speaker, length and noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from asr_lab.evaluation.comparison.reading import System
from asr_lab.evaluation.statistics import Interval, bootstrap_interval
from asr_lab.utils.metrics import total

LENGTHS = (2.0, 5.0, 10.0, 20.0)
"""Limits between slices of duration, in seconds."""
NOISES = (10.0, 20.0, 30.0, 40.0)
"""Limits between slices of contrast, in dB."""
NOISE = "signal to noise, estimated"
MOST_SPEAKERS = 12
"""Speakers that are shown; those with most errors of all systems together come first."""
ENOUGH = 10
"""Utterances from which on a slice has intervals."""
RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Rate:
    """The word error rate of one system on one slice."""

    rate: float
    interval: Interval | None
    """None for a slice of few utterances."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A part of a test set, and how each system does on it."""

    by: str
    """What it was cut by."""
    name: str
    utterances: int
    words: int
    """Words of the references."""
    rates: Mapping[str, Rate]
    """By the system's name."""


def slices(
    systems: Sequence[System],
    ids: Sequence[str],
    languages: Mapping[str, str],
    speakers: Mapping[str, str],
    contrasts: Mapping[str, float],
) -> list[Slice]:
    """Cut a test set by all that is known of its utterances; a single slice is none."""
    lengths = {name: max(one.heard[name].duration for one in systems) for name in ids}
    kinds = {
        "language": {name: languages.get(name, "") for name in ids},
        "duration": {n: ranged(lengths[n], LENGTHS, "s") if lengths[n] else "" for n in ids},
        NOISE: {
            name: ranged(contrasts[name], NOISES, "dB") if name in contrasts else "" for name in ids
        },
        "speaker": {name: speakers.get(name, "") for name in ids},
    }
    return [one for by, labels in kinds.items() for one in _cut(by, labels, systems)]


def ranged(value: float, limits: Sequence[float], unit: str) -> str:
    """Return the name of the range that a value lies in."""
    above = [one for one in limits if value >= one]
    below = [one for one in limits if value < one]
    if not above:
        return f"below {limits[0]:g} {unit}"
    return f"{above[-1]:g} to {below[0]:g} {unit}" if below else f"{above[-1]:g} {unit} and more"


def _cut(by: str, labels: Mapping[str, str], systems: Sequence[System]) -> Iterator[Slice]:
    members: dict[str, list[str]] = {}
    for name, label in labels.items():
        if label:
            members.setdefault(label, []).append(name)
    if len(members) < 2:
        return
    order = sorted(members, key=lambda label: _place(by, label, members[label], systems))
    for label in order[:MOST_SPEAKERS] if by == "speaker" else order:
        chosen = members[label]
        words = total(systems[0].heard[name].words for name in chosen).reference_length
        rates = {one.name: _rate(one, chosen) for one in systems}
        yield Slice(by=by, name=label, utterances=len(chosen), words=words, rates=rates)


def _place(
    by: str, label: str, members: Sequence[str], systems: Sequence[System]
) -> tuple[float, str]:
    """Return where a slice stands: ranges from below, speakers by their errors, others by name."""
    if by == "speaker":
        errors = sum(one.heard[name].words.errors for one in systems for name in members)
        return float(-errors), label
    if by in ("duration", NOISE):
        return (0.0 if label.startswith("below") else float(label.split()[0])), label
    return 0.0, label


def _rate(system: System, members: Sequence[str]) -> Rate:
    counts = [system.heard[name].words for name in members]
    interval = None
    if len(members) >= ENOUGH:
        interval = bootstrap_interval(counts, resamples=RESAMPLES)
    return Rate(rate=total(counts).rate, interval=interval)
