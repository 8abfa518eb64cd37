"""What is made equal before words are compared, with an id that says exactly what was done."""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from asr_lab.utils.errors import UserError, unknown


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """A named rule that texts pass through before they are scored."""

    name: str
    definition: str
    """The rule in words; it changes whenever the result for any text does."""
    apply: Callable[[str], str]
    """The rule itself; applying it twice changes nothing more."""

    @property
    def id(self) -> str:
        """Name and the first four hexadecimal digits of the definition's SHA-256."""
        digest = hashlib.sha256(f"{self.name}\n{self.definition}".encode()).hexdigest()
        return f"{self.name}@{digest[:4]}"


def normalizer(name: str) -> Normalizer:
    """Return the normaliser of a name, or of an id such as a result file holds.

    Raises UnknownNameError for a name that is not there, and UserError for an id whose rule is
    another one by now: error rates under the two cannot be compared.
    """
    known = {"none": NONE, "basic": BASIC}
    short, _, digest = name.partition("@")
    if short not in known:
        raise unknown("normaliser", short, known)
    found = known[short]
    if digest and name != found.id:
        raise UserError(
            f"normaliser {name!r} is not in this version, which has {found.id};"
            f" score the hypotheses again with {short}"
        )
    return found


def basic(text: str) -> str:
    """Apply the rule that `BASIC.definition` states."""
    lowered = _compatible(_compatible(text).lower())
    spaced = "".join(map(_kept, lowered))
    words = (word.strip("'") for word in _APOSTROPHES.sub(" ", spaced).split())
    return " ".join(word for word in words if word)


@cache
def _kept(character: str) -> str:
    """Return what stands for one character: itself, an apostrophe, a space or nothing."""
    if character in "'\u2018\u2019\u02bc":
        return "'"
    category = unicodedata.category(character)
    if category == "Cf":
        return character if character in "\u200c\u200d" else ""
    return " " if category[0] in "PSZC" else character


def _compatible(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


_APOSTROPHES = re.compile("''+")

NONE = Normalizer(name="none", definition="nothing is changed", apply=str)
BASIC = Normalizer(
    name="basic",
    definition=(
        "compatibility composition (NFKC), lower case, composition again; U+2018, U+2019 and"
        " U+02BC become apostrophes; format characters (Cf) vanish, except joiners (U+200C,"
        " U+200D); all other punctuation, symbols, separators and control characters become"
        " spaces; marks stay with their letters; apostrophes stay inside words only, one at a"
        " time; runs of spaces become one, none at the ends"
    ),
    apply=basic,
)
