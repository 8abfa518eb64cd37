"""Look for failures and for wrong references among the utterances of an evaluation."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from asr_lab.evaluation.failures.calibration import calibrate
from asr_lab.evaluation.failures.finding import Finding, Findings
from asr_lab.evaluation.failures.languages import (
    SURE,
    can_identify,
    identifier,
    sure_language,
    usual_language,
)
from asr_lab.evaluation.failures.loops import letter_loop, word_loop
from asr_lab.evaluation.failures.scored import Scored
from asr_lab.evaluation.failures.scripts import foreign, mixed_words

SILENCE = -60.0
"""Loudest 20 ms, in dBFS, up to which audio is silent."""
LOOP_ERRORS = 3
"""Word errors without which a loop has done no harm."""
FASTEST, FASTEST_DENSE = 30.0, 15.0
"""Letters a second that nobody says; the second where a letter is a syllable."""
SHORTEST = 0.5
"""Seconds of audio that text is compared with at least: a cry of two letters may be very short."""
FOREIGN = 0.3
"""Share of letters of another script from which a text is in it; names alone are less."""
WRONG = 0.5
"""Character error rate from which a text may be another one: two unrelated sentences have 0.7."""
SAME_LETTERS = 12
"""Letters of a text that is not said twice by chance."""
USUAL_TEXTS = 500
"""References that are looked at to find the language of a test set."""
SURE_AS = 0.1
"""Quantile of the confidence of right utterances from which a model is sure."""
FEWEST_RIGHT = 10
"""Utterances without errors from which on it is known how sure a model is when it is right."""


def find_failures(utterances: Sequence[Scored]) -> Findings:
    """Return what went wrong, and which references probably are."""
    right = [one.confidence for one in utterances if _right(one)]
    usual = float(np.quantile(right, SURE_AS)) if len(right) >= FEWEST_RIGHT else math.inf
    texts = {one.reference_normalised: one.id for one in utterances}
    failures: list[Finding] = []
    references: list[Finding] = []
    for one in utterances:
        if one.word_errors.errors:
            missing = _missing(one, usual)
            failures += _failures(one, missing)
            references += _references(one, usual, texts, missing)
        elif _too_much(one.reference_normalised, one.duration):
            references.append(_impossible(one))
    if can_identify():
        failures += _languages(utterances)
    return Findings(
        failures=tuple(failures),
        references=tuple(references),
        calibration=calibrate(
            [one.confidence for one in utterances], [one.word_errors for one in utterances]
        ),
        not_searched=tuple(_not_searched(utterances, usual)),
    )


def _right(one: Scored) -> bool:
    right = not one.word_errors.errors and bool(one.reference_normalised)
    return right and not math.isnan(one.confidence)


def _not_searched(utterances: Sequence[Scored], usual: float) -> Iterator[str]:
    if not can_identify():
        yield "language: pip install 'asr-lab-core[languages]'"
    if all(math.isnan(one.loudest) for one in utterances):
        yield "text in silence: the loudness of the audio is not known"
    if math.isinf(usual):
        yield "references unlike what was heard: too few right utterances of known confidence"


def _failures(one: Scored, missing: bool) -> Iterator[Finding]:
    """Yield the failures of an utterance with errors; those of a missing reference are not its."""
    said, heard = one.reference_normalised, one.hypothesis_normalised
    if not heard:
        yield Finding(kind="empty", id=one.id, detail=f"{len(said.split())} words were said")
        return
    if one.loudest <= SILENCE:
        detail = f"{heard[:60]!r} in audio nowhere above {one.loudest:.0f} dBFS"
        yield Finding(kind="hallucination", id=one.id, detail=detail)
    elif not said and not missing:
        detail = f"{heard[:60]!r} where the reference is empty"
        yield Finding(kind="hallucination", id=one.id, detail=detail)
    yield from _loop(one)
    if _too_much(heard, one.duration) and not _too_much(said, one.duration):
        detail = f"{_letters(heard)} letters in {one.duration:.1f} s"
        yield Finding(kind="too much", id=one.id, detail=detail)
    name, share = foreign(heard, said)
    if share >= FOREIGN:
        detail = f"{100 * share:.0f} % of the letters are {name.capitalize()}"
        yield Finding(kind="script", id=one.id, detail=detail)
    known = set(mixed_words(said))
    if words := [word for word in mixed_words(heard) if word not in known]:
        yield Finding(kind="mixed", id=one.id, detail=", ".join(words[:3]))


def _loop(one: Scored) -> Iterator[Finding]:
    """Yield a loop that did harm and is not what was said."""
    counts, heard = one.word_errors, one.hypothesis_normalised
    letters = one.character_errors
    if counts.insertions + counts.substitutions >= LOOP_ERRORS:
        words = heard.split()
        if len(set(words)) < len(words) - 2 and (found := word_loop(words)):
            if word_loop(one.reference_normalised.split()) is None:
                detail = f"{found.phrase!r} {found.copies} times in a row"
                yield Finding(kind="loop", id=one.id, detail=detail)
                return
    if letters.insertions + letters.substitutions >= 12 and (found := letter_loop(heard)):
        if letter_loop(one.reference_normalised) is None:
            detail = f"{found.phrase!r} {found.copies} times in a row"
            yield Finding(kind="loop", id=one.id, detail=detail)


def _letters(text: str) -> int:
    """Return the number of characters that are not space."""
    return len(text) - text.count(" ")


def _too_much(text: str, duration: float) -> bool:
    """Return True for more text than anybody says in `duration` seconds; False if that is 0."""
    letters = _letters(text)
    if not duration or letters <= FASTEST_DENSE * duration:
        return False
    return letters / max(duration, SHORTEST) > (FASTEST_DENSE if _dense(text) else FASTEST)


def _dense(text: str) -> bool:
    """Return True where half of the letters are syllables or words: Chinese, Japanese, Korean."""
    if text.isascii():
        return False
    wide = sum("\u2e80" <= one <= "\ud7ff" or one >= "\U00020000" for one in text)
    return 2 * wide > _letters(text)


def _impossible(one: Scored) -> Finding:
    detail = f"{_letters(one.reference_normalised)} letters in {one.duration:.1f} s"
    return Finding(kind="impossible", id=one.id, detail=detail)


def _missing(one: Scored, usual: float) -> bool:
    """Return True for an empty reference of audio in which a sure model heard several words."""
    silent = one.loudest <= SILENCE
    heard = len(one.hypothesis_normalised.split()) >= 2
    return not one.reference_normalised and heard and not silent and one.confidence >= usual


def _references(
    one: Scored, usual: float, texts: dict[str, str], missing: bool
) -> Iterator[Finding]:
    """Yield what speaks against the reference of an utterance with errors: the strongest sign."""
    heard = one.hypothesis_normalised
    if missing:
        detail = f"heard {heard[:60]!r} with confidence {one.confidence:.2f}"
        yield Finding(kind="missing", id=one.id, detail=detail)
    elif _too_much(one.reference_normalised, one.duration):
        yield _impossible(one)
    elif one.reference_normalised and one.character_errors.rate >= WRONG:
        other = texts.get(heard, "") if _letters(heard) >= SAME_LETTERS else ""
        if other:
            detail = f"heard the reference of {other}, {heard[:60]!r}"
            yield Finding(kind="swapped", id=one.id, detail=detail)
        elif heard and one.confidence >= usual:
            rate = 100 * one.character_errors.rate
            detail = (
                f"heard {heard[:60]!r} with confidence {one.confidence:.2f}; {rate:.0f} % differs"
            )
            yield Finding(kind="unlike", id=one.id, detail=detail)


def _languages(utterances: Sequence[Scored]) -> Iterator[Finding]:
    """Yield texts in another language than their references: only where most of them differs."""
    suspects = [
        one for one in utterances if one.reference_normalised and one.character_errors.rate >= WRONG
    ]
    if not suspects:
        return
    identify = identifier()
    some = utterances[:: -(-len(utterances) // USUAL_TEXTS)]
    usual = usual_language((one.reference_normalised for one in some), identify)
    for one in suspects:
        heard = sure_language(one.hypothesis_normalised, identify)
        said = heard and (sure_language(one.reference_normalised, identify) or usual)
        if heard and said and heard != said:
            detail = f"reads as {heard}, and the reference as {said} (each {100 * SURE:.0f} % sure)"
            yield Finding(kind="language", id=one.id, detail=detail)
