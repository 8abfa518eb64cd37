"""The folder of a transformers Parakeet model: `config.json`, safetensors, tokenizer, processor."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr_lab.audio.recipes import recipe
from asr_lab.checkpoints.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
    MissingCheckpointError,
)
from asr_lab.models.conformer.config import ConformerConfig
from asr_lab.models.conformer.interop_names import (
    COUNTER,
    blank_last,
    boolean,
    integer,
    to_ours,
    to_theirs,
    whole_numbers,
)
from asr_lab.models.conformer.interop_tokenizers import from_json, to_json
from asr_lab.models.conformer.model import ConformerASRModel
from asr_lab.tokenizers import BPETokenizer, Tokenizer
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import write_file, writing_folder

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
PROCESSORS = ("processor_config.json", "preprocessor_config.json")
"""What says how features are computed; the second is the older name."""
CLASSES = {
    "parakeet_ctc": "ParakeetForCTC",
    "parakeet_rnnt": "ParakeetForRNNT",
    "parakeet_tdt": "ParakeetForTDT",
}
PREFIX = "parakeet_"
VERSION = "5.23.0"
"""The release of transformers whose files these are."""
FIXED = {
    "hidden_act": "silu",
    "subsampling_conv_kernel_size": 3,
    "subsampling_conv_stride": 2,
}
"""Settings of the encoder that can be chosen there and not here."""
EXTRACTOR = {
    "feature_size": 80,
    "hop_length": 160,
    "n_fft": 512,
    "preemphasis": 0.97,
    "sampling_rate": 16000,
    "win_length": 400,
}
"""What ParakeetFeatureExtractor takes where its settings are left out."""


def read_folder(folder: Path) -> tuple[ConformerASRModel, BPETokenizer]:
    """Read a folder that transformers' `save_pretrained` wrote; see `interop.read_parakeet`."""
    content = _json(folder / CONFIG)
    if content.get("model_type") not in tuple(CLASSES):  # it may be a list, which has no hash
        raise MismatchedCheckpointError(
            f"{folder / CONFIG} is of model type {content.get('model_type')!r}; "
            f"only {', '.join(CLASSES)} can be read"
        )
    try:
        config, blank_id = our_config(content, _features(folder))
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise MismatchedCheckpointError(f"{folder / CONFIG} cannot be read: {reason}") from error
    tokenizer = from_json(_text(folder / TOKENIZER), blank_id)
    if tokenizer.size != config.vocab:
        raise MismatchedCheckpointError(
            f"{folder / TOKENIZER} has {tokenizer.size} tokens, but the model scores "
            f"{config.vocab} and a blank; use the tokenizer that belongs to the weights"
        )
    tensors = {name: value for name, value in _tensors(folder).items() if not _unused(name)}
    order = blank_last(blank_id, config.vocab + 1)
    state = to_ours(config, tensors, "parakeet", order, folder / WEIGHTS)
    model = ConformerASRModel(config)
    model.load_state_dict(state)
    return model.eval(), tokenizer


def our_config(
    content: Mapping[str, object], features: Mapping[str, object]
) -> tuple[ConformerConfig, int]:
    """Return our configuration and their blank's id, from `config.json` and the features' settings.

    Raises UserError for what this lab cannot build, KeyError for a setting that is missing.
    """
    theirs = content["encoder_config"]
    if not isinstance(theirs, dict):
        raise UserError(f"encoder_config must be an object; got {theirs!r:.40}")
    for name, wanted in FIXED.items():
        if theirs.get(name, wanted) != wanted:
            raise UserError(f"{name} is {theirs[name]!r}; only {wanted!r} is supported")
    bias = boolean(theirs, "attention_bias", True)
    if bias != boolean(theirs, "convolution_bias", True):
        raise UserError("attention_bias and convolution_bias must be the same")
    dim, inner = integer(theirs, "hidden_size"), integer(theirs, "intermediate_size")
    if inner % dim:
        raise UserError(f"intermediate_size {inner} is no multiple of hidden_size {dim}")
    mels, sample_rate = integer(theirs, "num_mel_bins", 80), _check_features(features, theirs)
    scores = integer(content, "vocab_size")
    blank_id = integer(content, "pad_token_id" if _is_ctc(content) else "blank_token_id")
    if not 0 <= blank_id < scores:
        raise UserError(f"the blank's id {blank_id} is not below vocab_size {scores}")
    config = ConformerConfig(
        vocab=scores - 1,
        mels=mels,
        sample_rate=sample_rate,
        dim=dim,
        layers=integer(theirs, "num_hidden_layers"),
        heads=integer(theirs, "num_attention_heads"),
        kernel=integer(theirs, "conv_kernel_size", 9),
        feedforward=inner // dim,
        subsampling=integer(theirs, "subsampling_factor", 8),
        subsampling_channels=integer(theirs, "subsampling_conv_channels", 256),
        positions="relative",
        norm="batch",
        bias=bias,
        scale_input=boolean(theirs, "scale_input", True),
        dropout=float(cast(float, theirs.get("dropout", 0.1))),
        freeze_statistics=True,
        **_heads(content),
    )
    return config, blank_id


