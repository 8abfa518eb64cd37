"""A tokenizer of 26 letters and the space."""

import string
from collections.abc import Iterable

from asr_lab.tokenizers.base import CharacterTokenizer


class LetterTokenizer(CharacterTokenizer):
    """Refuses every other character."""

    kind = "letters"


def train_letters(texts: Iterable[str], size: int) -> LetterTokenizer:
    """Return the tokenizer; the text does not matter."""
    return LetterTokenizer(string.ascii_lowercase + " ")


letters_from_bytes = LetterTokenizer.from_bytes
