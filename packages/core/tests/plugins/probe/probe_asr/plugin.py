"""Registers a model, a tokenizer, formats, a precision, a tracker; variables can disturb a run.

PROBE_SIGNAL=SIGTERM:7 sends the process a signal once step 7 is logged. PROBE_EVENTS=FILE appends
a line for each observing hook. PROBE_SGD=RATE trains with plain gradient descent.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from asr_lab.plugins import (
    FormatSpec,
    ModelSpec,
    PrecisionSpec,
    Registry,
    TokenizerSpec,
    TrackerSpec,
    hookimpl,
)

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

RECIPE = {
    "train.lr": 2e-2,
    "train.steps": 12,
    "train.log_every": 1,
    "train.eval_every": 12,
    "train.save_every": 5,
    "data.batch_seconds": 4.0,
    "data.freq_masks": 0,
    "data.time_masks": 0,
    "device": "cpu",
}

FORMATS = [
    FormatSpec(
        name=name,
        summary=summary,
        model="probe",
        detect=f"probe_asr.formats:{detect}",
        read=read and f"probe_asr.exchange:{read}",
        write=write and f"probe_asr.exchange:{write}",
    )
    for name, summary, detect, read, write in (
        ("probe", "JSON of all that a probe is", "is_probe", "read_probe", "write_probe"),
        ("old", "the same under its older name", "is_old", "read_probe", ""),
        ("names", "the names of the weights", "never", "", "write_names"),
    )
]


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register everything."""
    registry.add(
        ModelSpec(
            name="probe",
            summary="a model in miniature",
            model="probe_asr.model:ProbeModel",
            config="probe_asr.config:ProbeConfig",
            presets=("tiny",),
            recipes={"tiny": RECIPE},
        )
    )
    letters = "probe_asr.letters:"
    registry.add(
        TokenizerSpec(
            name="letters",
            summary="a to z and the space, whatever the text",
            train=f"{letters}train_letters",
            load=f"{letters}letters_from_bytes",
        )
    )
    for spec in FORMATS:
        registry.add(spec)
    delayed = "probe_asr.delayed:DelayedManager"
    registry.add(PrecisionSpec(name="delayed", summary="fp32 with a history", manager=delayed))
    target = "probe_asr.tracker:open_notebook"
    registry.add(TrackerSpec(name="notebook", summary="lines in notebook.txt", tracker=target))


@hookimpl
def asr_lab_build_optimizer(model: "nn.Module") -> "Optimizer | None":
    """Build plain gradient descent if asked to."""
    if not (rate := os.environ.get("PROBE_SGD")):
        return None
    from torch.optim import SGD

    return SGD(model.parameters(), lr=float(rate))


def note(event: str) -> None:
    """Append a line to the file of events."""
    if name := os.environ.get("PROBE_EVENTS"):
        with open(name, "a", encoding="utf-8") as file:
            file.write(event + "\n")


@hookimpl
def asr_lab_run_started(folder: Path, record: Mapping[str, object]) -> None:
    """Note it."""
    note(f"started {folder.name} {record['status']}")


@hookimpl
def asr_lab_step_finished(step: int) -> None:
    """Note it, and send the signal if its time has come."""
    note(f"step {step}")
    name, _, when = os.environ.get("PROBE_SIGNAL", ":").partition(":")
    if when == str(step):
        os.kill(os.getpid(), getattr(signal, name))


@hookimpl
def asr_lab_checkpoint_saved(step: int, path: Path) -> None:
    """Note it."""
    note(f"saved {step} {path.name}")


@hookimpl
def asr_lab_evaluation_finished(result: Mapping[str, object]) -> None:
    """Note it."""
    note(f"evaluated {result['dataset']}")


@hookimpl
def asr_lab_run_finished(folder: Path, record: Mapping[str, object]) -> None:
    """Note it."""
    note(f"finished {folder.name} {record['status']}")


@hookimpl
def asr_lab_environment() -> Mapping[str, str]:
    """Say what a variable says."""
    return {"weather": os.environ.get("PROBE_WEATHER", "fair")}
