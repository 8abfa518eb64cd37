"""Encoders and decoders: trained modules that score; searching is `asr_lab.decoding`'s work."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.models.base.outputs import EncoderOutput
from asr_lab.models.base.sequences import Sequences
from asr_lab.models.base.state import State


class Encoder(nn.Module, ABC):
    """Turns features into a shorter sequence of vectors."""

    @abstractmethod
    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode; an utterance's output depends on neither padding nor batch mates."""

    def initial_state(self, batch: int) -> State:
        """Return the state at the start of `batch` streams; None for one that does not stream."""
        return None

    if TYPE_CHECKING:
        __call__ = forward


class Decoder(nn.Module):
    """A module that scores tokens given an encoder's output."""


class CTCDecoder(Decoder, ABC):
    """Scores every token and the blank at every encoder step."""

    @abstractmethod
    def log_probs(self, encoder_output: EncoderOutput) -> Float[Tensor, "batch steps tokens"]:
        """Return FP32 log probabilities over vocab + 1 entries, the blank last."""


class TransducerDecoder(Decoder, ABC):
    """Scores tokens given an encoder step and the tokens emitted before."""

    durations: tuple[int, ...] = ()
    """Durations in encoder steps that a token-and-duration transducer predicts; empty for RNN-T."""

    @abstractmethod
    def predict(
        self, tokens: Int[Tensor, "batch tokens"], state: State
    ) -> tuple[Float[Tensor, "batch tokens dim"], State]:
        """Run the prediction network over `tokens`, starting from `state` (None at the start)."""

    @abstractmethod
    def joint(
        self,
        encoder_steps: Float[Tensor, "batch steps dim"],
        predictor_steps: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        """Return logits over vocab + 1 entries (and the durations) for every pair."""


class AttentionDecoder(Decoder, ABC):
    """Scores the next token given the whole encoder output and the tokens before."""

    start_id: int
    """Id fed to the decoder before the first token; it need not be one of the tokenizer's."""
    end_id: int
    """Index of the score that ends an utterance; it need not be one of the tokenizer's."""

    @abstractmethod
    def step(
        self, tokens: Int[Tensor, " batch"], state: State, encoder_output: EncoderOutput
    ) -> tuple[Float[Tensor, "batch scores"], State]:
        """Return FP32 log probabilities of the next token after `tokens`, and the new state.

        `state` is None at the start. Entry i of the batch attends entry i of `encoder_output`.
        """
