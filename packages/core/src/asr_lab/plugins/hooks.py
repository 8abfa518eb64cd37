"""What a plugin may implement.

Registration is called once, while the plugin is loaded. Builders may raise, and the first answer
wins. Observers never end a run: one that raises is reported once and not called again. Every
implementation may take fewer arguments than the specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from asr_lab.plugins.registry import Registry
    from asr_lab.training.config import TrainConfig

PROJECT = "asr_lab"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(historic=True)
def asr_lab_register(registry: Registry) -> None:
    """Add models, data sets, tokenizers, precisions, trackers, formats or commands.

    Must not import torch: add specifications, which say where to import from.
    """


@hookspec(firstresult=True)
def asr_lab_build_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer | None:
    """Build the optimizer, or return None to leave it to others; the core's AdamW comes last."""


@hookspec(firstresult=True)
def asr_lab_wrap_model(model: nn.Module, config: TrainConfig) -> nn.Module | None:
    """Wrap or change the model before the optimizer is built, or return None."""


@hookspec
def asr_lab_run_started(folder: Path, record: Mapping[str, object]) -> None:
    """Observe the start of a run: its folder and its record (what `run.json` holds)."""


@hookspec
def asr_lab_step_finished(folder: Path, step: int, metrics: Mapping[str, float]) -> None:
    """Observe the metrics of an optimizer step that is logged."""


@hookspec
def asr_lab_checkpoint_saved(folder: Path, step: int, path: Path) -> None:
    """Observe a checkpoint that is complete on disk."""


@hookspec
def asr_lab_evaluation_finished(folder: Path, result: Mapping[str, object]) -> None:
    """Observe an evaluation: error rates, intervals, speed."""


@hookspec
def asr_lab_run_finished(folder: Path, record: Mapping[str, object]) -> None:
    """Observe the end of a run that was not interrupted."""


@hookspec
def asr_lab_environment() -> Mapping[str, str] | None:
    """Return facts about the machine for the run record; all answers are merged."""
