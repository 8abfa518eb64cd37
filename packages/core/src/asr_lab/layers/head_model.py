"""What all models share whose encoder steps become tokens by CTC, a transducer or both."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from asr_lab.layers.heads import CTCHead
from asr_lab.layers.transducer import TransducerHead
from asr_lab.losses.cross_entropy import teacher_forcing
from asr_lab.losses.ctc import ctc_loss
from asr_lab.losses.transducer import transducer_loss
from asr_lab.models.base.batch import Batch
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.heads import HeadConfig
from asr_lab.models.base.interfaces import Decoder, Encoder
from asr_lab.models.base.model import ASRModel
from asr_lab.models.base.outputs import EncoderOutput, LossPart, LossParts

C = TypeVar("C", bound=ModelConfig)


class HeadModel(ASRModel[C]):
    """An encoder with the heads that a configuration asks for; a subclass says how it transcribes.

    The primary decoder is the transducer where there is one.
    """

    head: CTCHead | None
    transducer: TransducerHead | None

    def __init__(self, config: C, encoder: Encoder, dim: int, heads: HeadConfig) -> None:
        """Put the heads that `heads` describes on an `encoder` of `dim` channels."""
        super().__init__(config)
        self.heads = heads
        self.encoder = encoder
        self.head = CTCHead(dim, config.vocab) if heads.uses_ctc else None
        self.transducer = make_transducer(heads, dim, config.vocab) if heads.transducer else None
        self.primary = heads.transducer or "ctc"
        self.fits_cuda_graph = self.transducer is None

    @property
    def decoders(self) -> Mapping[str, Decoder]:
        """The decoders: `rnnt` or `tdt`, and `ctc`, those that there are."""
        decoders = {self.heads.transducer: self.transducer, "ctc": self.head}
        return {name: decoder for name, decoder in decoders.items() if decoder is not None}

    def scores(
        self,
        encoder_output: EncoderOutput,
        tokens: Int[Tensor, "batch tokens"] | None,
        token_lengths: Int[Tensor, " batch"] | None,
    ) -> Mapping[str, Float[Tensor, "batch steps *scores"] | None]:
        """Return log probabilities: of CTC by step, of a transducer by step and number of tokens.

        Those of a token-and-duration transducer end with those of the durations.
        """
        scores: dict[str, Tensor | None] = {}
        if self.transducer is not None:
            scores[self.primary] = None
            if tokens is not None:
                if token_lengths is None:
                    token_lengths = torch.full_like(tokens[:, 0], tokens.shape[1])
                projected = self.transducer.project(encoder_output.sequences.values)
                predicted = self._predict(self.transducer, tokens, token_lengths)
                scores[self.primary] = self.transducer.log_probs(projected, predicted)
        if self.head is not None:
            scores["ctc"] = self.head.log_probs(encoder_output)
        return scores

    def loss(self, batch: Batch) -> LossParts:
        """Return the loss of every head in nats, by utterances."""
        encoded, heads = self.encoder(batch.features), self.heads
        lengths = encoded.sequences.lengths
        parts: dict[str, LossPart] = {}
        if self.transducer is not None:
            parts[self.primary] = transducer_loss(
                self.transducer.project(encoded.sequences.values),
                self._predict(self.transducer, batch.tokens, batch.token_lengths),
                self.transducer.out.weight,
                self.transducer.out.bias,
                lengths,
                batch.tokens,
                batch.token_lengths,
                blank_id=self.config.blank_id,
                valid=batch.valid,
                activation=heads.joint_activation,
                durations=self.transducer.durations,
                sigma=heads.sigma if self.transducer.durations else 0.0,
                fast_emit=heads.fast_emit,
                gradient_bound=heads.gradient_bound,
                part_weight=1.0 if self.head is None else 1 - heads.ctc_weight,
            )
        if self.head is not None:
            parts["ctc"] = ctc_loss(
                self.head.logits(encoded),
                lengths,
                batch.tokens,
                batch.token_lengths,
                blank_id=self.config.blank_id,
                valid=batch.valid,
                weight=1.0 if self.transducer is None else heads.ctc_weight,
            )
        return parts

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Return the number of valid utterances, for every head."""
        return dict.fromkeys(self.decoders, int(batch.valid.sum()))

    def _predict(
        self,
        transducer: TransducerHead,
        tokens: Int[Tensor, "batch tokens"],
        token_lengths: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch positions hidden"]:
        """Return the prediction before each token, and behind the last."""
        blank = transducer.blank_id
        inputs, _, _ = teacher_forcing(tokens, token_lengths, start_id=blank, end_id=blank)
        return transducer.predict(inputs)[0]


def make_transducer(heads: HeadConfig, dim: int, vocab: int) -> TransducerHead:
    """Return the transducer that `heads` describes."""
    return TransducerHead(
        dim,
        vocab,
        predictor_dim=heads.predictor_dim,
        predictor_layers=heads.predictor_layers,
        joint_dim=heads.joint_dim,
        activation=heads.joint_activation,
        durations=heads.durations if heads.transducer == "tdt" else (),
        dropout=heads.head_dropout,
    )
