"""Sizes of the conformers; torch-free."""

from dataclasses import dataclass
from typing import Literal

from asr_lab.layers.lengths import causally_subsampled, subsampled
from asr_lab.models.base.heads import HeadConfig
from asr_lab.utils.errors import UserError

SUBSAMPLING = (4, 8)


@dataclass(frozen=True, kw_only=True)
class ConformerConfig(HeadConfig):
    """A Fast Conformer encoder (Rekesh et al. 2023, arXiv 2305.05084) with a choice of heads.

    A preset is sizes, its prediction and joint network included; `head` chooses what is built.
    """

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
    """How attention knows positions: by rotation, or by learned scores of sinusoidal distances,
    which cost dim * (dim + 2) parameters a layer."""
    attention: Literal["full", "local", "chunked"] = "full"
    """What a step attends: the whole utterance, or the steps within `left_context` and
    `right_context`, for which memory grows with the length and not with its square; or its chunk of
    `chunk` steps and the `left_context` before it, which can stream."""
    left_context: int = 128
    """Encoder steps to the left that local attention sees, or before its chunk, chunked."""
    right_context: int = 128
    """Encoder steps to the right that local attention sees."""
    chunk: int = 14
    """Encoder steps of a chunk: a stream gives out as many at once, the first of which looks ahead
    to the last."""
    chunks: tuple[int, ...] = ()
    """Sizes of chunks from which training draws one for each batch, so that a stream may have any
    of them; empty for `chunk` alone."""
    causal_convolution: bool = False
    """Let the convolution of a block see the steps before alone; needed to stream."""
    causal_subsampling: bool = False
    """Let a step look ahead of its first feature frame by none, not by `subsampling - 1`; as
    NeMo's `causal_downsampling`, with a larger layer behind it."""
    norm: Literal["layer", "batch"] = "layer"
    """Normalisation inside the convolution module; `batch` couples the utterances of a batch."""
    freeze_statistics: bool = False
    """Normalise by the running statistics of batch norm in training too, and leave them as they
    are: for fine-tuning, where a batch is small or its speech another than the statistics'."""
    bias: bool = True
    """Give the linear layers and convolutions of the blocks a bias; the norms have one always."""
    scale_input: bool = False
    """Multiply the subsampled features by the square root of the width."""
    dropout: float = 0.1
    """Probability of zeroing an activation, from 0 to below 1."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        super().__post_init__()
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
        for name in ("left_context", "right_context"):
            if getattr(self, name) < 0:
                raise UserError(f"{name.replace('_', '-')} must be 0 or more")
        if least := [size for size in (self.chunk, *self.chunks) if size < 1]:
            raise UserError(f"chunks must be of 1 step or more; got {least[0]}")
        if self.chunks and self.attention != "chunked":
            raise UserError(f"chunks need attention chunked; got {self.attention}")

    @property
    def context(self) -> tuple[int, int] | None:
        """Steps to the left and right that local attention sees; None if it is not local."""
        return (self.left_context, self.right_context) if self.attention == "local" else None

    @property
    def streams(self) -> bool:
        """True if no step depends on what comes after its chunk."""
        return self.attention == "chunked" and self.causal_convolution

    def steps(self, frames: int) -> int:
        """Return the exact number of encoder steps for a number of feature frames."""
        shortened = causally_subsampled if self.causal_subsampling else subsampled
        return shortened(frames, self.subsampling)

    @classmethod
    def tiny(cls) -> "ConformerConfig":
        """Return 1.05 M parameters with CTC and 32 tokens: learns a small domain on a CPU.

        1.22 M with RNN-T.
        """
        return cls(
            dim=128,
            layers=4,
            heads=4,
            kernel=9,
            feedforward=2,
            subsampling=4,
            subsampling_channels=16,
            dropout=0.0,
            predictor_dim=128,
            joint_dim=128,
            head_dropout=0.0,
        )

    @classmethod
    def small(cls) -> "ConformerConfig":
        """Return the published small size: with 1024 tokens 12.78 M parameters (CTC).

        14.24 M with RNN-T; rotary positions make it 12.28 M and 13.74 M.
        """
        return cls._published(dim=176, layers=16, heads=4, predictor_dim=320)

    @classmethod
    def medium(cls) -> "ConformerConfig":
        """Return the published medium size: with 1024 tokens 26.39 M parameters (CTC).

        31.30 M with RNN-T; rotary positions make it 25.34 M and 30.24 M.
        """
        return cls._published(dim=256, layers=16, heads=4)

    @classmethod
    def large(cls) -> "ConformerConfig":
        """Return the published large size: with 1024 tokens 109.29 M parameters (CTC).

        114.10 M with RNN-T; rotary positions make it 104.81 M and 109.62 M.
        """
        return cls._published(dim=512, layers=17, heads=8)

    @classmethod
    def large_18(cls) -> "ConformerConfig":
        """Return the large size with 18 layers, as published for CTC: 115.60 M parameters.

        120.41 M with RNN-T; rotary positions make it 110.86 M and 115.67 M.
        """
        return cls._published(dim=512, layers=18, heads=8)

    @classmethod
    def xlarge(cls) -> "ConformerConfig":
        """Return the published extra large size: with 1024 tokens 608.80 M parameters (CTC).

        616.69 M with RNN-T; rotary positions make it 583.58 M and 591.48 M.
        """
        return cls._published(dim=1024, layers=24, heads=8, predictor_layers=2, scale_input=False)

    @classmethod
    def xxlarge(cls) -> "ConformerConfig":
        """Return the published largest size: with 1024 tokens 1062.37 M parameters (CTC).

        1070.26 M with RNN-T; rotary positions make it 1018.24 M and 1026.13 M.
        """
        return cls._published(
            dim=1024, layers=42, heads=8, kernel=5, predictor_layers=2, scale_input=False
        )

    @classmethod
    def fast_conformer(cls) -> "ConformerConfig":
        """Return the architecture most people mean by Fast Conformer: the large size."""
        return cls.large()

    @classmethod
    def streaming(cls) -> "ConformerConfig":
        """Return a small size that streams: with 1024 tokens 12.33 M parameters (CTC).

        It is trained for a look-ahead of 0, 80, 480 and 1040 ms, and 5.6 s of past, as NeMo's
        streaming models of several look-aheads are.
        """
        return cls(
            dim=176,
            layers=16,
            heads=4,
            predictor_dim=320,
            joint_dim=320,
            features="nemo_plain",
            attention="chunked",
            left_context=70,
            chunk=14,
            chunks=(1, 2, 7, 14),
            causal_convolution=True,
            causal_subsampling=True,
        )

    @classmethod
    def _published(
        cls,
        *,
        dim: int,
        layers: int,
        heads: int,
        kernel: int = 9,
        predictor_dim: int = 640,
        predictor_layers: int = 1,
        scale_input: bool = True,
    ) -> "ConformerConfig":
        return cls(
            dim=dim,
            layers=layers,
            heads=heads,
            kernel=kernel,
            predictor_dim=predictor_dim,
            predictor_layers=predictor_layers,
            joint_dim=predictor_dim,
            scale_input=scale_input,
            positions="relative",
            norm="batch",
        )
