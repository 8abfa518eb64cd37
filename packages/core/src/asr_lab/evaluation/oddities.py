"""What is odd about the references of a test set: told, because it makes error rates mean less."""

from collections import Counter
from collections.abc import Sequence

from asr_lab.tokenizers import Tokenizer
from asr_lab.utils.errors import UserError

MOST = 0.5
"""Share of references above which something is odd about the set, not about a few of them."""
LOOKED_AT = 1000
"""Most references that are tried on the tokenizer."""


def oddities(
    references: Sequence[tuple[str, str]],
    languages: Sequence[str],
    language: str,
    tokenizer: Tokenizer,
) -> tuple[str, ...]:
    """Return a sentence for each oddity of references, each normalised and as it was.

    `languages` are those of the utterances, and `language` is what the model was trained on; empty
    where nobody said.
    """
    found = []
    others = Counter(one for one in languages if one and base(one) != base(language))
    if language and sum(others.values()) > MOST * len(languages):
        most = others.most_common(1)[0][0]
        found.append(f"the model was trained on {language!r}, and the data set is {most!r}")
    else:
        some = references[:: -(-len(references) // LOOKED_AT)]
        foreign = sum(not any(can_write(tokenizer, text) for text in both) for both in some)
        if foreign > MOST * len(some):
            found.append(
                f"{foreign:,} of {len(some):,} references have characters that the model cannot"
                " write; are they in its language?"
            )
    return tuple(found)


def base(tag: str) -> str:
    """Return the language of a tag such as `en_US`, without script and country."""
    return tag.replace("_", "-").split("-")[0].lower()


def can_write(tokenizer: Tokenizer, text: str) -> bool:
    """Return True if a text is made of the tokenizer's tokens."""
    try:
        tokenizer.encode(text)
    except UserError:
        return False
    return True
