"""The result of an evaluation: rates, intervals, speed, and every utterance behind them."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from asr_lab.evaluation.execution import Execution
from asr_lab.evaluation.failures import Findings, find_failures
from asr_lab.evaluation.normalization.scripts import mismatch
from asr_lab.evaluation.normalizers import Normalizer
from asr_lab.evaluation.significance import tells_apart
from asr_lab.evaluation.statistics import Interval, rate_interval
from asr_lab.models.base.options import DecodingOptions
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_atomically
from asr_lab.utils.metrics import ErrorCounts, Rule, total

WORST = 10
"""Number of utterances that a result lists as its worst."""
COUNTS = ("word_errors", "character_errors")
NAMED = 20
"""Number of utterances that could not be used and that a result names."""


@dataclass(frozen=True, kw_only=True)
class ScoredUtterance:
    """One utterance: what was said, what was recognised, and the errors between the two."""

    id: str
    reference: str
    hypothesis: str
    reference_normalised: str
    hypothesis_normalised: str
    word_errors: ErrorCounts
    character_errors: ErrorCounts
    duration: float
    """Length of the audio, in seconds."""
    score: float
    """Log probability that the search gave the hypothesis."""
    speaker: str = ""
    """Speaker label; empty if unknown."""
    times: tuple[tuple[float, float], ...] = ()
    """Start and end of each word of the hypothesis, in seconds; empty if they were not asked for
    or the decoder does not know them."""
    confidence: float = math.nan
    """Mean probability of a word, by the likelihood or the score; not a number if unknown."""
    loudest: float = math.nan
    """Level of the loudest 20 ms of the audio, in dBFS; not a number if unknown."""
    contrast: float = math.nan
    """Loud parts over quiet ones, in dB: a rough signal-to-noise ratio; not a number if unknown."""

    def to_dict(self) -> dict[str, object]:
        """Return everything as plain values; numbers that JSON lacks become None."""
        # `asdict` copies what is within, which takes ten times as long.
        counts = {name: dict(vars(getattr(self, name))) for name in COUNTS}
        plain = {**vars(self), **counts}
        for name in ("score", "confidence", "loudest", "contrast"):
            plain[name] = _finite(getattr(self, name))
        if not self.times:
            del plain["times"]
        return plain


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """How well and how fast a model recognised a data set."""

    dataset: str
    normalizer: str
    """Id of the rule that texts went through before they were compared."""
    normalizer_digest: str
    """SHA-256 of that rule; results of two digests cannot be compared."""
    decoding: DecodingOptions
    rule: Rule
    """Which alignment of two texts is counted."""
    word_errors: ErrorCounts
    word_interval: Interval
    character_errors: ErrorCounts
    character_interval: Interval
    utterances: tuple[ScoredUtterance, ...]
    """What was scored; of `asr-lab evaluate` in the order of the data set."""
    skipped: int
    """Utterances left out, because their audio or text could not be used."""
    audio_seconds: float
    """Length of all audio that was scored."""
    decode_seconds: float
    """Time spent on features, model, search and text; of several devices the longest."""
    wall_seconds: float
    """Time from the first batch asked for to the last hypothesis, waiting for audio included."""
    warnings: tuple[str, ...] = ()
    """Why the rates may not mean what they seem to."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why utterances were left out, by id, where that is known."""
    execution: Execution | None = None
    """Where and how that was computed; None if it is not known."""

    @property
    def rtfx(self) -> float:
        """Seconds of audio recognised in a second of `decode_seconds`."""
        return self.audio_seconds / max(self.decode_seconds, 1e-9)

    @property
    def rtfx_with_loading(self) -> float:
        """Seconds of audio recognised in a second, waiting for audio included."""
        return self.audio_seconds / max(self.wall_seconds, 1e-9)

    @property
    def worst(self) -> tuple[ScoredUtterance, ...]:
        """The ten utterances with most word errors, among equals those with the highest rate."""
        wrong = [one for one in self.utterances if one.word_errors.errors]
        wrong.sort(key=lambda one: (-one.word_errors.errors, -one.word_errors.rate, one.id))
        return tuple(wrong[:WORST])

    @property
    def tells_apart(self) -> float:
        """Difference of word error rates that this set can show; see `significance.tells_apart`."""
        return tells_apart([one.word_errors for one in self.utterances])

    @cached_property
    def findings(self) -> Findings:
        """What went wrong besides single words, and which references are probably wrong."""
        return find_failures(self.utterances)

    def to_dict(self) -> dict[str, object]:
        """Return everything but the single utterances as plain values, ready for JSON."""
        return {
            "dataset": self.dataset,
            "normalizer": self.normalizer,
            "normalizer_digest": self.normalizer_digest,
            "rule": self.rule,
            "decoding": asdict(self.decoding),
            "utterances": len(self.utterances),
            "skipped": self.skipped,
            "words": _rate_to_dict(self.word_errors, self.word_interval),
            "characters": _rate_to_dict(self.character_errors, self.character_interval),
            "tells_apart": _finite(self.tells_apart),
            "audio_seconds": self.audio_seconds,
            "decode_seconds": self.decode_seconds,
            "wall_seconds": self.wall_seconds,
            "rtfx": self.rtfx,
            "rtfx_with_loading": self.rtfx_with_loading,
            "execution": asdict(self.execution) if self.execution else None,
            "bad_utterances": dict(list(self.problems.items())[:NAMED]),
            "warnings": list(self.warnings),
            "findings": self.findings.to_dict(),
            "worst": [one.to_dict() for one in self.worst],
        }

    def rates_to_dict(self) -> dict[str, object]:
        """Return the normaliser and what depends on it, of a result that stands beside another."""
        return {
            "normalizer": self.normalizer,
            "normalizer_digest": self.normalizer_digest,
            "words": _rate_to_dict(self.word_errors, self.word_interval),
            "characters": _rate_to_dict(self.character_errors, self.character_interval),
            "warnings": list(self.warnings),
        }

    def summary(self) -> str:
        """Return the line that people read."""
        return f"{self.rates()}   {self.rtfx:,.{0 if self.rtfx >= 10 else 1}f}x real time"

    def rates(self) -> str:
        """Return error rates, and what they were counted on."""
        low, high = 100 * self.word_interval.low, 100 * self.word_interval.high
        skipped = f", {self.skipped:,} skipped" if self.skipped else ""
        count = len(self.utterances)
        return (
            f"WER {100 * self.word_errors.rate:.1f} % [{low:.1f}, {high:.1f}]"
            f"   CER {100 * self.character_errors.rate:.1f} %"
            f"   ({count:,} {'utterance' if count == 1 else 'utterances'}{skipped},"
            f" normaliser {self.normalizer})"
        )

    def doubt(self) -> str:
        """Return the line that says how sure the error rate is."""
        interval, apart = self.word_interval, 100 * self.tells_apart
        warning = f" ({interval.warning})" if interval.warning else ""
        power = f"; tells systems {apart:.2g} points apart" if math.isfinite(apart) else ""
        return f"interval  {interval.method}{warning}{power}"

    def write_hypotheses(self, path: Path) -> None:
        """Write one JSON object per utterance and line, completely or not at all.

        Raises CannotWriteError.
        """
        lines = [json.dumps(one.to_dict(), ensure_ascii=False) for one in self.utterances]
        text = "".join(f"{line}\n" for line in lines)
        # A lone half of a surrogate pair has no UTF-8; escaped, it is proper JSON.
        write_atomically(path, text.encode("utf-8", "backslashreplace"))


