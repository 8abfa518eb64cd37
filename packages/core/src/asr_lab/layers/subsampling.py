"""Convolutions that shorten the features before the expensive layers."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers.lengths import subsampled
from asr_lab.layers.masking import length_mask, subsampled_lengths


class ConvSubsampling(nn.Module):
    """Depthwise-separable strided convolutions over time and frequency, then a linear layer.

    As in Fast Conformer (Rekesh et al. 2023, arXiv 2305.05084, section 2.1): a 3x3 convolution of
    stride 2, then a depthwise 3x3 of stride 2 and a pointwise one for every further factor of 2.
    Padding is cleared before every convolution, so that it never reaches an utterance.
    """

    def __init__(self, *, mels: int, dim: int, factor: int, channels: int) -> None:
        """Build for a `factor` that is a power of 2."""
        super().__init__()
        further = factor.bit_length() - 2
        self.factor = factor
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.depthwise = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels)
            for _ in range(further)
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(further))
        self.out = nn.Linear(channels * subsampled(mels, factor), dim)

    def forward(
        self, features: Float[Tensor, "batch frames mels"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch steps dim"], Int[Tensor, " batch"]]:
        """Shorten `features`, and `lengths` with them."""
        values = F.relu(self.first(_clear(features[:, None], lengths)))
        for number, (depthwise, pointwise) in enumerate(
            zip(self.depthwise, self.pointwise, strict=True), start=1
        ):
            values = _clear(values, subsampled_lengths(lengths, 2**number))
            values = F.relu(pointwise(depthwise(values)))
        joined = rearrange(values, "batch channels steps mels -> batch steps (channels mels)")
        return self.out(joined), subsampled_lengths(lengths, self.factor)


def _clear(
    values: Float[Tensor, "batch channels frames mels"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch channels frames mels"]:
    mask = length_mask(lengths, values.shape[2])
    return values.masked_fill(~mask[:, None, :, None], 0)


class StridedConvolutions(nn.Module):
    """Convolutions over time with kernels of three frames and GELU, as Whisper's stem.

    Radford et al. 2022 (arXiv 2212.04356, section 2.2) use strides of 1 and 2.
    """

    def __init__(self, *, mels: int, dim: int, strides: tuple[int, ...]) -> None:
        """Build one convolution per stride, each of which is 1 or 2."""
        super().__init__()
        widths = [mels] + [dim] * len(strides)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, dim, 3, stride=stride, padding=1)
            for width, stride in zip(widths, strides, strict=False)
        )
        self.strides = strides

    def forward(
        self, features: Float[Tensor, "batch frames mels"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch steps dim"], Int[Tensor, " batch"]]:
        """Shorten `features`, and `lengths` with them."""
        values = features.transpose(1, 2)
        for convolution, stride in zip(self.convolutions, self.strides, strict=True):
            mask = length_mask(lengths, values.shape[2])
            values = F.gelu(convolution(values.masked_fill(~mask[:, None], 0)))
            lengths = subsampled_lengths(lengths, stride)
        return torch.transpose(values, 1, 2), lengths
