"""Layers that several architectures share; all of them respect the lengths of their input."""

from typing import TYPE_CHECKING

from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.layers.attention import RelativeAttention, RotaryAttention
    from asr_lab.layers.convolution import ConvolutionModule
    from asr_lab.layers.ctc_model import CTCModel
    from asr_lab.layers.feedforward import FeedForward
    from asr_lab.layers.head_model import HeadModel
    from asr_lab.layers.heads import CTCHead
    from asr_lab.layers.lengths import subsampled
    from asr_lab.layers.masking import clear_padding, length_mask
    from asr_lab.layers.norms import LayerNorm, MaskedBatchNorm, RMSNorm
    from asr_lab.layers.subsampling import ConvSubsampling, StridedConvolutions
    from asr_lab.layers.transducer import TransducerHead
else:
    __getattr__ = lazy_attributes(
        __name__,
        CTCHead="heads",
        CTCModel="ctc_model",
        ConvSubsampling="subsampling",
        ConvolutionModule="convolution",
        FeedForward="feedforward",
        HeadModel="head_model",
        LayerNorm="norms",
        MaskedBatchNorm="norms",
        RMSNorm="norms",
        RelativeAttention="attention",
        RotaryAttention="attention",
        StridedConvolutions="subsampling",
        TransducerHead="transducer",
        clear_padding="masking",
        length_mask="masking",
        subsampled="lengths",
    )

__all__ = [
    "CTCHead",
    "CTCModel",
    "ConvSubsampling",
    "ConvolutionModule",
    "FeedForward",
    "HeadModel",
    "LayerNorm",
    "MaskedBatchNorm",
    "RMSNorm",
    "RelativeAttention",
    "RotaryAttention",
    "StridedConvolutions",
    "TransducerHead",
    "clear_padding",
    "length_mask",
    "subsampled",
]