def _heads(content: Mapping[str, object]) -> dict[str, Any]:
    """Return the settings of the head."""
    kind = cast(str, content["model_type"]).removeprefix(PREFIX)
    if kind == "ctc":
        return {"head": "ctc"}
    width = integer(content, "decoder_hidden_size", 640)
    found: dict[str, object] = {
        "head": kind,
        "predictor_dim": width,
        "predictor_layers": integer(content, "num_decoder_layers", 2),
        "joint_dim": width,
        "joint_activation": content.get("hidden_act", "relu"),
    }
    if kind == "tdt":
        found["durations"] = whole_numbers(
            cast(list[object], content.get("durations", list(range(5))))
        )
    return found


def write_folder(
    model: ConformerASRModel, tokenizer: Tokenizer, folder: Path, blank_id: int | None
) -> None:
    """Write a folder that `from_pretrained` reads; see `interop.write_parakeet`."""
    config = model.config
    blank_id = config.blank_id if blank_id is None else blank_id
    _check_writable(config, tokenizer, blank_id)
    assert isinstance(tokenizer, BPETokenizer)
    blank = "<pad>" if config.head == "ctc" else "<blank>"
    files = {
        CONFIG: their_config(config, blank_id),
        PROCESSORS[0]: _processor(config, blank),
        "tokenizer_config.json": _tokenizer_config(blank),
        "generation_config.json": _generation_config(config, blank_id),
    }
    json_tokenizer = to_json(tokenizer, blank_id, blank)
    tensors = {name: value.detach().cpu() for name, value in model.state_dict().items()}
    theirs = to_theirs(config, tensors, "parakeet", blank_last(blank_id, config.vocab + 1))
    for index in range(config.layers):
        theirs[f"encoder.layers.{index}.conv.norm.{COUNTER}"] = torch.tensor(0)
    with writing_folder(folder) as partial:
        for name, content in files.items():
            text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
            write_file(partial / name, f"{text}\n")
        write_file(partial / TOKENIZER, json_tokenizer)
        save_file(theirs, partial / WEIGHTS, metadata={"format": "pt"})


def their_config(config: ConformerConfig, blank_id: int) -> dict[str, object]:
    """Return the content of `config.json`."""
    encoder = {
        "activation_dropout": config.dropout,
        "attention_bias": config.bias,
        "attention_dropout": config.dropout,
        "conv_kernel_size": config.kernel,
        "convolution_bias": config.bias,
        "dropout": config.dropout,
        "dropout_positions": 0.0,
        "hidden_size": config.dim,
        "initializer_range": 0.02,
        "intermediate_size": config.feedforward * config.dim,
        "layerdrop": 0.0,
        "max_position_embeddings": 5000,
        "model_type": "parakeet_encoder",
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.heads,
        "num_mel_bins": config.mels,
        "scale_input": config.scale_input,
        "subsampling_conv_channels": config.subsampling_channels,
        "subsampling_factor": config.subsampling,
        **FIXED,
    }
    common = {
        "architectures": [CLASSES[PREFIX + config.head]],
        "dtype": "float32",
        "encoder_config": encoder,
        "initializer_range": 0.02,
        "model_type": PREFIX + config.head,
        "pad_token_id": blank_id,
        "transformers_version": VERSION,
        "vocab_size": config.vocab + 1,
    }
    if config.head == "ctc":
        return {**common, "ctc_loss_reduction": "mean", "ctc_zero_infinity": True}
    durations = {"durations": list(config.durations)} if config.head == "tdt" else {}
    return {
        **common,
        **durations,
        "blank_token_id": blank_id,
        "decoder_hidden_size": config.joint_dim,
        "hidden_act": config.joint_activation,
        "is_encoder_decoder": True,
        "max_symbols_per_step": 10,
        "num_decoder_layers": config.predictor_layers,
    }


def _is_ctc(content: Mapping[str, object]) -> bool:
    return content["model_type"] == "parakeet_ctc"


