"""Which rule a language is compared by."""

import re

from asr_lab.utils.errors import UserError

RULES = {
    "openasr": "en eng",
    "unspaced": "zh zho cmn yue wuu nan ja jpn th tha lo lao my mya km khm bo bod dz dzo",
    "turkic": "tr tur az aze azj",
    "unpointed": (
        "ar ara arb arz ary apc fa fas pes prs ps pus ur urd sd snd ug uig ckb he heb yi yid"
    ),
}
"""Languages with a rule of their own, by their codes of two and three letters."""
OTHERS = "marks-preserving"
"""The rule of every other language."""


def is_code(language: str) -> bool:
    """Return True for a language that is given by a code of two or three letters, or begins so."""
    return re.match("[a-z]{2,3}([-_]|$)", language.lower()) is not None


def rule_of(language: str) -> str:
    """Return the name of the rule for a language such as `hi`, `pt-BR` or `cmn_hans_cn`.

    Raises UserError for what is no code of a language.
    """
    if not is_code(language):
        raise UserError(
            f"no language {language!r} for a normaliser; give a code such as en, hi or cmn_hans_cn"
        )
    code = re.split("[-_]", language.lower())[0]
    return next((rule for rule, codes in RULES.items() if code in codes.split()), OTHERS)
