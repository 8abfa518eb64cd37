"""Random batches for tests of models, made so that an utterance is the same in any batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from asr_lab.models.base import Batch, ModelConfig, Sequences

GARBAGE = 30.0
"""Scale of the noise that stands where an utterance has no frames."""


@dataclass(frozen=True)
class RandomUtterance:
    """Features and tokens of one utterance."""

    features: Tensor
    tokens: Tensor
    key: int


def random_utterances(
    config: ModelConfig,
    frames: Sequence[int],
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> list[RandomUtterance]:
    """Return one utterance per number of frames, with a third as many tokens as encoder steps."""
    utterances = []
    for number, length in enumerate(frames):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        features = torch.randn(length, config.mels, generator=generator)
        tokens = torch.randint(config.vocab, (config.steps(length) // 3,), generator=generator)
        utterances.append(RandomUtterance(features.to(dtype), tokens, number))
    return utterances


def collate(
    utterances: Sequence[RandomUtterance],
    *,
    extra: int = 0,
    valid: Sequence[bool] | None = None,
) -> Batch:
    """Return a padded batch, `extra` frames and tokens wider than its longest utterance.

    Padding is noise, and tokens that might be real: only the lengths tell.
    """
    generator = torch.Generator().manual_seed(12345 + extra)
    count, first = len(utterances), utterances[0]
    lengths = torch.tensor([len(utterance.features) for utterance in utterances])
    token_lengths = torch.tensor([len(utterance.tokens) for utterance in utterances])
    shape = (count, max(1, int(lengths.max())) + extra, first.features.shape[1])
    features = (torch.randn(shape, generator=generator) * GARBAGE).to(first.features.dtype)
    tokens = torch.randint(2, (count, int(token_lengths.max()) + extra), generator=generator)
    for row, utterance in enumerate(utterances):
        features[row, : lengths[row]] = utterance.features
        tokens[row, : token_lengths[row]] = utterance.tokens
    return Batch(
        features=Sequences(features, lengths),
        tokens=tokens,
        token_lengths=token_lengths,
        utterance_ids=tuple(str(utterance.key) for utterance in utterances),
        keys=torch.tensor([utterance.key for utterance in utterances]),
        valid=torch.ones(count, dtype=torch.bool) if valid is None else torch.tensor(valid),
    )
