"""The precisions, where trainers look for them; they live in `asr_lab.precision`."""

from asr_lab.precision.manager import (
    BF16Manager,
    FP16Manager,
    PrecisionManager,
    TF32Manager,
)
from asr_lab.precision.modes import PrecisionMode, Support
from asr_lab.precision.registry import get_precision_manager, support

__all__ = [
    "BF16Manager",
    "FP16Manager",
    "PrecisionManager",
    "PrecisionMode",
    "Support",
    "TF32Manager",
    "get_precision_manager",
    "support",
]
