"""What is made equal before words are compared, with an id that says exactly what was done."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from warnings import catch_warnings, simplefilter

from asr_lab.evaluation.normalization.languages import rule_of
from asr_lab.utils.errors import UserError, unknown


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """A named rule that texts pass through before they are scored."""

    name: str
    definition: str
    """The rule in words; it changes whenever the result for any text does."""
    apply: Callable[[str], str]
    """The rule itself."""

    @property
    def digest(self) -> str:
        """The SHA-256 of name and definition."""
        return hashlib.sha256(f"{self.name}\n{self.definition}".encode()).hexdigest()

    @property
    def id(self) -> str:
        """Name and the first four hexadecimal digits of the digest."""
        return f"{self.name}@{self.digest[:4]}"


def normalizer(name: str, language: str = "") -> Normalizer:
    """Return the normaliser of a name, or of an id such as a result file holds.

    `language` stands for the rule of the language that is given, and `language-hi` for that of
    Hindi. Raises UnknownNameError for a name that is not there, and UserError for a rule whose
    library is not installed, or an id whose rule is another one by now: error rates under the two
    cannot be compared.
    """
    short, _, digest = name.partition("@")
    if short == LANGUAGE:
        short = rule_of(language)
    elif short.startswith(f"{LANGUAGE}-"):
        short = rule_of(short.removeprefix(f"{LANGUAGE}-"))
    if short not in NAMES:
        raise unknown("normaliser", short, (*NAMES, LANGUAGE))
    found = _whisper(short) if short in WHISPER else _ours(short)
    if digest and name != found.id:
        raise UserError(
            f"normaliser {name!r} is not in this version, which has {found.id};"
            f" score the hypotheses again with {short}"
        )
    return found


def normalizers(names: str, language: str = "") -> tuple[Normalizer, ...]:
    """Return the normalisers of a list such as `basic,openasr`, each once.

    Raises what `normalizer` raises, and UserError for an empty list.
    """
    found = [normalizer(name.strip(), language) for name in names.split(",") if name.strip()]
    if not found:
        raise UserError(f"no normaliser in {names!r}; choose from {', '.join(NAMES)}")
    return tuple({rule.id: rule for rule in found}.values())


def unlike(first: Mapping[str, object], second: Mapping[str, object]) -> str:
    """Return why two results cannot be compared, if their texts were not normalised alike.

    Results are what `result.json` holds. Old ones have no digest: their ids are compared.
    """
    ours, theirs = first.get("normalizer"), second.get("normalizer")
    digests = [one.get("normalizer_digest") for one in (first, second)]
    if ours == theirs and (digests[0] == digests[1] or None in digests):
        return ""
    names = f"{ours} and {theirs}" if ours != theirs else f"two rules that had the id {ours}"
    return f"normalised by {names}: do not compare, score the hypotheses again by one rule"


@cache
def _ours(name: str) -> Normalizer:
    """Return a rule of this package; what it needs is imported now."""
    if name in (NONE.name, BASIC.name):
        return NONE if name == NONE.name else BASIC
    if name == "openasr":
        from asr_lab.evaluation.normalization import openasr, tables

        definition = f"{DEFINITIONS[name]}; tables {tables.digest()}"
        return Normalizer(name=name, definition=definition, apply=openasr.openasr)
    from asr_lab.evaluation.normalization import marks

    rule = getattr(marks, name.replace("-", "_"))
    return Normalizer(name=name, definition=DEFINITIONS[name], apply=rule)


@cache
def _whisper(name: str) -> Normalizer:
    """Return a rule of Whisper; its definition names the library's version and its files' digest.

    Raises UserError if the library is not there.
    """
    module, kind = WHISPER[name]
    try:
        with catch_warnings():
            # A docstring of 0.1.15 holds `\\X`, which Python 3.12 warns of.
            simplefilter("ignore")
            library = import_module("whisper_normalizer")
            rule = getattr(import_module(f"whisper_normalizer.{module}"), kind)()
    except ImportError as error:
        raise UserError(
            f"normaliser {name} needs whisper-normalizer ({error});"
            " install it: pip install 'asr-lab-core[normalizers]'"
        ) from error
    folder, digest = Path(str(library.__file__)).parent, hashlib.sha256()
    for file in ("basic.py", "english.py", "normalizers/english.json"):
        digest.update((folder / file).read_bytes())
    return Normalizer(
        name=name,
        definition=(
            f"{kind} of whisper-normalizer {version('whisper-normalizer')},"
            f" files {digest.hexdigest()}, Unicode {unicodedata.unidata_version}"
        ),
        apply=rule,
    )


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


WHISPER = {
    "whisper-basic": ("basic", "BasicTextNormalizer"),
    "whisper-en": ("english", "EnglishTextNormalizer"),
}
"""Rules of Whisper's paper: modules and classes of the library whisper-normalizer."""

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
_MARKS = (
    "compatibility composition (NFKC), case folded, composition again; what stands in <>, [] or ()"
    " is dropped; format characters (Cf) vanish, joiners too; all punctuation, symbols, separators"
    " and control characters become spaces; marks stay, but for those that follow no letter; runs"
    " of spaces become one, none at the ends"
)
DEFINITIONS = {
    "openasr": (
        "the English rules of open_asr_leaderboard in August 2026 (Whisper's, more fillers, 's only"
        " behind pronouns, compounds, names, acronyms), in words of our own, first version"
    ),
    "marks-preserving": _MARKS,
    "turkic": f"{_MARKS}; capital I and dotted I fold to the dotless and the dotted small letter",
    "unpointed": f"{_MARKS}; no points of Arabic and Hebrew, no tatweel",
    "unspaced": (
        f"{_MARKS}; each character of Thai, Lao, Tibetan, Burmese, Khmer, kana, bopomofo and"
        " Chinese is a word, with its marks"
    ),
}
LANGUAGE = "language"
"""The name that stands for the rule of a language."""
SLOW = (*WHISPER, "openasr")
"""Rules that take so long for a text that it pays to keep what they made."""
NAMES = (NONE.name, BASIC.name, *WHISPER, *DEFINITIONS)
"""All normalisers."""
