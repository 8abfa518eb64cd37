"""Words of English that are written in two ways, and the one that stands for both."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

CONTRACTIONS = {
    "won't": "will not",
    "can't": "can not",
    "let's": "let us",
    "ain't": "aint",
    "y'all": "you all",
    "wanna": "want to",
    "gotta": "got to",
    "gonna": "going to",
    "i'ma": "i am going to",
    "imma": "i am going to",
    "woulda": "would have",
    "coulda": "could have",
    "shoulda": "should have",
    "ma'am": "madam",
}
"""Whole words."""
TITLES = {
    "mr": "mister",
    "mrs": "missus",
    "st": "saint",
    "dr": "doctor",
    "prof": "professor",
    "capt": "captain",
    "gov": "governor",
    "ald": "alderman",
    "gen": "general",
    "sen": "senator",
    "rep": "representative",
    "pres": "president",
    "rev": "reverend",
    "hon": "honorable",
    "asst": "assistant",
    "assoc": "associate",
    "lt": "lieutenant",
    "col": "colonel",
    "jr": "junior",
    "sr": "senior",
    "esq": "esquire",
}
"""Whole words, with or without a full stop."""
ENDINGS = {
    "'d been": "had been",
    "'s been": "has been",
    "'d gone": "had gone",
    "'s gone": "has gone",
    "'d done": "had done",
    "'s got": "has got",
    "n't": "not",
    "'re": "are",
    "'s": "is",
    "'d": "would",
    "'ll": "will",
    "'t": "not",
    "'ve": "have",
    "'m": "am",
}
"""Ends of words, in the order in which they are looked for."""
IS_BEHIND = "it he she what that who here there how when where why this".split()
"""Words behind which `'s` means `is`; behind others it may be a genitive, and stays."""
COMPOUNDS = {
    "et cetera": "etc",
    "al right": "alright",
    "all right": "alright",
    "how ever": "however",
    "wi fi": "wifi",
    "hi fi": "hifi",
    "lo fi": "lofi",
    "sci fi": "scifi",
    "e mail": "email",
    "e book": "ebook",
    "e commerce": "ecommerce",
    "x ray": "xray",
    "t shirt": "tshirt",
    "a m": "am",
    "p m": "pm",
    "o k": "okay",
}
FILLERS = "hmm mm mhm mmm uh um ah aha ahh ahm eh ehehe em hm huh hum mhum uhm umm uhuh".split()
LETTERS = {
    "œ": "oe",
    "Œ": "OE",
    "ø": "o",
    "Ø": "O",
    "æ": "ae",
    "Æ": "AE",
    "ß": "ss",
    "ẞ": "SS",
    "đ": "d",
    "Đ": "D",
    "ð": "d",
    "Ð": "D",
    "þ": "th",
    "Þ": "th",
    "ł": "l",
    "Ł": "L",
}
"""Letters that Unicode does not take apart."""


@cache
def variants(name: str) -> Mapping[str, str]:
    """Return a table of this package: `spelling` (British to American) or `names`."""
    lines = (line for line in _text(name).splitlines() if not line.startswith("#"))
    return dict(line.split() for line in lines)


@cache
def digest() -> str:
    """Return the SHA-256 of all tables; their order is part of it, as the first match counts."""
    here = (CONTRACTIONS, TITLES, ENDINGS, IS_BEHIND, COMPOUNDS, FILLERS, LETTERS)
    whole = json.dumps([*here, _text("spelling"), _text("names")])
    return hashlib.sha256(whole.encode()).hexdigest()


def _text(name: str) -> str:
    return files(__package__).joinpath(f"english_{name}.txt").read_text("utf-8")
