"""When tokens and words were said, in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr_lab.audio.recipes import recipe
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.outputs import Hypothesis
from asr_lab.tokenizers.base import Tokenizer

SPACE = "\u2581"
"""What subword tokenizers write for a space."""
MANY_FRAMES = 1_000_000
"""So many that the edges of a convolution make no difference."""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A part of a transcript, such as a word."""

    text: str
    start: float
    """Seconds from the start of the audio."""
    end: float
    """Seconds from the start of the audio."""


def seconds_per_step(config: ModelConfig) -> float:
    """Return how long an encoder step of a model is: its hop times its subsampling."""
    features = recipe(config.features, config.mels, config.sample_rate)
    subsampling = round(MANY_FRAMES / config.steps(MANY_FRAMES))
    return subsampling * features.hop_length / features.sample_rate


def token_spans(hypothesis: Hypothesis, step: float) -> list[tuple[float, float]]:
    """Return start and end of each token in seconds; `step` is the length of an encoder step.

    Where the search does not know ends, a token lasts one encoder step, or until the next starts.
    Raises ValueError for a hypothesis without times.
    """
    times, ends = hypothesis.times, hypothesis.ends
    if len(times) != len(hypothesis.tokens):
        raise ValueError("this decoder does not tell when tokens start; use a CTC or transducer")
    if len(ends) != len(times):
        following = [after for _, after in pairwise(times)] + [float("inf")]
        ends = tuple(min(start + 1, after) for start, after in zip(times, following, strict=False))
    return [(start * step, end * step) for start, end in zip(times, ends, strict=True)]


def word_times(hypothesis: Hypothesis, tokenizer: Tokenizer, step: float) -> list[Timed]:
    """Return the words of a hypothesis, from the start of the first token to the end of the last.

    A token starts a word if its piece starts with a space. Tokens that are nothing but a space
    belong to no word. Raises ValueError for a hypothesis without times.
    """
    spans = token_spans(hypothesis, step)
    words: list[list[int]] = []
    fresh = True
    for index, token in enumerate(hypothesis.tokens):
        piece = tokenizer.pieces[token].replace(SPACE, " ")
        fresh = fresh or piece.startswith(" ")
        if not piece.strip(" "):
            continue
        if fresh:
            words.append([])
        words[-1].append(index)
        fresh = False
    return [_word(hypothesis.tokens, word, spans, tokenizer) for word in words]


def _word(
    tokens: Sequence[int],
    places: list[int],
    spans: list[tuple[float, float]],
    tokenizer: Tokenizer,
) -> Timed:
    """Decode the tokens of one word; bytes become characters only together."""
    text = tokenizer.decode([tokens[place] for place in places]).strip(" ")
    return Timed(text=text, start=spans[places[0]][0], end=spans[places[-1]][1])
