"""Encoders and decoders: trained modules that score; searching is `asr_lab.decoding`'s work."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from asr_lab.models.base.outputs import EncoderOutput
from asr_lab.models.base.sequences import Sequences
from asr_lab.models.base.state import State


class Encoder(nn.Module, ABC):
    """Turns features into a shorter sequence of vectors."""

    look_ahead: int = 0
    """Frames behind the one that a step starts at that must have come before a stream gives the
    step out, at most."""

    @abstractmethod
    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        """Encode; an utterance's output depends on neither padding nor batch mates.

        With a `state`, `features` are what each stream goes on with, none or any number of
        frames; the output is the steps that are now finished, and the state after them. Over all
        calls, a stream's steps are those of its whole audio encoded without a state.
        """

    def initial_state(self, batch: int) -> State:
        """Return the state at the start of `batch` streams; None for one that does not stream."""
        return None

    def end(self, state: State, streams: Bool[Tensor, " batch"]) -> State:
        """Return the state in which `streams` end with the next call, which finishes their steps.

        No frames may follow for them after that call.
        """
        raise NotImplementedError(f"{type(self).__name__} does not stream")

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
    """Scores tokens given an encoder step and the tokens emitted before.

    A prediction network and a joint network (Graves 2012, arXiv 1211.3711). Both sides are brought
    to the joint's width once, by `project` and `predict`; `joint` combines every pair.
    """

    blank_id: int
    """Index of the blank's score; as a token, it stands for the start of an utterance."""
    durations: tuple[int, ...] = ()
    """Durations in encoder steps that a token-and-duration transducer predicts; empty for RNN-T."""

    @abstractmethod
    def project(
        self, encoder_steps: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps hidden"]:
        """Return the encoder's part of the joint, before its activation."""

    @abstractmethod
    def predict(
        self, tokens: Int[Tensor, "batch tokens"], state: State
    ) -> tuple[Float[Tensor, "batch tokens hidden"], State]:
        """Return the prediction network's part of the joint after each token, and the new state.

        `state` is None at the start, where the first token is `blank_id`.
        """

    @abstractmethod
    def joint(
        self,
        projected: Float[Tensor, "batch steps hidden"],
        predicted: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        """Return FP32 logits of every pair: vocab + 1 entries, then one for each duration."""


class AttentionDecoder(Decoder, ABC):
    """Scores the next token given the whole encoder output and the tokens before."""

    start_id: int
    """Id fed to the decoder before the first token; it need not be one of the tokenizer's."""
    end_id: int
    """Index of the score that ends an utterance; it need not be one of the tokenizer's."""
    capacity: int | None = None
    """Most tokens that it can take in, start included; None for any number."""

    @abstractmethod
    def step(
        self, tokens: Int[Tensor, " batch"], state: State, encoder_output: EncoderOutput
    ) -> tuple[Float[Tensor, "batch scores"], State]:
        """Return FP32 log probabilities of the next token after `tokens`, and the new state.

        `state` is None at the start. Entry i of the batch attends entry i of `encoder_output`.
        """
