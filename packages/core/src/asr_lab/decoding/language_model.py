"""Language models beside a search: what they must answer, and words from an ARPA or KenLM file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asr_lab.decoding.ngrams import read_kenlm
from asr_lab.models.base.options import DecodingOptions
from asr_lab.utils.errors import UserError

SPACE = "\u2581"
"""What subword tokenizers write for a space."""


S = TypeVar("S")
"""State of a model."""


@runtime_checkable
class LanguageModel(Protocol[S]):
    """Scores one token after another; states are opaque, and log probabilities natural."""

    def start(self) -> S:
        """Return the state before the first token."""

    def score(self, state: S, token: int) -> tuple[float, S]:
        """Return what a token adds to the log probability, and the state after it."""

    def end(self, state: S) -> float:
        """Return what the end of the transcript adds."""


@runtime_checkable
class WordModel(Protocol[S]):
    """Scores one word after another."""

    def start(self) -> S:
        """Return the state at the start of a sentence."""

    def score(self, state: S, word: str) -> tuple[float, S]:
        """Return the natural log probability of a word, and the state after it."""

    def end(self, state: S) -> float:
        """Return the natural log probability of the end of the sentence."""


@dataclass(frozen=True)
class WordsFromTokens(Generic[S]):
    """A model of words that scores tokens: a word counts when the next one starts, or at the end.

    `pieces` is the text of each token, a space (or U+2581) where a word starts.
    """

    words: WordModel[S]
    pieces: Sequence[str]

    def start(self) -> tuple[S, str]:
        """Return the state before the first word, and no word begun."""
        return self.words.start(), ""

    def score(self, state: tuple[S, str], token: int) -> tuple[float, tuple[S, str]]:
        """Add a piece to the word; score the words that it ends."""
        inner, word = state
        total = 0.0
        first, *others = self.pieces[token].replace(SPACE, " ").split(" ")
        word += first
        for other in others:
            if word:
                added, inner = self.words.score(inner, word)
                total += added
            word = other
        return total, (inner, word)

    def end(self, state: tuple[S, str]) -> float:
        """Score the last word, and the end of the sentence."""
        inner, word = state
        total = 0.0
        if word:
            total, inner = self.words.score(inner, word)
        return total + self.words.end(inner)


@dataclass(frozen=True)
class Fusion:
    """What is added to the log probabilities of a search: a language model and a bonus.

    Shallow fusion; a prefix is scored once, whatever utterance it occurs in.
    """

    model: LanguageModel[Any] | None = None
    weight: float = 0.0
    token_bonus: float = 0.0
    _states: dict[int, Any] = field(default_factory=dict, repr=False)
    _scores: dict[int, float] = field(default_factory=dict, repr=False)

    def scores(
        self,
        before: Int64[Tensor, "batch places"],
        tokens: Int64[Tensor, "batch places"],
        after: Int64[Tensor, "batch places"],
        log_probs: Float[Tensor, "batch places"],
    ) -> Float[Tensor, "batch places"]:
        """Return what tokens add to prefixes; keys stand for prefixes without and with them.

        What has probability 0 is not scored.
        """
        if self.model is None:
            return torch.zeros_like(log_probs)
        self._states.setdefault(0, self.model.start())
        alive = (log_probs > -torch.inf).flatten().tolist()
        rows = zip(*(part.flatten().tolist() for part in (before, tokens, after)), strict=True)
        found = [
            self._scored(*row) if living else 0.0 for row, living in zip(rows, alive, strict=True)
        ]
        return self.weight * log_probs.new_tensor(found).view_as(log_probs)

    def ends(
        self, keys: Int64[Tensor, "batch beam"], log_probs: Float[Tensor, "batch beam"]
    ) -> Float[Tensor, "batch beam"]:
        """Return what the end adds to prefixes."""
        if self.model is None:
            return torch.zeros_like(log_probs)
        self._states.setdefault(0, self.model.start())
        alive = zip(keys.flatten().tolist(), log_probs.flatten().tolist(), strict=True)
        found = [
            self.model.end(self._states[key]) if score > -torch.inf else 0.0 for key, score in alive
        ]
        return self.weight * log_probs.new_tensor(found).view_as(log_probs)

    def _scored(self, before: int, token: int, after: int) -> float:
        """Score a token after a prefix, or remember that it was."""
        assert self.model is not None
        if after not in self._states:
            self._scores[after], self._states[after] = self.model.score(self._states[before], token)
        return self._scores[after]


class FusedOptions(DecodingOptions):
    """Decoding options whose language model has been read; it is no field, and never stored."""

    language_model: LanguageModel[Any] | None

    def __init__(self, options: DecodingOptions, language_model: LanguageModel[Any] | None) -> None:
        """Take everything from `options`."""
        super().__init__(**vars(options))
        object.__setattr__(self, "language_model", language_model)


def fusion(options: DecodingOptions) -> Fusion:
    """Return what a search adds to its scores.

    Raises UserError if the options name a language model that has not been read.
    """
    if isinstance(options, FusedOptions):
        return Fusion(options.language_model, options.lm_weight, options.token_bonus)
    if options.lm:
        raise UserError(
            f"the language model {options.lm} has not been read; use with_language_model"
        )
    return Fusion(token_bonus=options.token_bonus)


def with_language_model(options: DecodingOptions, pieces: Sequence[str]) -> DecodingOptions:
    """Return options with the language model that they name; `pieces` are the tokens' texts.

    Raises UserError if the file cannot be read.
    """
    if not options.lm:
        return options
    model = WordsFromTokens(read_ngrams(Path(options.lm)), pieces)
    return FusedOptions(options, model)


def read_ngrams(path: Path) -> WordModel[Any]:
    """Read an n-gram model of words, an ARPA file or KenLM's binary.

    Raises UserError if there is no such file, it is no model, or `kenlm` is not installed.
    """
    if not path.is_file():
        raise UserError(f"there is no language model {path}; --lm takes an ARPA or KenLM file")
    return read_kenlm(path)
