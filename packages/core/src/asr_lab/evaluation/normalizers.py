"""What is made equal before words are compared, with an id that says exactly what was done."""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from warnings import catch_warnings, simplefilter

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
    def id(self) -> str:
        """Name and the first four hexadecimal digits of the definition's SHA-256."""
        digest = hashlib.sha256(f"{self.name}\n{self.definition}".encode()).hexdigest()
        return f"{self.name}@{digest[:4]}"


def normalizer(name: str) -> Normalizer:
    """Return the normaliser of a name, or of an id such as a result file holds.

    Raises UnknownNameError for a name that is not there, and UserError for a rule whose library is
    not installed, or an id whose rule is another one by now: error rates under the two cannot be
    compared.
    """
    known = {"none": NONE, "basic": BASIC}
    short, _, digest = name.partition("@")
    if short not in (*known, *WHISPER):
        raise unknown("normaliser", short, (*known, *WHISPER))
    found = known[short] if short in known else _whisper(short)
    if digest and name != found.id:
        raise UserError(
            f"normaliser {name!r} is not in this version, which has {found.id};"
            f" score the hypotheses again with {short}"
        )
    return found


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
