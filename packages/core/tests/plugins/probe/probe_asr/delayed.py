"""A precision that computes with what earlier steps left behind, or says so."""

from asr_lab.precision.manager import PrecisionManager


class DelayedManager(PrecisionManager):
    """FP32 that claims a history."""

    name = "delayed"
    has_history = True
