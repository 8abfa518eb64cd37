"""Measure what the digest of a training run costs on this machine's GPU, against a training step.

    python packages/core/benchmarks/digest.py docs/results/digest.json

The model is the large Fast Conformer with layer norm, learning from 64 utterances of 16 s in BF16.
`digest_ms` is the wall time from asking for the digests of weights and optimizer state to having
them on the host; with `gradients`, those too, as every entry of the chain has them. `share` is that
time as a part of the steps of the default interval. `plain_ms` is the same by torch's operations.
Memory is the peak beyond what was held; synchronisations are those that torch counts.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from asr_lab.audio.recipes import recipe
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.settings import DataConfig
from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.environment import machine
from asr_lab.reproducibility.sums import Piece, Sums, label, plain_sums
from asr_lab.training.config import RunConfig, TrainConfig
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner

SAMPLE_RATE, TOKENS, MOST_MB, MOST_SHARE = 16000, 80, 64.0, 0.005
Tensors = dict[str, dict[str, torch.Tensor]]


def audio(utterances: int, seconds: float) -> AudioBatch:
    """Return a batch of random audio."""
    generator = torch.Generator().manual_seed(0)
    size = int(seconds * SAMPLE_RATE)
    count = utterances
    return AudioBatch(
        utterance_ids=tuple(map(str, range(count))),
        samples=torch.randint(-3000, 3000, (count, size), dtype=torch.int16, generator=generator),
        lengths=torch.full((count,), size),
        tokens=torch.randint(1024, (count, TOKENS), generator=generator),
        token_lengths=torch.full((count,), TOKENS),
        keys=torch.arange(count),
        speeds=torch.ones(count),
        valid=torch.ones(count, dtype=torch.bool),
        problems=("",) * count,
        language=("",) * count,
        texts=("",) * count,
        audio_digests=("",) * count,
    )


def learner(preset: str, precision: str) -> Learner:
    """Return a model that is ready to learn."""
    config = replace(getattr(ConformerConfig, preset)(), norm="layer", positions="rotary")
    run = RunConfig(
        model="conformer/conformer",
        preset=preset,
        model_config=config,
        precision=precision,
        train=TrainConfig(ema=0.0),
        data_config=DataConfig(),
    )
    features = recipe(config.features, config.mels, config.sample_rate)
    model: ASRModel[ModelConfig] = ConformerASRModel(config)  # type: ignore[assignment]
    group = Group(torch.device("cuda"))
    return Learner(model, run, features, group, installed_plugins(), 1000)


def timed(work: Callable[[], object], runs: int, warm: int = 3) -> list[float]:
    """Return the milliseconds of each run, from the host's view, with the device idle before."""
    times = []
    for number in range(runs + warm):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        if number >= warm:
            times.append(1000 * (time.perf_counter() - start))
    return times


def digest(tensors: Tensors) -> dict[str, dict[str, str]]:
    """Return all digests."""
    sums = Sums()
    for group, named in tensors.items():
        sums.add(group, named)
    return sums.digests()


def plain(tensors: Tensors) -> dict[str, dict[str, str]]:
    """Return the same by torch's own operations."""
    found: dict[str, dict[str, str]] = {}
    for group, named in tensors.items():
        for name, tensor in named.items():
            known = label(name, tensor)
            shape = tuple(tensor.shape)
            piece = Piece(tensor=tensor.detach(), shape=shape, offsets=(0,) * len(shape))
            pair = plain_sums(piece, known.keys).tolist()
            found.setdefault(group, {})[name] = known.digest(pair)
    return found


def peak(work: Callable[[], object]) -> float:
    """Return the megabytes that one run takes at most beyond what is held."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def synchronisations(work: Callable[[], object]) -> int:
    """Return how often the host waited for the device, as far as torch notices."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(one.message) for one in caught)


def row(name: str, tensors: Tensors, step_ms: float, every: int, runs: int) -> dict[str, object]:
    """Return the figures for some tensors."""
    took = timed(lambda: digest(tensors), runs)
    slow = timed(lambda: plain(tensors), 3, 1)
    size = sum(one.nbytes for named in tensors.values() for one in named.values())
    median = statistics.median(took)
    share, memory = median / (every * step_ms), peak(lambda: digest(tensors))
    return {
        "tensors": name,
        "GB": round(size / 1e9, 3),
        "digest_ms": round(median, 3),
        "most_ms": round(max(took), 3),
        "GB_per_s": round(size / 1e6 / median),
        "plain_ms": round(statistics.median(slow), 1),
        "equal_bits": digest(tensors) == plain(tensors),
        "share": round(share, 6),
        "MB": round(memory, 2),
        "synchronisations": synchronisations(lambda: digest(tensors)),
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
    options = parser.parse_args()
    one, batch = (
        learner(options.preset, options.precision),
        audio(options.utterances, options.seconds),
    )
    numbers = iter(range(1000))
    step_ms = statistics.median(timed(lambda: one.step([batch], next(numbers)), options.runs))
    state: Tensors = {group: dict(named) for group, named in one.tensors()[0].items()}
    weights = {name: weight.detach() for name, weight in one.model.named_parameters()}
    gradients = {**state, "gradients": {n: torch.randn_like(w) for n, w in weights.items()}}
    rows = [
        row(name, tensors, step_ms, options.every, options.runs)
        for name, tensors in {"state": state, "state and gradients": gradients}.items()
    ]
    result = {
        "command": " ".join(["python packages/core/benchmarks/digest.py", *sys.argv[1:]]),
        "gpu": torch.cuda.get_device_name(),
        "machine": machine(),
        "versions": {name: version(name) for name in ("asr-lab-core", "torch", "triton")},
        "model": f"conformer {options.preset}, {options.precision}",
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
