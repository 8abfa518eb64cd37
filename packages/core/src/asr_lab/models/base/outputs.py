"""What models return."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from asr_lab.models.base.sequences import Sequences
from asr_lab.models.base.state import State


@dataclass(frozen=True)
class EncoderOutput:
    """Encoded sequences, and what a streaming encoder carries on."""

    sequences: Sequences
    state: State = None


@dataclass(frozen=True, kw_only=True)
class ModelOutput:
    """Everything a forward pass computed."""

    encoder: EncoderOutput
    scores: Mapping[str, Float[Tensor, "batch steps *scores"] | None]
    """Log probabilities by decoder, over tokens and blank, and apart, durations where there are
    any; None for one that needs the tokens and was not given them."""


@dataclass(frozen=True, kw_only=True)
class LossPart:
    """One term of a loss, as a sum, so that it does not depend on how a batch was split."""

    sum: Float[Tensor, ""]
    """Sum over utterances or tokens, in FP32."""
    count: int | Int[Tensor, ""]
    """How many utterances or tokens were summed; a tensor where asking would wait for a device."""
    weight: float = 1.0
    """Factor of this part in the whole loss."""


LossParts: TypeAlias = Mapping[str, LossPart]


def total_loss(
    parts: LossParts, counts: Mapping[str, int | Float[Tensor, ""]]
) -> Float[Tensor, ""]:
    """Return the sum of weight * sum / count, where `counts` are those of the whole step.

    A part whose count is 0 adds 0, but stays in the graph. Counts on a device are 1 or more.
    """
    most = {name: max(n, 1) if isinstance(n, int) else n for name, n in counts.items()}
    terms = [part.sum * (part.weight / most[name]) for name, part in parts.items()]
    return torch.stack(terms).sum()


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """What a search found for one utterance; only evaluation and the command line make it text."""

    tokens: tuple[int, ...]
    score: float
    """Log probability of the tokens under the search; comparable within one decoder only."""
    times: tuple[float, ...] = ()
    """Start of each token in encoder steps; empty where the decoder does not know."""
    ends: tuple[float, ...] = ()
    """End of each token in encoder steps; empty where the decoder does not know."""
    likelihood: float = field(default=math.nan, compare=False)
    """Log probability of the tokens, whenever they are said, without a language model: over all
    alignments (CTC), or each where the search put it (transducers). Not a number where `score` is
    it."""
