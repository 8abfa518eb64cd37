"""What a model is trained and evaluated on."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int, Int64
from torch import Tensor

from asr_lab.models.base.sequences import Sequences


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A few utterances as features and tokens, all on one device."""

    features: Sequences
    tokens: Int[Tensor, "batch tokens"]
    """Token ids, 0 to vocab - 1; what stands behind an utterance's length means nothing."""
    token_lengths: Int[Tensor, " batch"]
    utterance_ids: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    """Language of each utterance, empty where unknown."""
    prompt: tuple[str, ...] = ()
    """Text that a decoder is given as context, empty for none."""
    keys: Int64[Tensor, " batch"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    """One number per utterance, from which all randomness about it is drawn."""
    valid: Bool[Tensor, " batch"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    """False for an utterance that keeps its place but counts for nothing (unreadable audio)."""

    def __post_init__(self) -> None:
        """Fill what was left out: all utterances valid, keys zero."""
        batch, device = len(self.token_lengths), self.token_lengths.device
        if len(self.keys) != batch:
            keys = torch.zeros(batch, dtype=torch.int64, device=device)
            object.__setattr__(self, "keys", keys)
        if len(self.valid) != batch:
            valid = torch.ones(batch, dtype=torch.bool, device=device)
            object.__setattr__(self, "valid", valid)

    def __len__(self) -> int:
        """Return the number of utterances, valid or not."""
        return len(self.token_lengths)

    def to(self, device: torch.device | str) -> "Batch":
        """Return a copy on `device`."""
        return type(self)(
            features=self.features.to(device),
            tokens=self.tokens.to(device, non_blocking=True),
            token_lengths=self.token_lengths.to(device, non_blocking=True),
            utterance_ids=self.utterance_ids,
            language=self.language,
            prompt=self.prompt,
            keys=self.keys.to(device, non_blocking=True),
            valid=self.valid.to(device, non_blocking=True),
        )
