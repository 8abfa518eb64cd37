"""Numeric precisions: what a machine can run, and how a step runs in each."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes
from asr_lab.precision.modes import PrecisionMode, Support

if TYPE_CHECKING:
    from asr_lab.precision.manager import PrecisionManager
    from asr_lab.precision.registry import get_precision_manager, support
else:
    __getattr__ = lazy_attributes(
        __name__,
        PrecisionManager="manager",
        get_precision_manager="registry",
        support="registry",
    )

__all__ = ["PrecisionManager", "PrecisionMode", "Support", "get_precision_manager", "support"]
