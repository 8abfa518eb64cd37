"""The level of reproducibility of a run: what it refuses, and the switches that it sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.precision.registry import manager_class
from asr_lab.reproducibility.deterministic import deterministic
from asr_lab.reproducibility.levels import (
    Level,
    Place,
    export_line,
    missing_variables,
    resolve_level,
)
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.config import RunConfig
from asr_lab.training.distributed import Group
from asr_lab.utils.errors import CombinedUserError, UserError

AUTOTUNING = (
    "max_autotune",
    "max_autotune_gemm",
    "max_autotune_pointwise",
    "coordinate_descent_tuning",
)
"""Settings of torch's compiler that make it choose kernels by their time."""


@contextmanager
def at_level(config: RunConfig, group: Group, resume: Path | None = None) -> Iterator[Level]:
    """Span a run at the level that its settings ask for; switches are restored at its end.

    A run that is resumed on the CPU computes on as many threads as it began with.

    Raises UserError for what the level cannot promise, inside the block also for an operation that
    has no deterministic kernel.
    """
    level = resolve_level(config.repro, group.device.type)
    if problems := refusals(config, level, group):
        raise CombinedUserError(problems)
    threads = torch.get_num_threads()
    try:
        if level != "off" and group.device.type == "cpu":
            torch.set_num_threads(_threads(level, resume) or threads)
        with deterministic(level != "off"):
            yield level
    finally:
        torch.set_num_threads(threads)


def _threads(level: Level, resume: Path | None) -> int:
    """Return how many threads share out sums, and so decide their bits; 0 if it does not matter."""
    if level == "elastic":  # several processes have fewer each than one has
        return 1
    recorded = RunRecord.read(resume).environment.get("threads", "") if resume else ""
    return int(recorded) if recorded.isdecimal() else 0


def refusals(config: RunConfig, level: Level, group: Group) -> list[str]:
    """Return one line for everything that keeps a run from what its level promises."""
    if level == "off":
        return []
    problems = []
    if config.repro != "auto":
        problems += _environment(level, group)
    if config.train.compile and (setting := autotuning()):
        problems.append(
            f"--repro {level} needs kernels that are chosen alike in every run; {setting} times "
            f"them and takes the fastest; unset it or say --repro off"
        )
    if config.train.compile and group.device.type == "cuda" and not compiler_is_deterministic():
        problems.append(
            f"--repro {level} needs torch 2.10 or newer to compile, for older ones time kernels; "
            f"this is {torch.__version__}; say --no-train.compile"
        )
    if level in ("exact", "elastic") and manager_class(config.precision).has_history:
        problems.append(
            f"--precision {config.precision} computes with what earlier steps left behind, which "
            f"--repro {level} refuses; use bf16 or say --repro replay"
        )
    if level == "elastic":
        problems += _tree(config.train.accumulate, group)
    return problems


def _environment(level: Level, group: Group) -> list[str]:
    cuda = group.device.type == "cuda"
    places: list[Place] = ["anywhere"]
    places += ["cuda"] if cuda else []
    places += ["nccl"] if cuda and group.size > 1 and level != "elastic" else []
    if not (missing := missing_variables(*places)):
        return []
    names = " and ".join(one.name for one in missing)
    return [
        f"--repro {level} needs {names} before Python starts; leave this program, then: "
        f"{export_line(missing)}"
    ]


def _tree(micro_batches: int, group: Group) -> list[str]:
    if micro_batches & (micro_batches - 1):
        return [
            f"--repro elastic adds micro-batches as a balanced tree; --train.accumulate "
            f"{micro_batches} is no power of two"
        ]
    if group.size & (group.size - 1):
        return [f"--repro elastic needs a power of two of processes; there are {group.size}"]
    return []


def autotuning() -> str:
    """Return the name of the compiler's setting that times kernels, if one is on."""
    from torch._inductor import config

    return next((f"inductor's {name}" for name in AUTOTUNING if getattr(config, name, False)), "")


def compiler_is_deterministic() -> bool:
    """Say whether deterministic mode reaches torch's compiler: from torch 2.10 on."""
    from torch._inductor import config

    return hasattr(config, "deterministic")


def refuse_coupling(model: ASRModel[ModelConfig], level: str) -> None:
    """Raise UserError for a model whose utterances see each other, at the level `elastic`."""
    if level == "elastic" and model.couples_utterances:
        raise UserError(
            "--repro elastic needs utterances that do not see each other; this model normalises "
            "over batches; use another norm, such as --model.norm layer, or --repro exact"
        )
