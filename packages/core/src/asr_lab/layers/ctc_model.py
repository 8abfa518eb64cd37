"""What all models with one encoder and one CTC head share."""

from typing import TypeVar

from asr_lab.layers.head_model import HeadModel
from asr_lab.layers.heads import CTCHead
from asr_lab.models.base.config import ModelConfig
from asr_lab.models.base.heads import HeadConfig
from asr_lab.models.base.interfaces import Encoder

C = TypeVar("C", bound=ModelConfig)


class CTCModel(HeadModel[C]):
    """An encoder with a CTC head and nothing to choose; a subclass says how it transcribes."""

    head: CTCHead

    def __init__(self, config: C, encoder: Encoder, dim: int) -> None:
        """Put a head on an `encoder` of `dim` channels."""
        super().__init__(config, encoder, dim, HeadConfig(vocab=config.vocab, head="ctc"))
