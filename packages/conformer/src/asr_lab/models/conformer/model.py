"""The Fast Conformer: an encoder of conformer blocks with CTC, a transducer, or both."""

from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.layers.head_model import HeadModel
from asr_lab.layers.masking import clear_padding, length_mask
from asr_lab.layers.subsampling import ConvSubsampling
from asr_lab.models.base import (
    Batch,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    Sequences,
    State,
)
from asr_lab.models.conformer.config import ConformerConfig
from asr_lab.models.conformer.layers import ConformerBlock


class ConformerEncoder(Encoder):
    """Subsampling, then conformer blocks."""

    def __init__(self, config: ConformerConfig) -> None:
        """Build all blocks."""
        super().__init__()
        self.subsampling = ConvSubsampling(
            mels=config.mels,
            dim=config.dim,
            factor=config.subsampling,
            channels=config.subsampling_channels,
        )
        self.scale = config.dim**0.5 if config.scale_input else 1.0
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode padded or packed features into padded steps, with zeros as padding."""
        padded = features.pad()
        values, lengths = self.subsampling(padded.values, padded.lengths)
        mask = length_mask(lengths, values.shape[1])
        values = self.dropout(values * self.scale)
        first = self.blocks[0]
        assert isinstance(first, ConformerBlock)
        table = first.attention.table(values.shape[1], values.device)
        for block in self.blocks:
            values = block(values, mask, table)
        cleared: Tensor = clear_padding(values, mask)
        return EncoderOutput(Sequences(cleared, lengths))


class ConformerASRModel(HeadModel[ConformerConfig]):
    """A conformer encoder with the heads that its configuration asks for."""

    def __init__(self, config: ConformerConfig) -> None:
        """Build encoder and heads."""
        super().__init__(config, ConformerEncoder(config), config.dim, config)
        self.couples_utterances = config.norm == "batch" and not config.freeze_statistics

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order."""
        _, decoder = self.decoder(decoding)
        return decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)
