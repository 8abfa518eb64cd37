"""The Fast Conformer: an encoder of conformer blocks with CTC, a transducer, or both."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from asr_lab.decoding import decode, seconds_per_step
from asr_lab.layers.head_model import HeadModel
from asr_lab.layers.local import Chunks, Context
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
from asr_lab.models.conformer.layers import ConformerBlock, context_of
from asr_lab.models.conformer.streaming import StreamState, start, stream
from asr_lab.utils.errors import UserError


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
            causal=config.causal_subsampling,
        )
        self.context, self.chunks, self.streams = context_of(config), config.chunks, config.streams
        if config.streams:
            self.look_ahead = (config.chunk - 1) * config.subsampling + self.subsampling.reach[1]
        self.scale = config.dim**0.5 if config.scale_input else 1.0
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(ConformerBlock(config) for _ in range(config.layers))

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode padded or packed features into padded steps, with zeros as padding.

        Train mode draws one of the sizes of chunks, if there are several, from torch's generator.
        """
        padded = features.pad()
        if state is not None:
            assert isinstance(state, StreamState) and isinstance(self.context, Chunks)
            assert not self.training, "call eval() before streaming: dropout is left out"
            return stream(self.subsampling, self.scale, self.stack, self.context, padded, state)
        values, lengths = self.subsampling(padded.values, padded.lengths)
        mask = length_mask(lengths, values.shape[1])
        values = self.dropout(values * self.scale)
        context = self._draw_context()
        table = self.stack[0].attention.table(values.shape[1], values.device, context)
        for block in self.blocks:
            values = block(values, mask, table, context)
        cleared: Tensor = clear_padding(values, mask)
        return EncoderOutput(Sequences(cleared, lengths))

    def initial_state(self, batch: int) -> State:
        """Return the state at the start of `batch` streams; None unless all looks back in time."""
        if not self.streams:
            return None
        assert isinstance(self.context, Chunks)
        return start(self.subsampling, self.stack, self.context, batch)

    def end(self, state: State, streams: Bool[Tensor, " batch"]) -> State:
        """Return the state in which `streams` end with the next call."""
        assert isinstance(state, StreamState)
        return state._replace(ended=state.ended | streams.to(state.ended.device))

    @property
    def stack(self) -> list[ConformerBlock]:
        """The blocks."""
        return [block for block in self.blocks if isinstance(block, ConformerBlock)]

    def _draw_context(self) -> Context | Chunks | None:
        """Return what steps attend in this call."""
        if not (self.training and self.chunks and isinstance(self.context, Chunks)):
            return self.context
        drawn = int(torch.randint(len(self.chunks), ()))
        return Chunks(self.context.left, self.chunks[drawn])


class ConformerASRModel(HeadModel[ConformerConfig]):
    """A conformer encoder with the heads that its configuration asks for."""

    def __init__(self, config: ConformerConfig) -> None:
        """Build encoder and heads."""
        super().__init__(config, ConformerEncoder(config), config.dim, config)
        self.fits_cuda_graph = self.fits_cuda_graph and not config.chunks
        self.couples_utterances = config.norm == "batch" and not config.freeze_statistics

    @property
    def regions(self) -> Sequence[nn.Module]:
        """The subsampling and the blocks."""
        assert isinstance(self.encoder, ConformerEncoder)
        return [self.encoder.subsampling, *self.encoder.blocks]

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order."""
        _, decoder = self.decoder(decoding)
        return decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)

    def with_context(self, seconds: float) -> "ConformerASRModel":
        """Return a model of the same weights, shared, that attends `seconds` to either side.

        Full attention hears distances in long audio that no training utterance had. Raises
        UserError where attention is limited already.
        """
        if self.config.attention != "full":
            raise UserError(
                f"only full attention can be limited; this model's is {self.config.attention};"
                " leave out the limit"
            )
        steps = round(seconds / seconds_per_step(self.config))
        local = replace(self.config, attention="local", left_context=steps, right_context=steps)
        return _shared(self, local)


def put_in_streaming_mode(
    model: ConformerASRModel, *, chunk: int, left_context: int
) -> ConformerASRModel:
    """Return a model of the same weights, shared, that streams in chunks of so many encoder steps.

    Attention keeps `left_context` steps before the chunk. Warns of weights that were not trained
    for it: those of full context lose accuracy, the more the smaller the chunk.
    """
    trained = model.config
    if not trained.streams:
        warnings.warn(
            "these weights were trained to hear what comes later; streaming will cost accuracy:"
            " train the preset streaming, or fine-tune with --model.attention chunked"
            " --model.causal-convolution",
            stacklevel=2,
        )
    elif chunk not in (trained.chunk, *trained.chunks):
        sizes = ", ".join(map(str, sorted({trained.chunk, *trained.chunks})))
        warnings.warn(
            f"these weights were trained with chunks of {sizes} steps; chunks of {chunk} may cost"
            " accuracy",
            stacklevel=2,
        )
    config = replace(
        trained,
        attention="chunked",
        chunk=chunk,
        left_context=left_context,
        causal_convolution=True,
    )
    return _shared(model, config)


def _shared(model: ConformerASRModel, config: ConformerConfig) -> ConformerASRModel:
    """Return a model of another configuration with the same weights."""
    with torch.device("meta"):
        other = type(model)(config)
    other.load_state_dict(model.state_dict(), assign=True)
    return other.train(model.training)
