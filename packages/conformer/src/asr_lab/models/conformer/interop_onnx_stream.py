"""A Fast Conformer on a stream as ONNX files: one chunk of steps, with its states in and out."""

from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from asr_lab.decoding import StreamingRecogniser
from asr_lab.layers.attention import AttentionCache
from asr_lab.layers.local import Chunks
from asr_lab.models.conformer.config import ConformerConfig
from asr_lab.models.conformer.interop_onnx import (
    Graph,
    head_graphs,
    refuse_what_cannot_be,
    write_graphs,
)
from asr_lab.models.conformer.layers import BlockState
from asr_lab.models.conformer.model import ConformerASRModel, ConformerEncoder
from asr_lab.models.conformer.streaming import StreamState, encode_chunk
from asr_lab.tokenizers import Tokenizer

NEXT = "next_"
"""Before the name of an output that is the input of that name in the next call."""


def write_stream_folder(
    model: ConformerASRModel, tokenizer: Tokenizer, folder: Path, largest: int
) -> None:
    """Write the graphs, then the settings and tokens; see `interop.write_onnx_stream`."""
    refuse_what_cannot_be(model, tokenizer)
    recogniser = StreamingRecogniser(model)  # which refuses a model that does not stream
    graph = StreamGraph(model.encoder)
    stream = {
        "window": graph.window,
        "shift": graph.shift,
        "before": graph.behind,
        "look_ahead_ms": recogniser.look_ahead_ms,
    }
    found = [stream_graph(graph, model.config), *head_graphs(model)]
    write_graphs(model, tokenizer, folder, largest, found, stream=stream)


def stream_graph(graph: "StreamGraph", config: ConformerConfig) -> Graph:
    """Return what the file of the chunk step holds."""
    channels, before = config.dim // config.heads, graph.blocks[0].convolution.before
    past = ("batch", config.layers, config.heads, config.left_context, channels)
    states: dict[str, tuple[str | int, ...]] = {
        "steps": ("batch",),
        "keys": past,
        "values": past,
        "tails": ("batch", config.layers, before, config.dim),
    }
    sizes = [[2, *axes[1:]] for axes in states.values()]
    return Graph(
        name="stream",
        module=graph,
        inputs={"features": ("batch", graph.window, config.mels), "lengths": ("batch",), **states},
        outputs={
            "encoded": ("batch", config.chunk, config.dim),
            "encoded_lengths": ("batch",),
            **{NEXT + name: axes for name, axes in states.items()},
        },
        examples=(
            torch.zeros(2, graph.window, config.mels),
            torch.tensor([graph.window, graph.behind + 1]),
            torch.tensor([0, 5]),
            *(torch.zeros(*size) for size in sizes[1:]),  # type: ignore[arg-type]
        ),
    )


class StreamGraph(nn.Module):
    """One chunk of steps of each stream, from a window of frames that is always of one size.

    It starts `behind` frames before the chunk's first frame, and the next window `shift` frames
    after it.
    """

    table: Tensor

    def __init__(self, encoder: nn.Module) -> None:
        """Share the weights of a ConformerEncoder that streams."""
        super().__init__()
        assert isinstance(encoder, ConformerEncoder) and isinstance(encoder.context, Chunks)
        self.encoder, self.chunks = encoder, encoder.context
        self.subsampling, self.blocks = encoder.subsampling, encoder.stack
        self.behind, ahead = self.subsampling.reach
        self.shift = self.chunks.size * self.subsampling.factor
        self.window = self.shift - self.subsampling.factor + self.behind + 1 + ahead
        device = self.subsampling.out.weight.device
        table = self.blocks[0].attention.stream_table(*self.chunks, device)
        self.register_buffer("table", table, persistent=False)

    def forward(
        self,
        features: Float[Tensor, "batch window mels"],
        lengths: Int64[Tensor, " batch"],
        steps: Int64[Tensor, " batch"],
        keys: Float[Tensor, "batch layers heads left channels"],
        values: Float[Tensor, "batch layers heads left channels"],
        tails: Float[Tensor, "batch layers before dim"],
    ) -> tuple[Tensor, ...]:
        """Return the chunk, how many of its steps there are, and the states after it.

        `lengths` are the frames of each window that have come: all, or fewer where the stream ends.
        `steps` are those that were given out before.
        """
        arrived = steps * self.subsampling.factor - self.behind + lengths
        total = self.subsampling.lengths(arrived, self.subsampling.factor)
        counts = (total - steps).clamp(0, self.chunks.size)
        caches = zip(keys.unbind(1), values.unbind(1), tails.unbind(1), strict=True)
        before = tuple(BlockState(AttentionCache(key, value), tail) for key, value, tail in caches)
        encoded, state = encode_chunk(
            self.subsampling,
            self.encoder.scale,
            self.blocks,
            self.table,
            features,
            counts,
            StreamState(features, arrived, steps, steps.bool(), before),
        )
        attention = [block.attention for block in state.blocks]
        return (
            encoded,
            counts,
            state.steps,
            torch.stack([cache.keys for cache in attention], 1),
            torch.stack([cache.values for cache in attention], 1),
            torch.stack([block.convolution for block in state.blocks], 1),
        )
