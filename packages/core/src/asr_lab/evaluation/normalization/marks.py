"""Rules for all scripts that keep the marks which make words: vowel signs, tones, accents."""

import re
import unicodedata
from functools import cache

TURKIC = str.maketrans({"I": "ı", "İ": "i"})
"""Capitals whose small letters are others in Turkish and Azerbaijani."""
POINTS = re.compile(
    "[\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0656-\u065f\u0670\u06d6-\u06ed]"
)
"""What Hebrew and Arabic may leave out: vowel points, signs of recitation, the lengthening stroke.

Madda and hamza are parts of letters, and stay.
"""
UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3040-\u312f\u31f0-\u31ff"  # kana, bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
)
"""Characters of scripts that put no spaces between words, for a class of a pattern."""


def marks_preserving(text: str) -> str:
    """Fold case, punctuation and space, drop what stands in brackets, and keep every mark."""
    return _words(_folded(_compatible(text)))


def turkic(text: str) -> str:
    """Do as `marks_preserving`, but fold the two letters i as Turkish does."""
    return _words(_folded(_compatible(text).translate(TURKIC)))


def unpointed(text: str) -> str:
    """Do as `marks_preserving`, without the points that Arabic and Hebrew may leave out."""
    return _words(POINTS.sub("", _folded(_compatible(text))))


def unspaced(text: str) -> str:
    """Do as `marks_preserving`, and make a word of each character of a script without spaces.

    Marks stay with their characters. The word error rate is then a character error rate, and what
    is written in other scripts is counted by words.
    """
    parts: list[str] = []
    alone = False
    for character in marks_preserving(text):
        if not _is_mark(character):
            inside = is_unspaced(character)
            if inside or alone:
                parts.append(" ")
            alone = inside
        parts.append(character)
    return " ".join("".join(parts).split())


@cache
def is_unspaced(character: str) -> bool:
    """Return True for a character of a script that puts no spaces between words."""
    return bool(_UNSPACED.match(character))


def _folded(text: str) -> str:
    return _compatible(text.casefold())


def _words(text: str) -> str:
    """Return what is left of a text without annotations, symbols and marks without a letter."""
    text = _ANNOTATION.sub(" ", text)
    words = (_leading(word) for word in "".join(map(_kept, text)).split())
    return _compatible(" ".join(word for word in words if word))


def _leading(word: str) -> str:
    """Return a word from its first character that is no mark."""
    start = next((at for at, one in enumerate(word) if not _is_mark(one)), None)
    return "" if start is None else word[start:]


@cache
def _kept(character: str) -> str:
    """Return what stands for one character: itself, a space or nothing."""
    category = unicodedata.category(character)
    if category == "Cf":
        return ""
    return " " if category[0] in "PSZC" else character


@cache
def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


_ANNOTATION = re.compile(r"<[^>]*>|\[[^\]]*\]|\([^)]*\)")
_UNSPACED = re.compile(f"[{UNSPACED}]")
