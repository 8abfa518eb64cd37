"""The loop of greedy transducer search as a CUDA graph: one launch for several looks.

An operation of the loop takes the GPU a few microseconds, and the host as long to launch; replayed
from a graph, they follow each other without the host. The result is that of `run_eagerly`.
"""

import warnings
from dataclasses import dataclass
from typing import TypeAlias
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils import _pytree as pytree

from asr_lab.decoding.transducer_step import Encoded, Found, Progress, advance, start, steps_left
from asr_lab.models.base.interfaces import TransducerDecoder
from asr_lab.precision.modes import Support

CHUNK = 8
"""Looks in a graph; after each replay the host asks whether all is done."""
MOST_GRAPHS = 16
"""Shapes kept for a decoder; their buffers and graphs hold memory."""

Key: TypeAlias = tuple[object, ...]


@dataclass(frozen=True)
class LoopGraph:
    """Two captured graphs and the tensors they read and write."""

    begin: "torch.cuda.CUDAGraph"
    """Sets `progress` to the start."""
    loop: "torch.cuda.CUDAGraph"
    """Takes `CHUNK` looks."""
    encoded: Encoded
    progress: Progress
    records: Int64[Tensor, "looks batch 3"]


_graphs: "WeakKeyDictionary[TransducerDecoder, dict[Key, LoopGraph | None]]" = WeakKeyDictionary()
"""Graphs by decoder and shape, oldest first; None where capturing failed.

A global that changes, against the rule: capturing costs more than a batch, so it must outlive the
call, and on the decoder it would be in the way of copying and pickling.
"""


def graph_support(device: torch.device) -> Support:
    """Return whether the loop can run as a CUDA graph there."""
    if device.type != "cuda":
        return Support(False, f"CUDA graphs need a CUDA device; the scores are on {device.type}")
    return Support(True)


def bucket(size: int) -> int:
    """Return the next size of which graphs are made: at most a quarter more than `size`."""
    unit = max(1, 1 << max(0, (size - 1).bit_length() - 3))
    return -(-size // unit) * unit


def run_graph(decoder: TransducerDecoder, encoded: Encoded, max_symbols: int) -> Found | None:
    """Run the loop by replaying a graph, which is captured for the first batch of a shape.

    Returns None, with one warning for each decoder and shape, where it cannot be captured.
    """
    batch, steps, _ = encoded.projected.shape
    key = _key(decoder, encoded, max_symbols)
    graphs = _graphs.setdefault(decoder, {})
    if key not in graphs:
        if len(graphs) >= MOST_GRAPHS:
            del graphs[next(iter(graphs))]
        graphs[key] = _captured(decoder, encoded, max_symbols)
    graph = graphs[key]
    if graph is None:
        return None
    graph.encoded.projected[:batch, :steps].copy_(encoded.projected)
    graph.encoded.lengths.zero_()
    graph.encoded.lengths[:batch].copy_(encoded.lengths)
    graph.begin.replay()
    records = []
    while count := steps_left(decoder, graph.encoded, graph.progress):
        for _ in range(-(-count // CHUNK)):
            graph.loop.replay()
            records.append(graph.records[:, :batch].clone())
    looks = torch.cat(records) if records else graph.records[:0, :batch]
    return looks, graph.progress.score[:batch].clone()


def _key(decoder: TransducerDecoder, encoded: Encoded, max_symbols: int) -> Key:
    """Return everything that a captured graph depends on; weights may change, but not move."""
    batch, steps, hidden = encoded.projected.shape
    return (
        *(bucket(batch), bucket(steps), hidden, max_symbols),
        *(encoded.projected.dtype, encoded.projected.device),
        *(torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")),
        torch.get_float32_matmul_precision(),
        *(weight.data_ptr() for weight in decoder.parameters()),
    )


def _captured(decoder: TransducerDecoder, encoded: Encoded, max_symbols: int) -> LoopGraph | None:
    """Capture the loop for the shape that this batch falls into, or warn and return None."""
    before = torch.cuda.current_stream(encoded.projected.device)
    try:
        return _capture(decoder, _buffers(encoded), max_symbols)
    except RuntimeError as error:  # what the decoder does may not be allowed in a graph
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"{type(decoder).__name__} is searched without a CUDA graph: {reason}", stacklevel=2
        )
        return None
    finally:
        torch.cuda.set_stream(before)  # a capture that fails leaves its own stream behind


def _buffers(encoded: Encoded) -> Encoded:
    """Return room for any batch of the shape."""
    batch, steps, hidden = encoded.projected.shape
    return Encoded(
        encoded.projected.new_zeros(bucket(batch), bucket(steps), hidden),
        encoded.lengths.new_zeros(bucket(batch)),
        encoded.durations.clone(),
    )


def _capture(decoder: TransducerDecoder, encoded: Encoded, max_symbols: int) -> LoopGraph:
    """Run everything once, then capture it."""
    device = encoded.projected.device
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        after, _ = advance(decoder, encoded, start(decoder, encoded), max_symbols)
        progress = pytree.tree_map_only(Tensor, torch.clone, after)
        records = encoded.lengths.new_zeros(CHUNK, len(encoded.lengths), 3)
    torch.cuda.current_stream(device).wait_stream(stream)
    begin, loop = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    # Weights that autocast has cast already would be read by the graph after they are freed, and
    # those cast inside would be read by others.
    torch.clear_autocast_cache()
    try:
        # Other threads, such as those that pin memory for a loader, may call CUDA meanwhile.
        with torch.cuda.graph(begin, stream=stream, capture_error_mode="thread_local"):
            _copy(progress, start(decoder, encoded))
        torch.clear_autocast_cache()
        with torch.cuda.graph(
            loop, pool=begin.pool(), stream=stream, capture_error_mode="thread_local"
        ):
            after = progress
            for look in range(CHUNK):
                after, records[look] = advance(decoder, encoded, after, max_symbols)
            _copy(progress, after)
    finally:
        torch.clear_autocast_cache()
    return LoopGraph(begin, loop, encoded, progress, records)


def _copy(target: Progress, source: Progress) -> None:
    """Write the tensors of one progress into those of another."""
    pairs = zip(pytree.tree_leaves(target), pytree.tree_leaves(source), strict=True)
    for old, new in pairs:
        if isinstance(old, Tensor):
            old.copy_(new)
