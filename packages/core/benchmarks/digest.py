"""Measure what the digest of a training run costs on this machine's GPU, against a training step.

    python packages/core/benchmarks/digest.py docs/results/digest.json

The model is the large Fast Conformer with layer norm, compiled, learning from 64 utterances of 16 s
in BF16. `digest_ms` is the wall time from asking for the digests of weights and optimizer state to
having them on the host; with `gradients`, those too, as every entry of the chain has them, and
elsewhere in memory every time, as they are in a run. `entry_ms` has the names and roots as well.
`host_ms` is what the host works until all is on its way, `first_ms` what the first digest takes.
`share` is `digest_ms` as a part of the steps of the default interval. `plain_ms` is the same by
torch's operations. Memory is the peak beyond what was held; synchronisations are those that torch
counts. `--device cpu` shows that the benchmark works.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import large_step
import torch

from asr_lab.reproducibility.environment import machine
from asr_lab.reproducibility.hash import root_digest
from asr_lab.reproducibility.sums import Sums, Tables
from asr_lab.reproducibility.words import Piece, label, plain_sums

MOST_MB, MOST_SHARE = 64.0, 0.005
Tensors = dict[str, dict[str, torch.Tensor]]


def added(tensors: Tensors, tables: Tables | None) -> Sums:
    """Return the sums of all tensors, which the device may not have done yet."""
    sums = Sums(tables)
    for group, named in tensors.items():
        sums.add(group, named)
    return sums


def digest(tensors: Tensors, tables: Tables | None = None) -> dict[str, dict[str, str]]:
    """Return all digests."""
    return added(tensors, tables).digests()


def roots(tensors: Tensors, tables: Tables) -> dict[str, str]:
    """Return what an entry of the chain says of the tensors."""
    return {group: root_digest(named) for group, named in digest(tensors, tables).items()}


def plain(tensors: Tensors) -> dict[str, dict[str, str]]:
    """Return the same by torch's own operations."""
    found: dict[str, dict[str, str]] = {}
    for group, named in tensors.items():
        for name, tensor in named.items():
            known = label(name, tensor)
            shape = tuple(tensor.shape)
            piece = Piece(tensor=tensor.detach(), shape=shape, offsets=(0,) * len(shape))
            pair = plain_sums(piece, known.keys).cpu().numpy().tobytes()
            found.setdefault(group, {})[name] = known.digest(pair)
    return found


def peak(work: Callable[[], object], device: torch.device) -> float:
    """Return the megabytes of a GPU that one run takes at most beyond what is held."""
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def synchronisations(work: Callable[[], object], device: torch.device) -> int:
    """Return how often the host waited for the device, as far as torch notices."""
    if device.type != "cuda":
        return 0
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(one.message) for one in caught)


def host(tensors: Tensors, tables: Tables, runs: int, device: torch.device) -> float:
    """Return the milliseconds that the host works before it waits for the device."""
    times = []
    for _ in range(runs):
        large_step.wait(device)
        start = time.perf_counter()
        sums = added(tensors, tables)
        times.append(1000 * (time.perf_counter() - start))
        sums.digests()
    return statistics.median(times)


def row(
    name: str,
    fresh: Callable[[], Tensors],
    step_ms: float,
    every: int,
    runs: int,
    device: torch.device,
) -> dict[str, object]:
    """Return the figures for the tensors that `fresh` gives, some of them elsewhere every time."""
    tables, tensors = Tables(), fresh()
    (first,) = large_step.timed(lambda: digest(tensors, tables), 1, device, 0)
    large_step.wait(device)
    took, entries = [], []
    for _ in range(runs):
        took += large_step.timed(partial(digest, fresh(), tables), 1, device, 0)
        entries += large_step.timed(partial(roots, fresh(), tables), 1, device, 0)
    slow = large_step.timed(lambda: plain(tensors), 3, device, 1)
    size = sum(one.nbytes for named in tensors.values() for one in named.values())
    median = statistics.median(took)
    share, memory = median / (every * step_ms), peak(lambda: digest(tensors, tables), device)
    return {
        "tensors": name,
        "count": sum(map(len, tensors.values())),
        "GB": round(size / 1e9, 3),
        "digest_ms": round(median, 3),
        "most_ms": round(max(took), 3),
        "entry_ms": large_step.median(entries),
        "host_ms": round(host(tensors, tables, runs, device), 3),
        "first_ms": round(first, 3),
        "GB_per_s": round(size / 1e6 / median),
        "plain_ms": round(statistics.median(slow), 1),
        "equal_bits": digest(tensors, tables) == plain(tensors),
        "share": round(share, 6),
        "MB": round(memory, 2),
        "synchronisations": synchronisations(lambda: digest(tensors, tables), device),
        "met": share <= MOST_SHARE and memory <= MOST_MB,
    }


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--preset", default="large")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    device = torch.device(options.device)
    run = large_step.settings(options.preset, options.precision, compile=options.compile)
    one = large_step.learner(run, device)
    batch, numbers = large_step.audio(options.utterances, options.seconds), iter(range(1000))
    step_ms = large_step.median(
        large_step.timed(lambda: one.step([batch], next(numbers)), options.runs, device)
    )
    weights = {name: weight.detach() for name, weight in one.model.named_parameters()}

    def state() -> Tensors:
        return {group: dict(named) for group, named in one.tensors()[0].items()}

    def with_gradients() -> Tensors:
        return {**state(), "gradients": {n: torch.randn_like(w) for n, w in weights.items()}}

    rows = [
        row(name, tensors, step_ms, options.every, options.runs, device)
        for name, tensors in {"state": state, "state and gradients": with_gradients}.items()
    ]
    cuda = device.type == "cuda"
    result = {
        "command": " ".join(["python packages/core/benchmarks/digest.py", *sys.argv[1:]]),
        "gpu": torch.cuda.get_device_name() if cuda else "none",
        "machine": machine(),
        "versions": {name: version(name) for name in ("asr-lab-core", "torch", "triton")},
        "model": f"conformer {options.preset}, {options.precision}",
        "compiled": options.compile,
        "parameters": sum(weight.numel() for weight in weights.values()),
        "step_ms": round(step_ms, 1),
        "every": options.every,
        "rows": rows,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
