"""What all models with one encoder and one CTC head share."""

from collections.abc import Mapping
from typing import TypeVar

from jaxtyping import Float, Int
from torch import Tensor

from asr_lab.layers.heads import CTCHead
from asr_lab.losses.ctc import ctc_loss
from asr_lab.models.base.batch import Batch
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.interfaces import Decoder, Encoder
from asr_lab.models.base.model import ASRModel
from asr_lab.models.base.outputs import EncoderOutput, LossParts

C = TypeVar("C", bound=ModelConfig)


class CTCModel(ASRModel[C]):
    """An encoder with a CTC head; a subclass says how it transcribes."""

    primary = "ctc"

    def __init__(self, config: C, encoder: Encoder, dim: int) -> None:
        """Put a head on an `encoder` of `dim` channels."""
        super().__init__(config)
        self.encoder = encoder
        self.head = CTCHead(dim, config.vocab)

    @property
    def decoders(self) -> Mapping[str, Decoder]:
        """The one decoder, `ctc`."""
        return {"ctc": self.head}

    def scores(
        self,
        encoder_output: EncoderOutput,
        tokens: Int[Tensor, "batch tokens"] | None,
        token_lengths: Int[Tensor, " batch"] | None,
    ) -> Mapping[str, Float[Tensor, "batch steps scores"] | None]:
        """Return log probabilities; the tokens are not needed."""
        return {"ctc": self.head.log_probs(encoder_output)}

    def loss(self, batch: Batch) -> LossParts:
        """Return the CTC loss in nats, by utterances."""
        encoded = self.encoder(batch.features)
        part = ctc_loss(
            self.head.log_probs(encoded),
            encoded.sequences.lengths,
            batch.tokens,
            batch.token_lengths,
            blank_id=self.config.blank_id,
            valid=batch.valid,
        )
        return {"ctc": part}

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        """Return the number of valid utterances."""
        return {"ctc": int(batch.valid.sum())}
