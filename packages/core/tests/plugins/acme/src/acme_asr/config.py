"""Sizes of the model; imports no torch."""

from dataclasses import dataclass

from asr_lab.models.base import ModelConfig


@dataclass(frozen=True, kw_only=True)
class WhistleConfig(ModelConfig):
    """Two convolutions and a CTC head."""

    dim: int = 64
    """Channels of the convolutions."""

    def __post_init__(self) -> None:
        """Refuse sizes that make no model."""
        if self.dim < 1:
            raise ValueError(f"dim must be 1 or more; got {self.dim}")

    def steps(self, frames: int) -> int:
        """Return the number of encoder steps: half the frames, rounded up."""
        return (frames + 1) // 2

    @classmethod
    def tiny(cls) -> "WhistleConfig":
        """Return a model that learns whistled letters in seconds on a CPU."""
        return cls(dim=32, mels=40)
