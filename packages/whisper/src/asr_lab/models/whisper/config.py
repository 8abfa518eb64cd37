"""Sizes of the Whisper-shaped models; torch-free."""

from dataclasses import dataclass
from math import prod

from asr_lab.layers.lengths import subsampled
from asr_lab.models.base.config import ModelConfig
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class WhisperConfig(ModelConfig):
    """An encoder-decoder transformer as Whisper's (Radford et al. 2022, arXiv 2212.04356).

    Unlike the original, the encoder takes utterances of any length and sees no padding.
    """

    features: str = "whisper"
    """Feature recipe, by name: nemo, whisper, kaldi or mfcc."""
    dim: int = 512
    """Width of the residual streams of encoder and decoder."""
    heads: int = 8
    """Attention heads of each layer."""
    encoder_layers: int = 6
    """Number of encoder blocks."""
    decoder_layers: int = 6
    """Number of decoder blocks."""
    feedforward: int = 4
    """Width of the feed-forward layers, as a multiple of the residual stream's."""
    strides: tuple[int, ...] = (1, 2)
    """Strides of the convolutions before the encoder, each 1 or 2."""
    positions: int = 448
    """Most tokens of an utterance that the decoder can hold, its start included."""
    dropout: float = 0.1
    """Probability of zeroing an activation, from 0 to below 1."""
    smoothing: float = 0.1
    """Label smoothing of the attention loss: probability spread over all tokens."""
    ctc_weight: float = 0.3
    """Weight of the CTC loss on the encoder, from 0 (no CTC head) to below 1; attention takes
    the rest. It teaches the encoder to keep order, without which little data teach no attention
    (Watanabe et al. 2017)."""

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        if self.dim < 4 or self.dim % 2 or self.heads < 1 or self.dim % self.heads:
            raise UserError(
                f"dim must be even and a multiple of the heads, {self.heads}; got {self.dim}"
            )
        if not self.strides or not set(self.strides) <= {1, 2}:
            raise UserError(f"strides must each be 1 or 2; got {self.strides}")
        for name in ("dropout", "smoothing", "ctc_weight"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', '-')} must be from 0 to below 1")
        for name in ("encoder_layers", "decoder_layers", "feedforward", "positions"):
            if getattr(self, name) < 1:
                raise UserError(f"{name.replace('_', '-')} must be 1 or more")

    @property
    def uses_ctc(self) -> bool:
        """True if there is a CTC head; attention alone takes a text of any length."""
        return self.ctc_weight > 0

    def steps(self, frames: int) -> int:
        """Return the exact number of encoder steps for a number of feature frames."""
        return subsampled(frames, prod(self.strides))

    @classmethod
    def tiny(cls) -> "WhisperConfig":
        """Return 1.47 M parameters with 32 tokens, not the published tiny: learns on a CPU.

        Steps of 40 ms instead of 20 make attention cheap and alignments short.
        """
        return cls(
            dim=128, heads=4, encoder_layers=4, decoder_layers=2, strides=(2, 2), dropout=0.0
        )

    @classmethod
    def base(cls) -> "WhisperConfig":
        """Return the published base size.

        71.83 M parameters with its 51,865 embeddings and without the CTC head; the published
        72.59 M count the 1,500 encoder positions, which are computed here.
        """
        return cls(dim=512, heads=8, encoder_layers=6, decoder_layers=6)

    @classmethod
    def small(cls) -> "WhisperConfig":
        """Return the published small size.

        240.58 M parameters with its 51,865 embeddings and without the CTC head; the published
        241.73 M count the 1,500 encoder positions, which are computed here.
        """
        return cls(dim=768, heads=12, encoder_layers=12, decoder_layers=12)

    @classmethod
    def medium(cls) -> "WhisperConfig":
        """Return the published medium size.

        762.32 M parameters with its 51,865 embeddings and without the CTC head; the published
        763.86 M count the 1,500 encoder positions, which are computed here.
        """
        return cls(dim=1024, heads=16, encoder_layers=24, decoder_layers=24)

    @classmethod
    def large(cls) -> "WhisperConfig":
        """Return the published large size.

        1541.38 M parameters with its 51,865 embeddings and without the CTC head; the published
        1543.30 M count the 1,500 encoder positions, which are computed here.
        """
        return cls(dim=1280, heads=20, encoder_layers=32, decoder_layers=32)
