"""English by the rules of the Open ASR Leaderboard, which are Whisper's and a little more.

The rules are those of open_asr_leaderboard in August 2026. They stand here in our own words; on a
golden file of sentences the results are equal, character by character, spaces at the ends included.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache

from asr_lab.evaluation.normalization.spoken_numbers import spoken_numbers
from asr_lab.evaluation.normalization.tables import (
    COMPOUNDS,
    CONTRACTIONS,
    ENDINGS,
    FILLERS,
    IS_BEHIND,
    LETTERS,
    TITLES,
    variants,
)


def openasr(text: str) -> str:
    """Return a text of English as the leaderboard compares it."""
    text = _BRACKETED.sub("", text.lower())
    text = _PARENTHESISED.sub("", text)
    text = _FILLER.sub("", text)
    text = _spelt_out(re.sub(r"\s+'", "'", text))
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    text = re.sub(r"\.([^0-9]|$)", r" \1", text)
    text = "".join(map(_plain, unicodedata.normalize("NFKD", text)))
    text = _COMPOUND.sub(lambda found: COMPOUNDS[" ".join(found[0].split())], text)
    spelling, names = variants("spelling"), variants("names")
    words = [spelling.get(word, word) for word in spoken_numbers(text).split()]
    text = " ".join(_joined([names.get(word, word) for word in words]))
    text = re.sub(r"[.$¢€£]([^0-9])", r" \1", text)
    text = re.sub(r"([^0-9])%", r"\1 ", text)
    return re.sub(r"\s+", " ", text)


def _spelt_out(text: str) -> str:
    """Write contractions and titles in full."""
    for short, pattern, long in _CONTRACTIONS:
        if short in text:  # most are not there, and looking is a hundred times as fast
            text = pattern.sub(long, text)
    text = _TITLE.sub(lambda found: f"{TITLES[found[0]]} ", text)
    if "'" not in text:
        return text
    for short, pattern, long in _ENDINGS:
        if short in text:
            text = pattern.sub(long, text)
    return text


def _joined(words: Sequence[str]) -> Iterator[str]:
    """Join letters and digits that stand alone: `b b c` is `bbc`.

    Two are enough, but for three if `a` or `i` is among them, which may be words.
    """
    run: list[str] = []
    for word in (*words, ""):
        if len(word) == 1 and word.isalnum():
            run.append(word)
            continue
        if len(run) >= (3 if {"a", "i"} & set(run) else 2):
            yield "".join(run)
        else:
            yield from run
        run.clear()
        if word:
            yield word


@cache
def _plain(character: str) -> str:
    """Return what stands for a character: itself, plain letters, a space or nothing."""
    if character in ".%$¢€£":
        return character
    if character in LETTERS:
        return LETTERS[character]
    category = unicodedata.category(character)
    if category == "Mn":
        return ""
    return " " if category[0] in "MSP" else character


def _any(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]")
_PARENTHESISED = re.compile(r"\([^)]+\)")
_FILLER = re.compile(rf"\b(?:{_any(FILLERS)})\b")
_TITLE = re.compile(rf"\b(?:{_any(list(TITLES))})\b")
_COMPOUND = re.compile(rf"\b(?:{_any(list(COMPOUNDS))})\b".replace(r"\ ", r"\s+"))
_CONTRACTIONS = [
    (short, re.compile(rf"\b{re.escape(short)}\b"), long) for short, long in CONTRACTIONS.items()
]
_ENDINGS = [
    (
        short,
        re.compile(rf"\b({_any(IS_BEHIND)})'s\b" if short == "'s" else rf"{re.escape(short)}\b"),
        rf"\1 {long}" if short == "'s" else f" {long}",
    )
    for short, long in ENDINGS.items()
]
