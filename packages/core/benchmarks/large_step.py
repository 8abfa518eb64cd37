"""A training step of the large Fast Conformer as the trainer does it, for other benchmarks."""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from asr_lab.audio.recipes import recipe
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.settings import DataConfig
from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.seeding import scope
from asr_lab.training.config import RunConfig, TrainConfig
from asr_lab.training.distributed import Group
from asr_lab.training.learner import Learner

SAMPLE_RATE, TOKENS = 16000, 80


def audio(utterances: int, seconds: float) -> AudioBatch:
    """Return a batch of random audio, where the loader leaves it."""
    generator = torch.Generator().manual_seed(0)
    size = int(seconds * SAMPLE_RATE)
    count = utterances
    return AudioBatch(
        utterance_ids=tuple(map(str, range(count))),
        samples=torch.randint(-3000, 3000, (count, size), dtype=torch.int16, generator=generator),
        lengths=torch.full((count,), size),
        tokens=torch.randint(1024, (count, TOKENS), generator=generator),
        token_lengths=torch.full((count,), min(TOKENS, int(5 * seconds))),
        keys=torch.arange(count),
        speeds=torch.ones(count),
        valid=torch.ones(count, dtype=torch.bool),
        problems=("",) * count,
        language=("",) * count,
        texts=("",) * count,
        audio_digests=("",) * count,
    )


def settings(preset: str, precision: str, **changes: object) -> RunConfig:
    """Return the settings of a run; `changes` are the model's and the trainer's."""
    train = TrainConfig(
        ema=0.0,
        compile=bool(changes.pop("compile", False)),
        cuda_graphs=bool(changes.pop("cuda_graphs", False)),
    )
    level = str(changes.pop("repro", "off"))
    known = {"norm": "layer", "positions": "rotary", **changes}
    return RunConfig(
        model="conformer/conformer",
        preset=preset,
        model_config=replace(getattr(ConformerConfig, preset)(), **known),
        precision=precision,
        train=train,
        data_config=DataConfig(),
        repro=level,  # type: ignore[arg-type]
    )


def learner(run: RunConfig, device: torch.device) -> Learner:
    """Return a model that is ready to learn."""
    config = run.model_config
    assert isinstance(config, ConformerConfig)
    features = recipe(config.features, config.mels, config.sample_rate)
    with scope(0, "initialisation"):
        model: ASRModel[ModelConfig] = ConformerASRModel(config)  # type: ignore[assignment]
    return Learner(model, run, features, Group(device), installed_plugins(), 1000)


def working(work: Callable[[], object], device: torch.device, runs: int = 3) -> float:
    """Return the milliseconds for which the GPU works on it, by torch's profiler."""
    if device.type != "cuda":
        return 0.0
    with profile(activities=[ProfilerActivity.CUDA]) as found:
        for _ in range(runs):
            work()
        wait(device)
    total: float = sum(one.self_device_time_total for one in found.key_averages())
    return round(total / 1000 / runs, 2)


def wait(device: torch.device) -> None:
    """Wait until the device has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(
    work: Callable[[], object], runs: int, device: torch.device, warm: int = 3
) -> list[float]:
    """Return the milliseconds of each run, from the host's view, with the device idle before."""
    times = []
    for number in range(runs + warm):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        if number >= warm:
            times.append(1000 * (time.perf_counter() - start))
    return times


def median(times: list[float]) -> float:
    """Return the median, rounded for a result file."""
    return round(statistics.median(times), 3)
