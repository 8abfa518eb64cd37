"""The language of a text, by the library py3langid: an optional extra with its model inside."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from importlib.util import find_spec

SURE = 0.9
"""Probability from which a language is believed.

Of 15,162 different sentences in 13 languages, one is taken for another: docs/results/finders.md.
"""
LETTERS = 20
"""Letters of a text whose language can be told."""

Identify = Callable[[str], tuple[str, float]]


def can_identify() -> bool:
    """Return True if the library is installed."""
    return find_spec("py3langid") is not None


@cache
def identifier() -> Identify:
    """Return a function from text to language and probability; unpacking its model takes time."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def identify(text: str) -> tuple[str, float]:
        language, probability = model.classify(text)
        return str(language), float(probability)

    return identify


def sure_language(text: str, identify: Identify) -> str:
    """Return the language of a text; empty where it is too short or in doubt."""
    if sum(map(str.isalpha, text)) < LETTERS:
        return ""
    language, probability = identify(text)
    return language if probability >= SURE else ""


def usual_language(texts: Iterable[str], identify: Identify) -> str:
    """Return the language of most texts; empty if it is not that of nine in ten."""
    found = Counter(filter(None, (sure_language(text, identify) for text in texts)))
    if not found:
        return ""
    language, count = found.most_common(1)[0]
    return language if count >= 0.9 * found.total() else ""
