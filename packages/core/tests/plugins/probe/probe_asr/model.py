"""A convolution, dropout and a CTC head, with a running statistic.

PROBE_STUMBLE=ID makes the model fail at an utterance, and PROBE_DIE=ID kills its process there.
PROBE_LEAK=1 lets utterances of a batch hear each other.
"""

import os
import signal

import torch
from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.layers.ctc_model import CTCModel
from asr_lab.models.base import (
    Batch,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    LossPart,
    LossParts,
    Sequences,
    State,
)
from probe_asr.config import ProbeConfig


class ProbeEncoder(Encoder):
    """Quarters the frame rate."""

    def __init__(self, config: ProbeConfig) -> None:
        """Build the layers."""
        super().__init__()
        self.convolution = nn.Conv1d(config.mels, config.dim, 5, stride=4, padding=2)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(config.dim, config.dim)

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode; padding is zero before and behind the convolution."""
        padded = cleared(features.pad())
        values = self.convolution(padded.values.mT).mT.relu()
        values = self.linear(self.dropout(values))
        return EncoderOutput(cleared(Sequences(values, -(-padded.lengths // 4))))


def cleared(sequences: Sequences) -> Sequences:
    """Return padded sequences with zeros as padding."""
    values = sequences.values.masked_fill(~sequences.mask()[..., None], 0)
    return Sequences(values, sequences.lengths)


class ProbeModel(CTCModel[ProbeConfig]):
    """The encoder with a CTC head; counts its training passes, and spoils one if told to."""

    level: Tensor

    def __init__(self, config: ProbeConfig) -> None:
        """Build encoder and head."""
        super().__init__(config, ProbeEncoder(config), config.dim)
        self.register_buffer("level", torch.zeros(()))
        self.couples_utterances = config.coupled
        self.passes = 0

    def loss(self, batch: Batch) -> LossParts:
        """Return the CTC loss, which one pass makes NaN, and follow the level of the features."""
        part = super().loss(batch)["ctc"]
        self.passes += 1
        spoilt = self.config.poison in (-1, self.passes)
        factor = float("nan") if spoilt else 1.0
        if self.config.follow:
            self.level.lerp_(batch.features.values.mean() * factor, 0.1)
        if self.config.put:
            torch.zeros(1).put_(torch.tensor([0]), torch.ones(1))
        return {"ctc": LossPart(sum=part.sum * factor, count=part.count)}

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order."""
        if os.environ.get("PROBE_DIE") in batch.utterance_ids:
            os.kill(os.getpid(), signal.SIGKILL)
        if (name := os.environ.get("PROBE_STUMBLE")) in batch.utterance_ids:
            raise RuntimeError(f"cannot make out {name}")
        _, decoder = self.decoder(decoding)
        encoded = self.encoder(batch.features)
        if "PROBE_LEAK" in os.environ:
            values, lengths = encoded.sequences.values, encoded.sequences.lengths
            encoded = EncoderOutput(Sequences(values + values.flip(0), lengths))
        return decode(decoder, encoded, decoding, self.config.vocab)
