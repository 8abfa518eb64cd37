"""Whisper-shaped models; importing a name imports no more than it needs."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.models.whisper.config import WhisperConfig
    from asr_lab.models.whisper.model import WhisperASRModel
else:
    __getattr__ = lazy_attributes(__name__, WhisperASRModel="model", WhisperConfig="config")

__all__ = ["WhisperASRModel", "WhisperConfig"]
