"""What a tokenizer is, the one that spells in characters, and how any kind is found by name."""

import hashlib
import json
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from asr_lab.plugins import TokenizerSpec, installed_plugins
from asr_lab.plugins.lazy import lazy_attributes
from asr_lab.plugins.specs import load_target
from asr_lab.utils.errors import UserError

if TYPE_CHECKING:
    from asr_lab.tokenizers.bpe import BPETokenizer
else:
    __getattr__ = lazy_attributes("asr_lab.tokenizers", BPETokenizer="bpe")

__all__ = [
    "BPETokenizer",
    "CharacterTokenizer",
    "Tokenizer",
    "load_tokenizer",
    "train_tokenizer",
]


class Tokenizer(ABC):
    """Turns text into token ids, 0 to `size` - 1, and back; it knows of no blank."""

    kind: str
    """Name that the registry knows it by; `load_tokenizer` needs it."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of tokens."""

    @property
    def special(self) -> Mapping[str, int]:
        """Ids of tokens that are not text, by role: unknown, start, end, a language."""
        return {}

    @property
    def pieces(self) -> Sequence[str]:
        """Text of each token on its own; a space, or U+2581 for it, where a word starts."""
        return tuple(self.decode([token]) for token in range(self.size))

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`.

        Raises UserError, naming the characters, for text that the tokenizer cannot represent.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of `ids`; raises ValueError for an id that is not a token's."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Return everything needed to build it again; equal tokenizers give equal bytes."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, data: bytes) -> "Tokenizer":
        """Build from `to_bytes`'s result; raises UserError for anything else."""

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of kind and bytes."""
        return hashlib.sha256(f"{self.kind}\0".encode() + self.to_bytes()).hexdigest()

    def check_ids(self, ids: Iterable[int]) -> None:
        """Raise ValueError for the first id outside 0 to `size` - 1."""
        for token in ids:
            if not 0 <= token < self.size:
                raise ValueError(f"token ids are 0 to {self.size - 1}; got {token}")


class CharacterTokenizer(Tokenizer):
    """One token for each Unicode code point of the training text, after composition (NFC).

    `decode(encode(text))` is `text` in NFC.
    """

    kind = "characters"

    def __init__(self, characters: str) -> None:
        """Number the distinct `characters` in the order of their code points."""
        self.characters = "".join(sorted(set(characters)))
        self._ids = {character: index for index, character in enumerate(self.characters)}

    @property
    def size(self) -> int:
        """Number of characters."""
        return len(self.characters)

    @property
    def pieces(self) -> str:
        """The characters."""
        return self.characters

    def encode(self, text: str) -> list[int]:
        """Return one id per character of the composed text."""
        composed = unicodedata.normalize("NFC", text)
        try:
            return [self._ids[character] for character in composed]
        except KeyError:
            raise outside("the tokenizer", set(composed) - self._ids.keys()) from None

    def decode(self, ids: Sequence[int]) -> str:
        """Return the characters, joined."""
        self.check_ids(ids)
        return "".join(self.characters[index] for index in ids)

    def to_bytes(self) -> bytes:
        """Return the characters as JSON."""
        return json.dumps({"characters": self.characters}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "CharacterTokenizer":
        """Read the characters; raises UserError for data that are not `to_bytes`'s."""
        try:
            characters = json.loads(data)["characters"]
        except (ValueError, KeyError, TypeError):
            characters = None
        if not isinstance(characters, str):
            raise UserError("the tokenizer is damaged: its data hold no list of characters")
        return cls(characters)


characters_from_bytes = CharacterTokenizer.from_bytes


def train_characters(texts: Iterable[str], size: int) -> CharacterTokenizer:
    """Return a tokenizer of all characters in `texts`, the space included; `size` is the limit.

    Raises UserError where there are more characters than `size`, or none.
    """
    found = {" "}
    for text in texts:
        found.update(unicodedata.normalize("NFC", text))
    if found == {" "}:
        raise UserError("a tokenizer needs text to learn from; the training text is empty")
    if len(found) > size:
        raise UserError(
            f"the training text has {len(found)} distinct characters, more than the {size} tokens"
            f" asked for; ask for {len(found)} or use bpe"
        )
    return CharacterTokenizer("".join(found))


def train_tokenizer(kind: str, texts: Iterable[str], size: int) -> Tokenizer:
    """Train a tokenizer of a registered kind; equal texts give an equal tokenizer.

    Raises UnknownNameError for a kind nobody registered, UserError if text and size do not fit.
    """
    _, spec = installed_plugins().registry.find(TokenizerSpec, kind)
    train = cast(Callable[[Iterable[str], int], Tokenizer], load_target(spec.train))
    return train(texts, size)


def load_tokenizer(kind: str, data: bytes) -> Tokenizer:
    """Build a tokenizer from its kind and bytes, as a checkpoint keeps them.

    Raises UnknownNameError for a kind nobody registered, UserError for damaged data.
    """
    _, spec = installed_plugins().registry.find(TokenizerSpec, kind)
    load = cast(Callable[[bytes], Tokenizer], load_target(spec.load))
    return load(data)


def outside(where: str, characters: Iterable[str]) -> UserError:
    """Return the error for characters a tokenizer does not have, at most ten of them shown."""
    found = sorted(characters)
    shown = ", ".join(f"{character!r} (U+{ord(character):04X})" for character in found[:10])
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    return UserError(
        f"text has characters outside {where}: {shown}{more};"
        " train the tokenizer on such text, use bpe, or normalise the text"
    )
