"""Training: the trainer, its settings, and the precisions and data sets it works with."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes
from asr_lab.training.config import DataConfig, RunConfig, TrainConfig

if TYPE_CHECKING:
    from asr_lab.precision import PrecisionManager, PrecisionMode, get_precision_manager, support
    from asr_lab.training.trainer import FitResult, Interrupted, Trainer
else:
    __getattr__ = lazy_attributes(
        __name__,
        FitResult="trainer",
        Interrupted="trainer",
        PrecisionManager="precision",
        PrecisionMode="precision",
        Trainer="trainer",
        get_precision_manager="precision",
        support="precision",
    )

__all__ = [
    "DataConfig",
    "FitResult",
    "Interrupted",
    "PrecisionManager",
    "PrecisionMode",
    "RunConfig",
    "TrainConfig",
    "Trainer",
    "get_precision_manager",
    "support",
]
