"""Texts of a script or a language that a normaliser was not made for."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from asr_lab.evaluation.normalization.languages import is_code, rule_of
from asr_lab.evaluation.normalization.marks import is_unspaced

ENGLISH = ("openasr", "whisper-en")
BY_CHARACTERS = ("unspaced",)
LOSES_MARKS = ("openasr", "whisper-en", "whisper-basic")
"""Rules that take marks from letters, which in many scripts are vowels."""
LOOKED_AT = 1_000
"""References that are looked at, from all over the set."""
MOST = 0.5
"""Share of letters from which on a set is said to be of a script."""
VOWEL_SIGNS = 0.02
"""Share of characters that are marks of their own from which on losing them is told."""


def mismatch(rule: str, references: Sequence[str], language: str = "") -> str:
    """Return why error rates by a rule of this name mean little on such references, or nothing."""
    if rule in ENGLISH and is_code(language) and rule_of(language) != ENGLISH[0]:
        return f"{rule} is a rule for English, and the language is {language}; {_better(language)}"
    counts = Counter("".join(references[:: max(1, len(references) // LOOKED_AT)]))
    letters = {one: count for one, count in counts.items() if one.isalpha()}
    number = sum(letters.values())
    if not number:
        return ""
    scripts = Counter[str]()
    for one, count in letters.items():
        scripts[script(one)] += count
    most = scripts.most_common(1)[0][0]
    if rule not in BY_CHARACTERS and _share(letters, filter(is_unspaced, letters)) > MOST:
        return (
            f"{most} has no spaces between words, so {rule} compares whole sentences;"
            " say --normalizer unspaced, or read the character error rate"
        )
    if rule in ENGLISH and _share(letters, (one for one in letters if _latin(one))) < MOST:
        return f"{rule} is a rule for English, and most letters are {most}; {_better('')}"
    marks = sum(count for one, count in counts.items() if _vowel_sign(one))
    if rule in LOSES_MARKS and marks > VOWEL_SIGNS * number:
        return f"{rule} takes the vowel signs from words of {most}; {_better('')}"
    return ""


@cache
def script(letter: str) -> str:
    """Return the script of a letter as Unicode's names begin, such as `Devanagari`."""
    first = unicodedata.name(letter, "unknown").split(" ")[0].split("-")[0]
    return "Chinese" if first == "CJK" else first.title()


def _better(language: str) -> str:
    rule = rule_of(language) if language else "marks-preserving"
    return f"say --normalizer {rule}"


def _share(letters: dict[str, int], some: Iterable[str]) -> float:
    return sum(letters[one] for one in some) / sum(letters.values())


def _latin(letter: str) -> bool:
    return script(letter) in ("Latin", "Fullwidth")


def _vowel_sign(character: str) -> bool:
    """Return True for a mark of a script of its own, which no letter of Latin has."""
    return unicodedata.category(character) in ("Mc", "Mn") and not (
        "\u0300" <= character <= "\u036f"
    )
