"""What the loader hands over: samples and tokens of a few utterances, before any features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int16, Int64
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, kw_only=True)
class AudioBatch:
    """A few utterances as the loader workers decoded them, on the CPU."""

    utterance_ids: tuple[str, ...]
    samples: Int16[Tensor, "batch samples"]
    """16-bit mono audio at the model's sample rate, zero-padded."""
    lengths: Int64[Tensor, " batch"]
    """Number of samples of each utterance."""
    tokens: Int64[Tensor, "batch tokens"]
    token_lengths: Int64[Tensor, " batch"]
    keys: Int64[Tensor, " batch"]
    """One number per utterance and epoch, from which augmentation draws."""
    speeds: Float32[Tensor, " batch"]
    """Speed factor that the plan drew; 1 leaves the audio as it is."""
    valid: Bool[Tensor, " batch"]
    """False for an utterance whose audio could not be used."""
    problems: tuple[str, ...]
    """Why an utterance is not valid; empty where it is."""
    language: tuple[str, ...]
    texts: tuple[str, ...]
    """The transcripts as the corpus gives them."""
    audio_digests: tuple[str, ...] = ()
    """128-bit digest of the samples of each utterance; empty for audio that no run is made of."""

    def __len__(self) -> int:
        """Return the number of utterances, valid or not."""
        return len(self.utterance_ids)

    @classmethod
    def untranscribed(
        cls, audio: Sequence[Int16[np.ndarray, " _"]], language: str = ""
    ) -> "AudioBatch":
        """Return audio of which nobody knows what is said in it."""
        count = len(audio)
        return cls(
            utterance_ids=tuple(map(str, range(count))),
            samples=pad_sequence([torch.tensor(row) for row in audio], batch_first=True),
            lengths=torch.tensor([len(row) for row in audio]),
            tokens=torch.zeros(count, 0, dtype=torch.int64),
            token_lengths=torch.zeros(count, dtype=torch.int64),
            keys=torch.zeros(count, dtype=torch.int64),
            speeds=torch.ones(count),
            valid=torch.ones(count, dtype=torch.bool),
            problems=("",) * count,
            language=(language,) * count,
            texts=("",) * count,
        )
