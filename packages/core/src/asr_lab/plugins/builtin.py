"""What the core itself registers: it is a plugin like any other."""

from asr_lab.plugins.hooks import hookimpl
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import PrecisionSpec, TokenizerSpec

TOKENIZERS = (
    TokenizerSpec(
        name="characters",
        summary="one token per character of the training text",
        train="asr_lab.tokenizers.base:train_characters",
        load="asr_lab.tokenizers.base:characters_from_bytes",
    ),
    TokenizerSpec(
        name="bpe",
        summary="byte-pair encoding with byte fallback, by sentencepiece",
        train="asr_lab.tokenizers.bpe:train_bpe",
        load="asr_lab.tokenizers.bpe:bpe_from_bytes",
    ),
)

MANAGERS = "asr_lab.precision.manager:"
PRECISIONS = (
    PrecisionSpec(
        name="fp32", summary="IEEE single precision", manager=f"{MANAGERS}PrecisionManager"
    ),
    PrecisionSpec(
        name="tf32", summary="FP32 with short products", manager=f"{MANAGERS}TF32Manager"
    ),
    PrecisionSpec(
        name="bf16", summary="BF16 products, FP32 weights", manager=f"{MANAGERS}BF16Manager"
    ),
    PrecisionSpec(name="fp16", summary="FP16 with loss scaling", manager=f"{MANAGERS}FP16Manager"),
    PrecisionSpec(name="fp8", summary="not in this version", manager=f"{MANAGERS}UnbuiltManager"),
    PrecisionSpec(name="mxfp8", summary="not in this version", manager=f"{MANAGERS}UnbuiltManager"),
    PrecisionSpec(name="mxfp4", summary="not in this version", manager=f"{MANAGERS}UnbuiltManager"),
)


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register the core's data sets, tokenizers, precisions, trackers and commands."""
    for tokenizer in TOKENIZERS:
        registry.add(tokenizer)
    for precision in PRECISIONS:
        registry.add(precision)
