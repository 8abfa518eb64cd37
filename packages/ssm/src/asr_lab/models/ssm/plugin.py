"""Tells ASR Lab about the state-space model; imports no model."""

from asr_lab.plugins import ModelSpec, Registry, hookimpl

FROM_SCRATCH = {
    "train.lr": 1e-3,
    "train.warmup": 0.1,
    "train.epochs": 60,
    "data.batch_seconds": 240,
    "data.time_masks": 10,
}


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register `ssm`."""
    registry.add(
        ModelSpec(
            name="ssm",
            summary="Bidirectional Mamba-2 encoder with CTC, a transducer, or both",
            model="asr_lab.models.ssm.model:SSMASRModel",
            config="asr_lab.models.ssm.config:SSMConfig",
            presets=("tiny", "small", "base", "large"),
            layouts=("padded", "packed"),
            recipes={
                "tiny": {
                    "train.epochs": 14,
                    "train.lr": 2e-3,
                    "train.warmup": 0.05,
                    "train.weight_decay": 1e-2,
                    "train.ema": 0.99,
                    "data.batch_seconds": 40,
                    "data.speeds": (0.9, 1.0, 1.1),
                    "data.freq_width": 20,
                    "data.time_masks": 4,
                },
                **dict.fromkeys(("small", "base", "large"), FROM_SCRATCH),
            },
        )
    )
