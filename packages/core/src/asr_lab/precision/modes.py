"""Names of the precisions, and the answer to "can this machine do it"; torch-free."""

from dataclasses import dataclass
from enum import StrEnum


class PrecisionMode(StrEnum):
    """The precisions of the core; plugins add others under names of their own."""

    FP32 = "fp32"
    TF32 = "tf32"
    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    MXFP8 = "mxfp8"
    MXFP4 = "mxfp4"


@dataclass(frozen=True)
class Support:
    """Whether something can run here, and if not, why."""

    ok: bool
    reason: str = ""
    """What is missing and what works instead; empty if `ok`."""

    def __bool__(self) -> bool:
        """Return `ok`."""
        return self.ok
