"""From the tokens of a recording to its words, and when each was said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_lab.evaluation.transcription.merging import Token
from asr_lab.evaluation.transcription.transcripts import Word, is_unspaced
from asr_lab.tokenizers import Tokenizer

LONGEST_TOKEN = 0.25
"""Seconds that the last token of a word may last, where silence and not a token follows."""


@dataclass(frozen=True)
class Spelled:
    """A word, and which tokens hold its text; spaces around it are not among them."""

    text: str
    first: int
    end: int
    """The number behind the last."""


def spell(tokens: Sequence[Token], tokenizer: Tokenizer) -> Iterator[Spelled]:
    """Yield the words of a recording; in scripts without spaces, what a token starts.

    It asks the tokenizer for no more than a word at a time, and so works with any.
    """
    begin = 0
    for place in range(1, len(tokens) + 1):
        ended = place == len(tokens) or tokens[place].starts_run
        if ended or _starts_word(tokens, begin, place, tokenizer):
            if text := _text(tokens, begin, place, tokenizer):
                texts = [_text(tokens, begin, k, tokenizer) for k in range(begin + 1, place + 1)]
                first = next(k for k, so_far in enumerate(texts) if so_far)
                yield Spelled(text, begin + first, begin + texts.index(text) + 1)
            begin = place


def _starts_word(tokens: Sequence[Token], begin: int, place: int, tokenizer: Tokenizer) -> bool:
    """Return True if the token at `place` does not go on with the word that starts at `begin`."""
    longer = _text(tokens, begin, place + 1, tokenizer)
    if len(longer.split()) > 1:
        return True
    text = _text(tokens, begin, place, tokenizer)
    return bool(text) and longer.startswith(text) and is_unspaced(longer[len(text) :][:1])


def _text(tokens: Sequence[Token], begin: int, end: int, tokenizer: Tokenizer) -> str:
    return tokenizer.decode([token.id for token in tokens[begin:end]]).strip()


def timed(
    words: Sequence[Spelled], tokens: Sequence[Token], step_seconds: float, duration: float
) -> tuple[Word, ...]:
    """Return when each word was said; there is none before the one before it.

    A word lasts until a token that is not its own starts, or until its last token has lasted as
    long as tokens do. All tokens must have times.
    """
    found: list[Word] = []
    latest = 0.0
    for word in words:
        start = min(max(_time(tokens[word.first]), latest), duration)
        last = max(_time(tokens[word.end - 1]), start)
        end = last + max(LONGEST_TOKEN, step_seconds)
        if word.end < len(tokens):
            end = min(end, max(_time(tokens[word.end]), last + step_seconds))
        latest = min(end, duration)
        found.append(Word(text=word.text, start=round(start, 3), end=round(latest, 3)))
    return tuple(found)


def _time(token: Token) -> float:
    assert token.time is not None
    return token.time
