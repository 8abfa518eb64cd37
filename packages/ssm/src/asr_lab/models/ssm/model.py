"""The state-space recogniser: a bidirectional Mamba-2 encoder with a choice of heads."""

from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.layers.head_model import HeadModel
from asr_lab.layers.masking import clear_padding, length_mask
from asr_lab.layers.norms import RMSNorm
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
from asr_lab.models.ssm.config import SSMConfig
from asr_lab.models.ssm.layers import SSMBlock


class SSMEncoder(Encoder):
    """Subsampling, then blocks that scan each utterance from both of its own ends."""

    def __init__(self, config: SSMConfig) -> None:
        """Build all blocks."""
        super().__init__()
        self.subsampling = ConvSubsampling(
            mels=config.mels,
            dim=config.dim,
            factor=config.subsampling,
            channels=config.subsampling_channels,
        )
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(SSMBlock(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.dim)

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode padded or packed features into padded steps, with zeros as padding."""
        padded = features.pad()
        values, lengths = self.subsampling(padded.values, padded.lengths)
        mask = length_mask(lengths, values.shape[1])
        values = self.dropout(values)
        for block in self.blocks:
            values = block(values, mask)
        cleared: Tensor = clear_padding(self.norm(values), mask)
        return EncoderOutput(Sequences(cleared, lengths))


class SSMASRModel(HeadModel[SSMConfig]):
    """A bidirectional state-space encoder with the heads that its configuration asks for."""

    def __init__(self, config: SSMConfig) -> None:
        """Build encoder and heads."""
        super().__init__(config, SSMEncoder(config), config.dim, config)

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order."""
        _, decoder = self.decoder(decoding)
        return decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)
