"""What makes a run repeatable, and what proves it: seeds, digests, environment, record."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes
from asr_lab.reproducibility.environment import environment, environment_changes
from asr_lab.reproducibility.keys import derive_key
from asr_lab.reproducibility.record import RunRecord

if TYPE_CHECKING:
    from asr_lab.reproducibility.deterministic import deterministic
    from asr_lab.reproducibility.hash import config_digest, state_digest, tensor_digest
else:
    __getattr__ = lazy_attributes(
        __name__,
        config_digest="hash",
        deterministic="deterministic",
        state_digest="hash",
        tensor_digest="hash",
    )

__all__ = [
    "RunRecord",
    "config_digest",
    "derive_key",
    "deterministic",
    "environment",
    "environment_changes",
    "state_digest",
    "tensor_digest",
]
