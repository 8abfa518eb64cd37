"""FP32 that stops at a loss that is not finite."""

import torch
from torch import Tensor

from asr_lab.precision import PrecisionManager, Support


class DoubleCheckManager(PrecisionManager):
    """FP32 that refuses a loss that is not finite."""

    name = "double-check"

    @classmethod
    def support(cls, device: torch.device) -> Support:
        """Say that it runs on the CPU only."""
        if device.type == "cpu":
            return Support(True)
        return Support(False, f"{cls.name} runs on the CPU only; use --device cpu")

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss`. Raises FloatingPointError if it is not finite."""
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()}")
        super().backward(loss)
