"""Recognition of audio while it arrives, from samples to text, for any encoder that streams."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asr_lab.audio.online import OnlineFeatures
from asr_lab.audio.recipes import recipe
from asr_lab.decoding.online import online_search
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.model import ASRModel
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import Hypothesis
from asr_lab.models.base.sequences import Sequences
from asr_lab.models.base.state import State
from asr_lab.utils.errors import UserError

C = TypeVar("C", bound=ModelConfig)


class StreamingRecogniser:
    """Turns the samples of a batch of streams into tokens as they come.

    Pieces may be of any size, and streams end when they like. In the end each has the tokens that
    greedy decoding of its whole audio gives under the encoder's masks.
    """

    def __init__(
        self, model: ASRModel[C], *, streams: int = 1, decoding: DecodingOptions | None = None
    ) -> None:
        """Start `streams` of audio at the model's sample rate, on the model's device.

        Raises UserError for a model that does not stream, or is in train mode, and for features
        that need the whole utterance.
        """
        config, decoding = model.config, decoding or DecodingOptions()
        rules = recipe(config.features, config.mels, config.sample_rate)
        device = next(model.parameters()).device
        state = model.encoder.initial_state(streams)
        if state is None:
            raise UserError(
                f"this {type(config).__name__} does not stream: its encoder sees the whole"
                " utterance; use a streaming preset, or weights put into a streaming mode"
            )
        if model.training:
            raise UserError("a model in train mode does not stream; call its eval() first")
        self._features = OnlineFeatures(rules, streams, device)
        self._state: State = state
        _, decoder = model.decoder(decoding)
        self._search = online_search(decoder, streams, decoding, config.vocab)
        self._encoder, self._recipe, self._streams = model.encoder, rules, streams

    @property
    def look_ahead_ms(self) -> float:
        """Audio, in ms, behind the start of an encoder step that the step waits for, at most.

        This is the algorithmic latency: computing comes on top. It is that of the first step of a
        chunk; the last waits for the features' window alone, or with a symmetric subsampling, for
        its own frames too.
        """
        hop, rate = self._recipe.hop_length, self._recipe.sample_rate
        return 1000 * (self._encoder.look_ahead * hop + self._features.look_ahead) / rate

    def push(self, samples: Sequence[Float[Tensor, " _"]]) -> list[Hypothesis]:
        """Take the next samples, in -1 to 1, of each stream; return what is known of each so far.

        A piece may be empty. Raises ValueError for samples of a stream that has ended.
        """
        if len(samples) != self._streams:
            raise ValueError(f"there are {self._streams} streams; got {len(samples)} pieces")
        return self._push(samples, torch.zeros(self._streams, dtype=torch.bool))

    def finish(self, streams: Sequence[int] | None = None) -> list[Hypothesis]:
        """End some streams, by number, or all; return the hypotheses of all, those ended final."""
        ends = torch.zeros(self._streams, dtype=torch.bool)
        ends[list(range(self._streams) if streams is None else streams)] = True
        return self._push([torch.zeros(0)] * self._streams, ends)

    @torch.inference_mode()
    def _push(
        self, samples: Sequence[Float[Tensor, " _"]], ends: Bool[Tensor, " streams"]
    ) -> list[Hypothesis]:
        lengths = torch.tensor([len(piece) for piece in samples], dtype=torch.int64)
        longest = int(lengths.max()) if len(samples) else 0
        padded = torch.zeros(len(samples), longest)
        for row, piece in zip(padded, samples, strict=True):
            row[: len(piece)] = piece
        device = self._features.device
        frames, counts = self._features.push(padded.to(device), lengths, ends)
        if frames.shape[1] or bool(ends.any()):
            if bool(ends.any()):
                self._state = self._encoder.end(self._state, ends.to(device))
            output = self._encoder(Sequences(frames, counts), self._state)
            self._state = output.state
            self._search.push(output)
        return self._search.hypotheses()
