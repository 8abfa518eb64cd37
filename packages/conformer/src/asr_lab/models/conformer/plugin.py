"""Tells ASR Lab about the conformer; imports no model."""

from asr_lab.plugins import FormatSpec, ModelSpec, Registry, hookimpl

PUBLISHED = ("small", "medium", "large", "large_18", "xlarge", "xxlarge", "fast_conformer")
FROM_SCRATCH = {
    "train.lr": 1e-3,
    "train.warmup": 0.1,
    "train.epochs": 60,
    "data.batch_seconds": 240,
    "data.time_masks": 10,
}

INTEROP = "asr_lab.models.conformer.interop:"
FORMATS = (
    FormatSpec(
        name="nemo",
        summary="a .nemo archive of a Fast Conformer with CTC, RNN-T, TDT or a hybrid",
        model="conformer",
        detect="asr_lab.models.conformer.formats:is_nemo",
        read=f"{INTEROP}read_nemo",
    ),
    FormatSpec(
        name="parakeet",
        summary="a folder of transformers' ParakeetForCTC, ParakeetForRNNT or ParakeetForTDT",
        model="conformer",
        detect="asr_lab.models.conformer.formats:is_parakeet",
        read=f"{INTEROP}read_parakeet",
        write=f"{INTEROP}write_parakeet",
    ),
    FormatSpec(
        name="onnx",
        summary="a folder of ONNX graphs, and JSON with all that decoding needs",
        model="conformer",
        write=f"{INTEROP}write_onnx",
    ),
    FormatSpec(
        name="onnx-stream",
        summary="the same for audio that arrives: a chunk of steps, its states in and out",
        model="conformer",
        write=f"{INTEROP}write_onnx_stream",
    ),
)


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register `conformer`."""
    for other in FORMATS:
        registry.add(other)
    registry.add(
        ModelSpec(
            name="conformer",
            summary="Fast Conformer encoder with CTC, a transducer, or both",
            model="asr_lab.models.conformer.model:ConformerASRModel",
            config="asr_lab.models.conformer.config:ConformerConfig",
            presets=("tiny", *PUBLISHED, "streaming"),
            layouts=("padded", "packed"),
            recipes={
                "tiny": {
                    "train.epochs": 10,
                    "train.lr": 3e-3,
                    "train.warmup": 0.1,
                    "train.weight_decay": 1e-2,
                    "train.ema": 0.99,
                    "data.batch_seconds": 40,
                    "data.speeds": (0.9, 1.0, 1.1),
                    "data.freq_width": 10,
                    "data.time_masks": 2,
                },
                **dict.fromkeys((*PUBLISHED, "streaming"), FROM_SCRATCH),
            },
        )
    )
