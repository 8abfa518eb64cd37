"""State-space models; importing a name imports no more than it needs."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.models.ssm.config import SSMConfig
    from asr_lab.models.ssm.model import SSMASRModel
else:
    __getattr__ = lazy_attributes(__name__, SSMASRModel="model", SSMConfig="config")

__all__ = ["SSMASRModel", "SSMConfig"]
