"""Writing systems of letters, by their Unicode names."""

import unicodedata
from collections import Counter
from functools import cache

JAPANESE = frozenset({"HIRAGANA", "KATAKANA", "HAN"})
"""Scripts that one language is written in together."""
ALIKE = frozenset({"LATIN", "GREEK", "CYRILLIC"})
"""Scripts with letters that look the same and are taken for each other."""
RENAMED = {"CJK": "HAN", "KANGXI": "HAN", "HALFWIDTH": "KATAKANA", "FULLWIDTH": "LATIN"}


@cache
def script(letter: str) -> str:
    """Return the script of a letter, such as `LATIN`; empty for what is no letter of any.

    It is the first word of the character's Unicode name, which names the script but for the
    characters of China, Japan and Korea.
    """
    if not letter.isalpha():
        return ""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return RENAMED.get(first, first)


def scripts(text: str) -> Counter[str]:
    """Return the number of letters of each script."""
    if text.isascii():
        return Counter({"LATIN": sum(map(str.isalpha, text))})
    found = Counter(map(script, text))
    del found[""]
    return found


def foreign(text: str, reference: str) -> tuple[str, float]:
    """Return a script that `text` has and `reference` lacks, and its share of the letters.

    The most frequent of them; an empty name and 0 if there is none, or no letter on either side.
    """
    if text.isascii() and reference.isascii():
        return "", 0.0
    heard, known = scripts(text), set(+scripts(reference))
    if known & JAPANESE:
        known |= JAPANESE
    other = {name: count for name, count in heard.items() if count and name not in known}
    if not known or not other:
        return "", 0.0
    name = max(sorted(other), key=lambda one: other[one])
    return name, other[name] / sum(heard.values())


def mixed_words(text: str) -> list[str]:
    """Return the words that mix letters of scripts which look alike, such as a Latin `a`."""
    if text.isascii():
        return []
    return [word for word in text.split() if len(ALIKE & {script(one) for one in word}) > 1]
