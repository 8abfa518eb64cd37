"""The Whisper-shaped recogniser: a transformer encoder, a text decoder, and a CTC head to help."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.layers.heads import CTCHead
from asr_lab.layers.masking import clear_padding, length_mask
from asr_lab.layers.norms import LayerNorm
from asr_lab.layers.positions import sinusoid_table
from asr_lab.layers.subsampling import StridedConvolutions
from asr_lab.losses import cross_entropy_loss, ctc_loss, teacher_forcing
from asr_lab.models.base import (
    ASRModel,
    Batch,
    Decoder,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    LossPart,
    LossParts,
    Sequences,
    State,
)
from asr_lab.models.whisper.config import WhisperConfig
from asr_lab.models.whisper.decoder import TextDecoder
from asr_lab.models.whisper.layers import EncoderBlock


class WhisperEncoder(Encoder):
    """Two convolutions, sinusoidal positions, transformer blocks."""

    def __init__(self, config: WhisperConfig) -> None:
        """Build all blocks."""
        super().__init__()
        self.stem = StridedConvolutions(mels=config.mels, dim=config.dim, strides=config.strides)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(EncoderBlock(config) for _ in range(config.encoder_layers))
        self.norm = LayerNorm(config.dim)

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode padded or packed features into padded steps, with zeros as padding."""
        padded = features.pad()
        values, lengths = self.stem(padded.values, padded.lengths)
        mask = length_mask(lengths, values.shape[1])
        table = sinusoid_table(values.shape[1], values.shape[2], values.device)
        values = self.dropout(values + table.to(values.dtype))
        for block in self.blocks:
            values = block(values, mask)
        cleared: Tensor = clear_padding(self.norm(values), mask)
        return EncoderOutput(Sequences(cleared, lengths))


class WhisperASRModel(ASRModel[WhisperConfig]):
    """An encoder-decoder; a CTC head on the encoder helps to train it from scratch."""

    primary = "attention"
    fits_cuda_graph = True

    def __init__(self, config: WhisperConfig) -> None:
        """Build encoder and decoder, and the CTC head if its loss has a weight."""
        super().__init__(config)
        self.encoder = WhisperEncoder(config)
        self.decoder_network = TextDecoder(config)
        self.head = CTCHead(config.dim, config.vocab) if config.ctc_weight else None

    @property
    def decoders(self) -> Mapping[str, Decoder]:
        """The decoders: `attention`, and `ctc` if there is a CTC head."""
        with_ctc: dict[str, Decoder] = {} if self.head is None else {"ctc": self.head}
        return {"attention": self.decoder_network, **with_ctc}

    def scores(
        self,
        encoder_output: EncoderOutput,
        tokens: Int[Tensor, "batch tokens"] | None,
        token_lengths: Int[Tensor, " batch"] | None,
    ) -> Mapping[str, Float[Tensor, "batch positions scores"] | None]:
        """Return log probabilities by encoder step (ctc) and by token, then the end (attention)."""
        scores: dict[str, Tensor | None] = {"attention": None}
        if tokens is not None:
            if token_lengths is None:
                token_lengths = torch.full_like(tokens[:, 0], tokens.shape[1])
            inputs, _, _ = self._teach(tokens, token_lengths)
            logits = self.decoder_network.logits(inputs, encoder_output)
            precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
            scores["attention"] = precise.log_softmax(-1)
        if self.head is not None:
            scores["ctc"] = self.head.log_probs(encoder_output)
        return scores

    def loss(self, batch: Batch) -> LossParts:
        """Return the attention loss by tokens, ends included, and the CTC loss by utterances."""
        encoded = self.encoder(batch.features)
        parts: dict[str, LossPart] = {}
        inputs, targets, counted = self._teach(batch.tokens, batch.token_lengths)
        parts["attention"] = cross_entropy_loss(
            self.decoder_network.logits(inputs, encoded),
            targets,
            counted & batch.valid[:, None],
            smoothing=self.config.smoothing,
            weight=1 - self.config.ctc_weight,
        )
        if self.head is not None:
            parts["ctc"] = ctc_loss(
                self.head.logits(encoded),
                encoded.sequences.lengths,
                batch.tokens,
                batch.token_lengths,
                blank_id=self.config.blank_id,
                valid=batch.valid,
                weight=self.config.ctc_weight,
            )
        return parts

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Return the number of tokens and ends, and that of utterances, of those valid."""
        counts = {"attention": int(((batch.token_lengths + 1) * batch.valid).sum())}
        return counts if self.head is None else {**counts, "ctc": int(batch.valid.sum())}

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order."""
        _, decoder = self.decoder(decoding)
        return decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)

    def _teach(
        self, tokens: Int[Tensor, "batch tokens"], token_lengths: Int[Tensor, " batch"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        network = self.decoder_network
        return teacher_forcing(
            tokens, token_lengths, start_id=network.start_id, end_id=network.end_id
        )