def summarise(
    utterances: Sequence[ScoredUtterance],
    *,
    dataset: str,
    normalizer: Normalizer,
    decoding: DecodingOptions,
    rule: Rule = "levenshtein",
    skipped: int,
    decode_seconds: float,
    wall_seconds: float,
    language: str = "",
) -> EvaluationResult:
    """Add up utterances and find the intervals; a normaliser for another `language` is told.

    Raises UserError if there are no utterances.
    """
    if not utterances:
        raise UserError(
            f"nothing to score in {dataset or 'the data'}: no utterance could be used"
            f" ({skipped} skipped)"
        )
    words = [one.word_errors for one in utterances]
    characters = [one.character_errors for one in utterances]
    speakers = [one.speaker for one in utterances]
    return EvaluationResult(
        dataset=dataset,
        normalizer=normalizer.id,
        normalizer_digest=normalizer.digest,
        decoding=decoding,
        rule=rule,
        word_errors=total(words),
        word_interval=rate_interval(words, speakers),
        character_errors=total(characters),
        character_interval=rate_interval(characters, speakers),
        utterances=tuple(utterances),
        skipped=skipped,
        audio_seconds=math.fsum(one.duration for one in utterances),
        decode_seconds=decode_seconds,
        wall_seconds=wall_seconds,
        warnings=tuple(_warnings(utterances, normalizer, language)),
    )


def _warnings(
    utterances: Sequence[ScoredUtterance], normalizer: Normalizer, language: str
) -> Iterator[str]:
    """Yield what a reader of the rates should know about the references."""
    empty = [one.id for one in utterances if not one.reference_normalised.strip()]
    if empty:
        yield (
            f"{len(empty)} of {len(utterances)} references are empty, {empty[0]} first"
            f" (normaliser {normalizer.id}): all that was recognised there counts as inserted"
        )
    if told := mismatch(normalizer.name, [one.reference for one in utterances], language):
        yield told


def _rate_to_dict(counts: ErrorCounts, interval: Interval) -> dict[str, object]:
    """Return a rate, what it was counted from, and its interval."""
    return {
        "error_rate": _finite(counts.rate),
        "interval": [_finite(interval.low), _finite(interval.high)],
        "confidence": interval.confidence,
        "method": interval.method,
        "warning": interval.warning,
        "errors": counts.errors,
        "match_error_rate": counts.match_error_rate,
        "information_lost": counts.information_lost,
        **asdict(counts),
    }


def _finite(value: float) -> float | None:
    """Return the number, or None for one that JSON cannot hold."""
    return value if math.isfinite(value) else None
