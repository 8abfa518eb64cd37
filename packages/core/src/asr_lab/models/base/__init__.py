"""The interfaces every model is written against; importing a name imports no more than it needs."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.models.base.batch import Batch
    from asr_lab.models.base.config import ModelConfig
    from asr_lab.models.base.heads import HeadConfig
    from asr_lab.models.base.interfaces import (
        AttentionDecoder,
        CTCDecoder,
        Decoder,
        Encoder,
        TransducerDecoder,
    )
    from asr_lab.models.base.model import ASRModel
    from asr_lab.models.base.options import DecodingOptions
    from asr_lab.models.base.outputs import (
        EncoderOutput,
        Hypothesis,
        LossPart,
        LossParts,
        ModelOutput,
    )
    from asr_lab.models.base.sequences import Sequences
    from asr_lab.models.base.state import State, put_state, select_state
else:
    __getattr__ = lazy_attributes(
        __name__,
        ASRModel="model",
        AttentionDecoder="interfaces",
        Batch="batch",
        CTCDecoder="interfaces",
        Decoder="interfaces",
        DecodingOptions="options",
        Encoder="interfaces",
        EncoderOutput="outputs",
        HeadConfig="heads",
        Hypothesis="outputs",
        LossPart="outputs",
        LossParts="outputs",
        ModelConfig="config",
        ModelOutput="outputs",
        Sequences="sequences",
        State="state",
        TransducerDecoder="interfaces",
        put_state="state",
        select_state="state",
    )

__all__ = [
    "ASRModel",
    "AttentionDecoder",
    "Batch",
    "CTCDecoder",
    "Decoder",
    "DecodingOptions",
    "Encoder",
    "EncoderOutput",
    "HeadConfig",
    "Hypothesis",
    "LossPart",
    "LossParts",
    "ModelConfig",
    "ModelOutput",
    "Sequences",
    "State",
    "TransducerDecoder",
    "put_state",
    "select_state",
]
