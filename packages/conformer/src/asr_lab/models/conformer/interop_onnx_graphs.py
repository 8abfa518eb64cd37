"""What each ONNX file of a Fast Conformer computes: its parts, as functions of tensors alone."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from asr_lab.layers.attention import RelativeAttention, RotaryAttention
from asr_lab.layers.heads import CTCHead
from asr_lab.layers.local import Chunks, Context
from asr_lab.layers.masking import clear_padding, length_mask
from asr_lab.layers.positions import rotary_angles
from asr_lab.layers.transducer import TransducerHead
from asr_lab.models.base import EncoderOutput, Sequences
from asr_lab.models.conformer.model import ConformerEncoder


class EncoderGraph(nn.Module):
    """The encoder over padded features.

    Local and chunked attention cut utterances into blocks, whose number a graph cannot know. Here
    they are full attention under a mask: the result is the same, the memory grows with the square
    of the length.
    """

    def __init__(self, encoder: ConformerEncoder) -> None:
        """Share the weights."""
        super().__init__()
        self.encoder = encoder

    def forward(
        self, features: Float[Tensor, "batch frames mels"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch steps dim"], Int[Tensor, " batch"]]:
        """Return the encoder steps, zeros behind each length, and the lengths."""
        encoder = self.encoder
        values, lengths = encoder.subsampling(features, lengths)
        values, batch, steps = values * encoder.scale, values.shape[0], values.shape[1]
        mask = length_mask(lengths, steps)
        table = position_table(encoder.stack[0].attention, steps, values.device)
        if encoder.context is None:
            for block in encoder.stack:
                values = block(values, mask, table)
            return clear_padding(values, mask), lengths
        visible = visible_steps(mask, encoder.context)
        for block in encoder.stack:
            values, _ = block.stream(values, mask, visible, table, block.initial_state(batch, 0))
        return clear_padding(values, mask), lengths


def position_table(
    attention: RotaryAttention | RelativeAttention, steps: int, device: torch.device
) -> Float[Tensor, "..."]:
    """Return the table of positions that the attention wants of all steps.

    onnxruntime 1.23 has a sine in FP64 and no cosine.
    """
    if isinstance(attention, RelativeAttention):
        return attention.stream_table(0, steps, device)
    angles = rotary_angles(steps, attention.out.in_features // attention.heads, device)
    return torch.stack([(angles + math.pi / 2).sin(), angles.sin()]).float()


def visible_steps(
    mask: Bool[Tensor, "batch steps"], context: Context | Chunks
) -> Bool[Tensor, "batch 1 steps keys"]:
    """Return True where a step may attend another: in its context, and no padding, or itself."""
    key = torch.arange(mask.shape[1], device=mask.device)
    query = key[:, None]
    if isinstance(context, Chunks):
        first = query - query % context.size
        near = (key >= first - context.left) & (key < first + context.size)
    else:
        left, right = context
        near = (key >= query - left) & (key <= query + right)
    return (near & (mask[:, None] | (key == query)))[:, None]


class CTCGraph(nn.Module):
    """The head of CTC."""

    def __init__(self, head: CTCHead) -> None:
        """Share the weights."""
        super().__init__()
        self.head = head

    def forward(
        self, encoded: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps scores"]:
        """Return log probabilities of tokens and blank."""
        lengths = torch.zeros_like(encoded[:, 0, 0], dtype=torch.int64)  # which it does not read
        return self.head.log_probs(EncoderOutput(Sequences(encoded, lengths)))


class PredictorGraph(nn.Module):
    """The prediction network of a transducer, its state in and out."""

    def __init__(self, transducer: TransducerHead) -> None:
        """Share the weights."""
        super().__init__()
        self.transducer = transducer

    def forward(
        self,
        tokens: Int[Tensor, "batch tokens"],
        hidden: Float[Tensor, "batch layers dim"],
        cell: Float[Tensor, "batch layers dim"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return its part of the joint after each token, and the state after the last."""
        predicted, state = self.transducer.predict(tokens, (hidden, cell))
        assert isinstance(state, tuple)
        after_hidden, after_cell = state
        assert isinstance(after_hidden, Tensor) and isinstance(after_cell, Tensor)
        return predicted, after_hidden, after_cell


class JointGraph(nn.Module):
    """The joint network of a transducer, the projection of the encoder's steps included."""

    def __init__(self, transducer: TransducerHead) -> None:
        """Share the weights."""
        super().__init__()
        self.transducer = transducer

    def forward(
        self,
        encoded: Float[Tensor, "batch steps dim"],
        predicted: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        """Return logits of every pair: tokens, blank, then durations."""
        return self.transducer.joint(self.transducer.project(encoded), predicted)
