"""Convolutions that shorten the features before the expensive layers."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers.lengths import causally_subsampled, subsampled
from asr_lab.layers.masking import (
    causally_subsampled_lengths,
    length_mask,
    subsampled_lengths,
)
from asr_lab.layers.taps import by_taps, halving_by_product, halving_by_taps


class ConvSubsampling(nn.Module):
    """Depthwise-separable strided convolutions over time and frequency, then a linear layer.

    As in Fast Conformer (Rekesh et al. 2023, arXiv 2305.05084, section 2.1): a 3x3 convolution of
    stride 2, then a depthwise 3x3 of stride 2 and a pointwise one for every further factor of 2.
    Padding is cleared before every convolution, so that it never reaches an utterance.

    If `causal`, each convolution has two zeros before and one behind, over frequency too, as
    NeMo's causal downsampling has (class CausalConv2D); else one zero on either side.
    """

    def __init__(
        self, *, mels: int, dim: int, factor: int, channels: int, causal: bool = False
    ) -> None:
        """Build for a `factor` that is a power of 2."""
        super().__init__()
        further = factor.bit_length() - 2
        self.mels, self.factor, self.causal = mels, factor, causal
        padding = 0 if causal else 1
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=padding)
        self.depthwise = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, stride=2, padding=padding, groups=channels)
            for _ in range(further)
        )
        self.pointwise = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(further))
        bands = (causally_subsampled if causal else subsampled)(mels, factor)
        self.out = nn.Linear(channels * bands, dim)

    @property
    def before(self) -> int:
        """Zeros before the first frame of each convolution."""
        return 2 if self.causal else 1

    @property
    def reach(self) -> tuple[int, int]:
        """Frames before and behind frame `factor * i` that step i depends on."""
        further = self.factor - 1
        return (2 * further, 0) if self.causal else (further, further)

    def lengths(self, lengths: Int[Tensor, " batch"], factor: int) -> Int[Tensor, " batch"]:
        """Return how many of so many frames are left after halvings that multiply to `factor`."""
        shortened = causally_subsampled_lengths if self.causal else subsampled_lengths
        return shortened(lengths, factor)

    def forward(
        self, features: Float[Tensor, "batch frames mels"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch steps dim"], Int[Tensor, " batch"]]:
        """Shorten `features`, and `lengths` with them."""
        if not features.shape[1]:  # a kernel needs a frame, though it be padding
            features = F.pad(features, (0, 0, 0, 1))
        if by_taps():
            return self.out(self._by_taps(features, lengths)), self.lengths(lengths, self.factor)
        values = F.relu(self._whole(self.first, _clear(features[:, None], lengths)))
        for number, (depthwise, pointwise) in enumerate(
            zip(self.depthwise, self.pointwise, strict=True), start=1
        ):
            values = _clear(values, self.lengths(lengths, 2**number))
            values = F.relu(pointwise(self._whole(depthwise, values)))
        joined = rearrange(values, "batch channels steps mels -> batch steps (channels mels)")
        return self.out(joined), self.lengths(lengths, self.factor)

    def window(
        self,
        frames: Float[Tensor, "batch frames mels"],
        step: Int[Tensor, " batch"],
        lengths: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch steps dim"]:
        """Return the steps that stretches of frames give, as `forward` does for the whole.

        Row i starts at frame `factor * step[i] - reach[0]` of audio with `lengths[i]` frames; what
        it has before the first frame and behind the last means nothing. As many steps come out
        as the stretch has all frames for.
        """
        values, start = frames[:, None], self.factor * step - self.reach[0]
        convolutions = [self.first, *self.depthwise]
        for number, convolution in enumerate(convolutions):
            assert isinstance(convolution, nn.Conv2d)
            values = _clear(values, self.lengths(lengths, 2**number), start)
            start = torch.div(start + self.before, 2, rounding_mode="floor")
            values = _valid(convolution, F.pad(values, (self.before, 1)))
            values = F.relu(self.pointwise[number - 1](values) if number else values)
        joined = rearrange(values, "batch channels steps mels -> batch steps (channels mels)")
        result: Tensor = self.out(joined)
        return result

    def _by_taps(
        self, features: Float[Tensor, "batch frames mels"], lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch steps joined"]:
        """Do what `forward` does before its linear layer, with channels last."""
        values = features[..., None]
        for number, convolution in enumerate([self.first, *self.depthwise]):
            assert isinstance(convolution, nn.Conv2d)
            mask = length_mask(self.lengths(lengths, 2**number), values.shape[1])
            halving = halving_by_taps if number else halving_by_product
            values = halving(
                values.masked_fill(~mask[:, :, None, None], 0),
                convolution.weight,
                convolution.bias,
                before=self.before,
            )
            if number:
                pointwise = self.pointwise[number - 1]
                assert isinstance(pointwise, nn.Conv2d)
                values = F.linear(values, pointwise.weight[:, :, 0, 0], pointwise.bias)
            values = F.relu(values)
        return rearrange(values, "batch steps mels channels -> batch steps (channels mels)")

    def _whole(
        self, convolution: nn.Module, values: Float[Tensor, "batch channels frames mels"]
    ) -> Float[Tensor, "batch out shorter lower"]:
        """Convolve whole utterances."""
        result: Tensor = convolution(F.pad(values, (2, 1, 2, 1)) if self.causal else values)
        return result


def _valid(
    convolution: nn.Conv2d, values: Float[Tensor, "batch channels frames mels"]
) -> Float[Tensor, "batch out shorter lower"]:
    """Convolve without any padding."""
    groups = convolution.groups
    return F.conv2d(values, convolution.weight, convolution.bias, stride=2, groups=groups)


def _clear(
    values: Float[Tensor, "batch channels frames mels"],
    lengths: Int[Tensor, " batch"],
    start: Int[Tensor, " batch"] | None = None,
) -> Float[Tensor, "batch channels frames mels"]:
    """Clear what lies outside utterances; the first frame given is number `start`, else 0."""
    place = torch.arange(values.shape[2], device=values.device)
    if start is not None:
        place = place + start[:, None]
    mask = (place >= 0) & (place < lengths[:, None])
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
