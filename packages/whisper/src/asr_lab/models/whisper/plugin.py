"""Tells ASR Lab about the Whisper-shaped model; imports no model."""

from asr_lab.plugins import ModelSpec, Registry, hookimpl

PUBLISHED = ("base", "small", "medium", "large")
FROM_SCRATCH = {
    "train.lr": 5e-4,
    "train.warmup": 0.1,
    "train.epochs": 60,
    "data.batch_seconds": 240,
}


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register `whisper`."""
    registry.add(
        ModelSpec(
            name="whisper",
            summary="Whisper-shaped encoder-decoder with a CTC head on the encoder",
            model="asr_lab.models.whisper.model:WhisperASRModel",
            config="asr_lab.models.whisper.config:WhisperConfig",
            presets=("tiny", *PUBLISHED),
            layouts=("padded", "packed"),
            recipes={
                "tiny": {
                    "train.epochs": 20,
                    "train.lr": 1.5e-3,
                    "train.warmup": 0.05,
                    "train.weight_decay": 1e-2,
                    "train.ema": 0.99,
                    "data.batch_seconds": 40,
                    "data.speeds": (0.9, 1.0, 1.1),
                    "data.freq_width": 20,
                    "data.time_masks": 4,
                },
                **dict.fromkeys(PUBLISHED, FROM_SCRATCH),
            },
        )
    )
