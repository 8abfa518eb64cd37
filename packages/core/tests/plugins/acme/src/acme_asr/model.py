"""Two convolutions and a CTC head."""

from torch import nn

from acme_asr.config import WhistleConfig
from asr_lab.decoding import decode
from asr_lab.layers.ctc_model import CTCModel
from asr_lab.models.base import (
    Batch,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    Sequences,
    State,
)


class WhistleEncoder(Encoder):
    """Halves the frame rate."""

    def __init__(self, config: WhistleConfig) -> None:
        """Build both convolutions."""
        super().__init__()
        self.first = nn.Conv1d(config.mels, config.dim, 3, stride=2, padding=1)
        self.second = nn.Conv1d(config.dim, config.dim, 3, padding=1)
        self.activation = nn.GELU()

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode; padding is zero before each convolution, as at the end of an utterance."""
        padded = _cleared(features.pad())
        lengths = (padded.lengths + 1) // 2
        halved = self.activation(self.first(padded.values.mT)).mT
        halved = _cleared(Sequences(halved, lengths))
        encoded = halved.values + self.activation(self.second(halved.values.mT)).mT
        return EncoderOutput(_cleared(Sequences(encoded, lengths)))


def _cleared(sequences: Sequences) -> Sequences:
    """Return padded sequences with zeros as padding."""
    values = sequences.values.masked_fill(~sequences.mask()[..., None], 0)
    return Sequences(values, sequences.lengths)


class WhistleModel(CTCModel[WhistleConfig]):
    """The encoder with a CTC head."""

    def __init__(self, config: WhistleConfig) -> None:
        """Build encoder and head."""
        super().__init__(config, WhistleEncoder(config), config.dim)

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order."""
        _, decoder = self.decoder(decoding)
        return decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)
