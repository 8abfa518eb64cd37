"""Sizes of the model; imports no torch."""

from dataclasses import dataclass

from asr_lab.models.base import ModelConfig


@dataclass(frozen=True, kw_only=True)
class ProbeConfig(ModelConfig):
    """A convolution, dropout and a CTC head."""

    dim: int = 24
    """Channels."""
    dropout: float = 0.1
    """Probability of zeroing an activation."""
    poison: int = 0
    """Training pass (from 1) whose loss is not finite; -1 for all of them, 0 for none."""
    follow: bool = True
    """Follow the level of the features in a running statistic."""
    coupled: bool = False
    """Say that utterances see each other."""
    put: bool = False
    """Use an operation that has no deterministic kernel."""
    ctc: bool = True
    """False makes it say that it needs no alignment; it has a CTC head all the same."""

    @property
    def uses_ctc(self) -> bool:
        """True if texts must fit into the encoder steps."""
        return self.ctc

    def steps(self, frames: int) -> int:
        """Return the number of encoder steps: a quarter of the frames, rounded up."""
        return -(-frames // 4)

    @classmethod
    def tiny(cls) -> "ProbeConfig":
        """Return a model that takes a step in milliseconds."""
        return cls(mels=24)
