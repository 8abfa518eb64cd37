"""Sizes of the state-space models; torch-free."""

from dataclasses import dataclass

from asr_lab.layers.lengths import subsampled
from asr_lab.models.base.heads import HeadConfig
from asr_lab.utils.errors import UserError

SUBSAMPLING = (4, 8)


@dataclass(frozen=True, kw_only=True)
class SSMConfig(HeadConfig):
    """A bidirectional Mamba-2 encoder (Dao and Gu 2024, arXiv 2405.21060), a choice of heads."""

    dim: int = 256
    """Width of the residual stream."""
    layers: int = 12
    """Number of blocks, each a state-space mixer and a feed-forward."""
    state: int = 64
    """Size of the state that each channel carries along the utterance."""
    head_dim: int = 64
    """Channels of the mixer that share one decay."""
    expand: int = 2
    """Width of the mixer, as a multiple of the residual stream's."""
    kernel: int = 4
    """Steps that the causal convolution before each scan sees."""
    feedforward: int = 4
    """Width of the feed-forward layers, as a multiple of the residual stream's."""
    chunk: int = 128
    """Steps that the scan treats at once; changes speed and memory, not the result."""
    subsampling: int = 8
    """Feature frames per encoder step: 4 or 8."""
    subsampling_channels: int = 256
    """Channels of the convolutions that shorten the input."""
    dropout: float = 0.1
    """Probability of zeroing an activation, from 0 to below 1."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        super().__post_init__()
        if self.head_dim < 1 or (self.expand * self.dim) % self.head_dim:
            raise UserError(
                f"expand times dim must be a multiple of head-dim, {self.head_dim}; "
                f"got {self.expand * self.dim}"
            )
        if self.subsampling not in SUBSAMPLING:
            raise UserError(f"subsampling must be 4 or 8; got {self.subsampling}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be from 0 to below 1; got {self.dropout}")
        sizes = ("dim", "layers", "state", "expand", "kernel", "feedforward", "chunk")
        for name in (*sizes, "subsampling_channels"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', '-')} must be 1 or more")

    def steps(self, frames: int) -> int:
        """Return the exact number of encoder steps for a number of feature frames."""
        return subsampled(frames, self.subsampling)

    @classmethod
    def tiny(cls) -> "SSMConfig":
        """Return 0.9 M parameters with CTC and 32 tokens: learns a small domain on a CPU."""
        return cls(
            dim=128,
            layers=5,
            state=32,
            head_dim=32,
            feedforward=2,
            subsampling=4,
            subsampling_channels=16,
            dropout=0.0,
            predictor_dim=128,
            joint_dim=128,
            head_dropout=0.0,
        )

    @classmethod
    def small(cls) -> "SSMConfig":
        """Return 13 M parameters with CTC and 1024 tokens."""
        return cls(dim=256, layers=12, predictor_dim=320, joint_dim=320)

    @classmethod
    def base(cls) -> "SSMConfig":
        """Return 31 M parameters with CTC and 1024 tokens."""
        return cls(dim=384, layers=14)

    @classmethod
    def large(cls) -> "SSMConfig":
        """Return 109 M parameters with CTC and 1024 tokens."""
        return cls(dim=512, layers=28, state=128)
