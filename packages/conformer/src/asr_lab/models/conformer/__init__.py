"""Fast Conformer models; importing a name imports no more than it needs."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.models.conformer.config import ConformerConfig
    from asr_lab.models.conformer.model import ConformerASRModel, put_in_streaming_mode
else:
    __getattr__ = lazy_attributes(
        __name__,
        ConformerASRModel="model",
        ConformerConfig="config",
        put_in_streaming_mode="model",
    )

__all__ = ["ConformerASRModel", "ConformerConfig", "put_in_streaming_mode"]
