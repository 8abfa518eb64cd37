"""Sizes of the conformers; torch-free."""

from dataclasses import dataclass
from typing import Literal

from asr_lab.layers.lengths import subsampled
from asr_lab.models.base.config import ModelConfig
from asr_lab.utils.errors import UserError

SUBSAMPLING = (4, 8)


@dataclass(frozen=True, kw_only=True)
class ConformerConfig(ModelConfig):
    """A Fast Conformer encoder (Rekesh et al. 2023, arXiv 2305.05084) with a CTC head."""

    dim: int = 256
    """Width of the residual stream."""
    layers: int = 16
    """Number of conformer blocks."""
    heads: int = 4
    """Attention heads of each block."""
    kernel: int = 9
    """Steps that the depthwise convolution sees; odd."""
    feedforward: int = 4
    """Width of the feed-forward layers, as a multiple of the residual stream's."""
    subsampling: int = 8
    """Feature frames per encoder step: 4 or 8."""
    subsampling_channels: int = 256
    """Channels of the convolutions that shorten the input."""
    positions: Literal["rotary", "relative"] = "rotary"
    """How attention knows positions: by rotation, or by learned scores of sinusoidal distances."""
    norm: Literal["layer", "batch"] = "layer"
    """Normalisation inside the convolution module; `batch` couples the utterances of a batch."""
    bias: bool = True
    """Give the linear layers and convolutions of the blocks a bias; the norms have one always."""
    scale_input: bool = False
    """Multiply the subsampled features by the square root of the width."""
    dropout: float = 0.1
    """Probability of zeroing an activation, from 0 to below 1."""
    head: Literal["ctc"] = "ctc"
    """What turns encoder steps into tokens."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        if self.dim < 1 or self.heads < 1 or self.dim % (2 * self.heads):
            raise UserError(
                f"dim must be a multiple of twice the heads, {2 * self.heads}; got {self.dim}"
            )
        if self.subsampling not in SUBSAMPLING:
            raise UserError(f"subsampling must be 4 or 8; got {self.subsampling}")
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise UserError(f"kernel must be odd; got {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout must be from 0 to below 1; got {self.dropout}")
        for name in ("layers", "feedforward", "subsampling_channels"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', '-')} must be 1 or more")

    def steps(self, frames: int) -> int:
        """Return the exact number of encoder steps for a number of feature frames."""
        return subsampled(frames, self.subsampling)

    @classmethod
    def tiny(cls) -> "ConformerConfig":
        """Return 1.05 M parameters with 32 tokens: learns a small domain on a CPU."""
        return cls(
            dim=128,
            layers=4,
            heads=4,
            kernel=9,
            feedforward=2,
            subsampling=4,
            subsampling_channels=16,
            dropout=0.0,
        )

    @classmethod
    def small(cls) -> "ConformerConfig":
        """Return the published small size: 12.78 M parameters with 1024 tokens."""
        return cls._published(dim=176, layers=16, heads=4)

    @classmethod
    def medium(cls) -> "ConformerConfig":
        """Return the published medium size: 26.39 M parameters with 1024 tokens."""
        return cls._published(dim=256, layers=16, heads=4)

    @classmethod
    def large(cls) -> "ConformerConfig":
        """Return the published large size: 109.29 M parameters with 1024 tokens."""
        return cls._published(dim=512, layers=17, heads=8)

    @classmethod
    def large_18(cls) -> "ConformerConfig":
        """Return the large size with 18 layers, as published for CTC: 115.60 M parameters."""
        return cls._published(dim=512, layers=18, heads=8)

    @classmethod
    def xlarge(cls) -> "ConformerConfig":
        """Return the published extra large size: 608.80 M parameters with 1024 tokens."""
        return cls._published(dim=1024, layers=24, heads=8, scale_input=False)

    @classmethod
    def xxlarge(cls) -> "ConformerConfig":
        """Return the published largest size: 1062.4 M parameters with 1024 tokens."""
        return cls._published(dim=1024, layers=42, heads=8, kernel=5, scale_input=False)

    @classmethod
    def fast_conformer(cls) -> "ConformerConfig":
        """Return the architecture most people mean by Fast Conformer: the large size."""
        return cls.large()

    @classmethod
    def _published(
        cls, *, dim: int, layers: int, heads: int, kernel: int = 9, scale_input: bool = True
    ) -> "ConformerConfig":
        return cls(
            dim=dim,
            layers=layers,
            heads=heads,
            kernel=kernel,
            scale_input=scale_input,
            positions="relative",
            norm="batch",
        )
