"""The interface of a speech recognition model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.models.base.batch import Batch
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.interfaces import Decoder, Encoder
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis, LossParts, ModelOutput
from asr_lab.models.base.sequences import Sequences
from asr_lab.utils.errors import UserError, unknown

C = TypeVar("C", bound=ModelConfig)


class ASRModel(nn.Module, ABC, Generic[C]):
    """An encoder with one or more decoders.

    A model takes its configuration and nothing else. In eval mode, and in train mode with dropout
    off, an utterance's outputs and loss depend neither on padding nor on batch mates, unless
    `couples_utterances` says so.
    """

    couples_utterances: bool = False
    """True if train mode shares statistics between utterances (batch normalisation)."""
    fits_cuda_graph: bool = False
    """True if `loss` only tells the device what to do, the same for every batch of a shape: it
    reads nothing back, draws from the device's generator alone, and looks at tensors alone."""
    encoder: Encoder
    primary: str
    """Name of the decoder that `transcribe` uses unless told otherwise."""

    def __init__(self, config: C) -> None:
        """Keep the configuration; the subclass builds the layers."""
        super().__init__()
        self.config = config

    @property
    def regions(self) -> Sequence[nn.Module]:
        """The parts to compile, each on its own: alike ones, as blocks are, are compiled once."""
        return [self.encoder]

    @property
    @abstractmethod
    def decoders(self) -> Mapping[str, Decoder]:
        """The decoders by name."""

    @abstractmethod
    def scores(
        self,
        encoder_output: EncoderOutput,
        tokens: Int[Tensor, "batch tokens"] | None,
        token_lengths: Int[Tensor, " batch"] | None,
    ) -> Mapping[str, Float[Tensor, "batch steps *scores"] | None]:
        """Return what each decoder says about an encoded batch.

        A transducer, which scores pairs of step and token, has one more axis than the others.
        """

    @abstractmethod
    def loss(self, batch: Batch) -> LossParts:
        """Return every part of the loss as a sum in FP32 over the valid utterances."""

    @abstractmethod
    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Return the counts of `loss` from lengths alone; `batch` may be on the CPU."""

    @abstractmethod
    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        """Return one hypothesis per utterance, in order."""

    def flops(self, batch: Batch) -> int:
        """Return floating-point operations of a forward pass: two per weight and valid step."""
        weights = sum(parameter.numel() for parameter in self.parameters())
        frames = batch.features.lengths.tolist()
        return 2 * weights * sum(self.config.steps(length) for length in frames)

    def with_context(self, seconds: float) -> "ASRModel[C]":
        """Return a model of the same weights, shared, that hears `seconds` to either side.

        Raises UserError for one that cannot be limited so.
        """
        raise UserError(
            f"the context of a {type(self).__name__} is what it was built with; found a limit of"
            f" {seconds:g} s; leave it out"
        )

    def decoder(self, decoding: DecodingOptions) -> tuple[str, Decoder]:
        """Return name and module of the decoder that `decoding` asks for.

        Raises UnknownNameError (a LookupError) if the model has none of that name.
        """
        name = decoding.decoder or self.primary
        if name not in self.decoders:
            raise unknown("decoder", name, self.decoders)
        return name, self.decoders[name]

    def forward(
        self,
        features: Float[Tensor, "batch frames mels"],
        lengths: Int[Tensor, " batch"] | None = None,
        tokens: Int[Tensor, "batch tokens"] | None = None,
        token_lengths: Int[Tensor, " batch"] | None = None,
    ) -> ModelOutput:
        """Encode and score; without `lengths` all frames count.

        Without `tokens`, the scores of a decoder that needs them are None.
        """
        if lengths is None:
            batch, frames = features.shape[:2]
            lengths = torch.full((batch,), frames, device=features.device)
        encoded = self.encoder(Sequences(features, lengths))
        return ModelOutput(encoder=encoded, scores=self.scores(encoded, tokens, token_lengths))

    if TYPE_CHECKING:
        __call__ = forward