def _check_writable(config: ConformerConfig, tokenizer: Tokenizer, blank_id: int) -> None:
    """Raise UserError for a model that transformers' classes cannot hold."""
    problems = {
        f"head is {config.head}; train with --model.head ctc, rnnt or tdt": PREFIX + config.head
        not in CLASSES,
        f"joint-dim is {config.joint_dim}, its predictor-dim {config.predictor_dim}": config.head
        != "ctc"
        and config.joint_dim != config.predictor_dim,
        "positions are rotary; train with --model.positions relative": config.positions
        != "relative",
        f"attention is {config.attention}; train with --model.attention full": config.attention
        != "full",
        "causal-convolution is true; train without": config.causal_convolution,
        "causal-subsampling is true; train without": config.causal_subsampling,
        "norm is layer; train with --model.norm batch": config.norm != "batch",
        f"features are {config.features}; train with --model.features nemo": config.features
        != "nemo",
        f"mels, {config.mels}, are no multiple of subsampling": config.mels % config.subsampling,
        f"tokenizer is of kind {tokenizer.kind}; train with --data.tokenizer bpe": not isinstance(
            tokenizer, BPETokenizer
        ),
    }
    for problem, found in problems.items():
        if found:
            raise UserError(f"transformers' Parakeet has no place for this model: its {problem}")
    if tokenizer.size != config.vocab:
        raise UserError(f"the tokenizer has {tokenizer.size} tokens, the model {config.vocab}")
    if not 0 <= blank_id <= config.vocab:
        raise UserError(f"the blank's id must be from 0 to {config.vocab}; got {blank_id}")


def _check_features(features: Mapping[str, object], encoder: Mapping[str, object]) -> int:
    """Return the sample rate, if the features are those of the recipe `nemo`.

    A folder that says nothing of features has them; one that leaves a value out has their default,
    at any sample rate.
    """
    mels = integer(encoder, "num_mel_bins", 80)
    said = {**EXTRACTOR, **features} if features else {}
    sample_rate = integer(said, "sampling_rate", 16000)
    ours = recipe("nemo", mels, sample_rate)
    wanted = {
        "feature_size": mels,
        "hop_length": ours.hop_length,
        "n_fft": ours.n_fft,
        "preemphasis": ours.preemphasis,
        "win_length": ours.window_length,
    }
    for name, value in wanted.items():
        if said.get(name, value) != value:
            raise UserError(f"{name} of the features is {said[name]}; only {value} is supported")
    return sample_rate


def _processor(config: ConformerConfig, blank: str) -> dict[str, object]:
    found = recipe("nemo", config.mels, config.sample_rate)
    extractor = {
        "feature_extractor_type": "ParakeetFeatureExtractor",
        "feature_size": config.mels,
        "hop_length": found.hop_length,
        "n_fft": found.n_fft,
        "padding_side": "right",
        "padding_value": 0.0,
        "preemphasis": found.preemphasis,
        "return_attention_mask": True,
        "sampling_rate": config.sample_rate,
        "win_length": found.window_length,
    }
    kind = {
        "blank_token": blank,
        "decoder_type": config.head,
        "processor_class": "ParakeetProcessor",
    }
    return {"feature_extractor": extractor, **kind}


def _tokenizer_config(blank: str) -> dict[str, object]:
    return {
        "backend": "tokenizers",
        "model_max_length": int(1e30),
        "pad_token": blank,
        "processor_class": "ParakeetProcessor",
        "tokenizer_class": "ParakeetTokenizer",
    }


def _generation_config(config: ConformerConfig, blank_id: int) -> dict[str, object]:
    start = {} if config.head == "ctc" else {"decoder_start_token_id": blank_id}
    return {
        **start,
        "_from_model_config": True,
        "output_attentions": False,
        "output_hidden_states": False,
        "pad_token_id": blank_id,
        "transformers_version": VERSION,
    }


def _features(folder: Path) -> Mapping[str, object]:
    """Return the settings of the feature extractor; none if the folder does not say."""
    for name in PROCESSORS:
        if (folder / name).is_file():
            content = _json(folder / name)
            found = content.get("feature_extractor", content)
            if isinstance(found, dict):
                return found
    return {}


def _tensors(folder: Path) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    if not path.is_file():
        raise MissingCheckpointError(f"no {path}; weights in one safetensors file are needed")
    try:
        return load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise DamagedCheckpointError(f"{path} is truncated or damaged: {error}") from error


def _unused(name: str) -> bool:
    return name.endswith(f".{COUNTER}")


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise DamagedCheckpointError(f"{path} is no JSON object")
    return content


def _text(path: Path) -> str:
    if not path.is_file():
        raise MissingCheckpointError(f"no file {path}; give the folder of a Parakeet model")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DamagedCheckpointError(f"{path} is no text") from error
