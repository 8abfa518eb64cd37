"""Tells ASR Lab what this package adds; imports nothing of it yet."""

from collections.abc import Mapping
from pathlib import Path

from asr_lab.plugins import (
    CommandSpec,
    DatasetSpec,
    ModelSpec,
    PrecisionSpec,
    Registry,
    TrackerSpec,
    hookimpl,
)

RECIPE = {
    "train.epochs": 60,
    "train.lr": 2e-2,
    "train.weight_decay": 0.0,
    "data.batch_seconds": 10,
    "data.freq_masks": 0,  # a tone that is masked is gone
    "data.time_masks": 0,
}
MODEL = ModelSpec(
    name="whistle",
    summary="two convolutions and a CTC head",
    model="acme_asr.model:WhistleModel",
    config="acme_asr.config:WhistleConfig",
    presets=("tiny",),
    recipes={"tiny": RECIPE},
)
DATASET = DatasetSpec(
    name="tones",
    summary="letters as whistled tones, made when they are first read",
    reader="acme_asr.data:read_tones",
    location="a folder to keep the tones in",
)
PRECISION = PrecisionSpec(
    name="double-check",
    summary="FP32 that refuses a loss that is not finite",
    manager="acme_asr.precision:DoubleCheckManager",
)
TRACKER = TrackerSpec(
    name="ledger",
    summary="one line per step in ledger.csv",
    tracker="acme_asr.tracker:open_ledger",
)
COMMAND = CommandSpec(
    name="whistle", summary="whistle the words of the arguments", run="acme_asr.command:run"
)


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register everything."""
    for spec in (MODEL, DATASET, PRECISION, TRACKER, COMMAND):
        registry.add(spec)


@hookimpl
def asr_lab_run_finished(folder: Path, record: Mapping[str, object]) -> None:
    """Leave a note in the folder of a run that is finished."""
    (folder / "acme.txt").write_text("whistled to the end\n", encoding="utf-8")


@hookimpl
def asr_lab_environment() -> Mapping[str, str]:
    """Say what this package knows about the machine."""
    return {"whistle": "tin"}
