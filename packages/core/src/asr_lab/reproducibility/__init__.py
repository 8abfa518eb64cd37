"""What makes a run repeatable, and what proves it: seeds, digests, environment, record.

`deterministic`, `environment`, `hash` and `seeding` are modules; import their functions from them.
"""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes
from asr_lab.reproducibility.keys import derive_key
from asr_lab.reproducibility.record import RunRecord

if TYPE_CHECKING:
    from asr_lab.reproducibility.hash import (
        config_digest,
        model_digest,
        state_digest,
        tensor_digest,
    )
else:
    __getattr__ = lazy_attributes(
        __name__,
        config_digest="hash",
        model_digest="hash",
        state_digest="hash",
        tensor_digest="hash",
    )

__all__ = [
    "RunRecord",
    "config_digest",
    "derive_key",
    "model_digest",
    "state_digest",
    "tensor_digest",
]
