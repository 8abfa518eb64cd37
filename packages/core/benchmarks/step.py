"""Measure an optimizer step of the models on this machine's GPU, and what it waits for.

    python packages/core/benchmarks/step.py docs/results/step.json --seconds 160 320

Each step learns from random audio of that many seconds in utterances of about 2.3 s. `wall` is the
median time of a step; `gpu` is the time that kernels ran in it, by torch's profiler. Where `gpu` is
much the shorter, the host is what bounds the step, and a larger batch costs nothing.

Every batch has a shape of its own, as in training; with `--shapes repeated`, the steps that are
timed have shapes that were seen before. `--graphs` is `--train.cuda-graphs`. `--cudnn-attention`
leaves it to torch to choose cuDNN's attention, which the precision managers switch off.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from asr_lab.audio.recipes import recipe
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.settings import DataConfig
from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.models.ssm import SSMASRModel, SSMConfig
from asr_lab.models.whisper import WhisperASRModel, WhisperConfig
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.environment import machine
from asr_lab.training.config import RunConfig, TrainConfig
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner

VOCAB, SAMPLE_RATE, UTTERANCE_SECONDS, TOKENS = 32, 16000, 2.3, 28
MODELS: dict[str, tuple[type[ASRModel], ModelConfig]] = {  # type: ignore[type-arg]
    "conformer small": (
        ConformerASRModel,
        replace(ConformerConfig.small(), norm="layer", positions="rotary", subsampling=4),
    ),
    "ssm small": (SSMASRModel, replace(SSMConfig.small(), subsampling=4)),
    "whisper small": (
        WhisperASRModel,
        replace(WhisperConfig.tiny(), dim=256, encoder_layers=8, decoder_layers=4, dropout=0.1),
    ),
}
"""About 12 M parameters each, as the results on real speech have them."""


def audio(seconds: float, seed: int) -> AudioBatch:
    """Return a batch of random audio, whose shape varies with the seed as a plan's does."""
    generator = torch.Generator().manual_seed(seed)
    longest = UTTERANCE_SECONDS * float(0.7 + 0.6 * torch.rand((), generator=generator))
    count = int(seconds / longest)
    lengths = (longest * SAMPLE_RATE * (0.9 + 0.1 * torch.rand(count, generator=generator))).long()
    shape = (count, int(lengths.max()))
    return AudioBatch(
        utterance_ids=tuple(map(str, range(count))),
        samples=torch.randint(-3000, 3000, shape, dtype=torch.int16, generator=generator),
        lengths=lengths,
        tokens=torch.randint(VOCAB, (count, TOKENS), generator=generator),
        token_lengths=torch.full((count,), TOKENS),
        keys=torch.arange(count) + seed,
        speeds=torch.tensor([0.9, 1.0, 1.1] * count)[:count],
        valid=torch.ones(count, dtype=torch.bool),
        problems=("",) * count,
        language=("",) * count,
        texts=("",) * count,
    )


def learner(name: str, precision: str, graphs: bool) -> Learner:
    """Return a model that is ready to learn on the GPU."""
    model_class, config = MODELS[name]
    config = replace(config, vocab=VOCAB)
    run = RunConfig(
        model=name,
        preset="",
        model_config=config,
        precision=precision,
        train=TrainConfig(ema=0.999, cuda_graphs=graphs),
        data_config=DataConfig(speeds=(0.9, 1.0, 1.1), time_masks=5),
    )
    features = recipe(config.features, config.mels, config.sample_rate)
    group = Group(torch.device("cuda"))
    return Learner(model_class(config), run, features, group, installed_plugins(), 1000)


def measure(
    name: str, seconds: float, precision: str, steps: int, repeated: bool, graphs: bool
) -> dict[str, object]:
    """Time steps of a model after twice as many that warm up; look at a few with the profiler."""
    one = learner(name, precision, graphs)
    batches = [audio(seconds, seed) for seed in range(steps)]
    timed = batches if repeated else [audio(seconds, steps + seed) for seed in range(steps)]
    times = []
    warm = batches * 2  # a graph is captured the second time
    for number, batch in enumerate(warm + timed):
        torch.cuda.synchronize()
        start = time.perf_counter()
        one.step([batch], number)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for number, batch in enumerate(batches[:3]):
            one.step([batch], number)
        torch.cuda.synchronize()
    kernels = [event for event in found.key_averages() if event.self_device_time_total > 0]
    return {
        "model": name,
        "audio_seconds": seconds,
        "wall_ms": round(1000 * statistics.median(times[len(warm) :]), 1),
        "gpu_ms": round(sum(kernel.self_device_time_total for kernel in kernels) / 3000, 1),
        "kernels": sum(kernel.count for kernel in kernels) // 3,
        "memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
    }


def table(rows: list[dict[str, object]]) -> str:
    """Return the rows as lines for people."""
    names = list(rows[0])
    lines = [[str(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in [names, *lines]
    )


def main() -> None:
    """Measure every model at every size, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seconds", nargs="+", type=float, default=[160.0, 320.0])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--shapes", choices=("fresh", "repeated"), default="fresh")
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--cudnn-attention", action="store_true")
    options = parser.parse_args()
    if options.cudnn_attention:  # nobody can switch it off any more
        torch.backends.cuda.enable_cudnn_sdp = lambda enabled: None
    rows = []
    for name in options.models:
        for seconds in options.seconds:
            torch.cuda.reset_peak_memory_stats()
            repeated = options.shapes == "repeated"
            rows.append(
                measure(name, seconds, options.precision, options.steps, repeated, options.graphs)
            )
            print(rows[-1], flush=True)
    print(table(rows))
    if options.output:
        result = {
            "command": " ".join(["python packages/core/benchmarks/step.py", *sys.argv[1:]]),
            "gpu": torch.cuda.get_device_name(),
            "precision": options.precision,
            "cuda_graphs": options.graphs,
            "machine": machine(),
            "versions": {name: version(name) for name in ("asr-lab-core", "torch")},
            "rows": rows,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
