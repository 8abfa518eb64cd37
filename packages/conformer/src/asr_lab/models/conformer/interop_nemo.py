"""NeMo's `.nemo` archives: a tar of `model_config.yaml`, `model_weights.ckpt` and the tokenizer."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import yaml
from torch import Tensor

from asr_lab.audio.recipes import recipe
from asr_lab.checkpoints.archives import unpack
from asr_lab.checkpoints.errors import DamagedCheckpointError, MismatchedCheckpointError
from asr_lab.checkpoints.reader import read_pt
from asr_lab.models.conformer.config import ConformerConfig
from asr_lab.models.conformer.interop_names import (
    COUNTER,
    blank_last,
    boolean,
    integer,
    shown,
    to_ours,
    whole_numbers,
)
from asr_lab.models.conformer.model import ConformerASRModel
from asr_lab.tokenizers import BPETokenizer
from asr_lab.utils.errors import UserError

CONFIG, WEIGHTS, TOKENIZER = "model_config.yaml", "model_weights.ckpt", "tokenizer.model"
LARGEST_TEXT = 64 * 2**20
"""Most bytes of a configuration or a tokenizer."""
FIXED: Mapping[str, Mapping[str, object]] = {
    "encoder": {
        "subsampling": "dw_striding",
        "self_attention_model": "rel_pos",
        "att_context_style": "regular",
        "untie_biases": True,
        "causal_downsampling": False,
        "reduction": None,
        "feat_out": -1,
        "conv_context_size": None,
        "ff_activation": "swish",
    },
    "preprocessor": {
        "window": "hann",
        "log": True,
        "log_zero_guard_type": "add",
        "normalize": "per_feature",
        "frame_splicing": 1,
        "preemph": 0.97,
        "mag_power": 2.0,
        "lowfreq": 0,
        "highfreq": None,
        "exact_pad": False,
    },
    "decoder": {"blank_as_pad": True, "normalization_mode": None},
}
"""Settings that can be chosen there and not here; one that is not there has this value."""


def read_archive(path: Path) -> tuple[ConformerASRModel, BPETokenizer]:
    """Read a `.nemo` archive; see `interop.read_nemo`."""
    with TemporaryDirectory(prefix="asr-lab-") as temporary:
        folder = Path(temporary)
        names = unpack(path, folder, lambda name: name in (CONFIG, WEIGHTS) or _is_model(name))
        for name in (CONFIG, WEIGHTS):
            if name not in names:
                raise DamagedCheckpointError(f"{path} lacks {name}; copy it again")
        content = _yaml(path, folder / CONFIG)
        tokenizer = _tokenizer(path, folder, content, names)
        try:
            config = our_config(content, tokenizer.size)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise MismatchedCheckpointError(f"{path} cannot be read: {reason}") from error
        tensors = _tensors(path, folder / WEIGHTS)
    order = blank_last(config.vocab, config.vocab + 1)
    state = to_ours(config, tensors, "nemo", order, path)
    model = ConformerASRModel(config)
    model.load_state_dict(state)
    return model.eval(), tokenizer


def our_config(content: Mapping[str, object], vocab: int) -> ConformerConfig:
    """Return our configuration of a `model_config.yaml`.

    Raises UserError for what this lab cannot build, KeyError for a setting that is missing.
    """
    for section, wanted in FIXED.items():
        found = _section(content, section)
        for name, value in wanted.items():
            if found.get(name, value) not in (value, str(value)):
                raise UserError(
                    f"{section}.{name} is {shown(found[name])}; only {value!r} is supported"
                )
    encoder, features = _section(content, "encoder"), _section(content, "preprocessor")
    if any(limit != -1 for limit in cast(list[int], encoder.get("att_context_size") or [-1, -1])):
        raise UserError(
            f"encoder.att_context_size is {shown(encoder['att_context_size'])}; only full"
        )
    mels, sample_rate = integer(features, "features"), integer(features, "sample_rate", 16000)
    ours = recipe("nemo", mels, sample_rate)
    sizes = {"window_size": ours.window_length, "window_stride": ours.hop_length}
    for name, samples in sizes.items():
        if round(float(cast(float, features[name])) * sample_rate) != samples:
            raise UserError(
                f"preprocessor.{name} is {shown(features[name])}; only {samples} samples"
            )
    if features.get("n_fft") not in (None, ours.n_fft):
        raise UserError(f"preprocessor.n_fft is {shown(features['n_fft'])}; only {ours.n_fft}")
    dim, channels = integer(encoder, "d_model"), integer(encoder, "subsampling_conv_channels", -1)
    norms = {"batch_norm": "batch", "layer_norm": "layer"}
    norm = encoder.get("conv_norm_type", "batch_norm")
    if not isinstance(norm, str) or norm not in norms:
        raise UserError(f"encoder.conv_norm_type is {shown(norm)}; only {' and '.join(norms)}")
    settings: dict[str, Any] = {"norm": norms[norm], **_heads(content)}
    return ConformerConfig(
        vocab=vocab,
        mels=mels,
        sample_rate=sample_rate,
        dim=dim,
        layers=integer(encoder, "n_layers"),
        heads=integer(encoder, "n_heads", 4),
        kernel=integer(encoder, "conv_kernel_size", 31),
        feedforward=integer(encoder, "ff_expansion_factor", 4),
        subsampling=integer(encoder, "subsampling_factor", 4),
        subsampling_channels=dim if channels == -1 else channels,
        positions="relative",
        bias=boolean(encoder, "use_bias", True),
        scale_input=boolean(encoder, "xscaling", True),
        dropout=float(cast(float, encoder.get("dropout", 0.1))),
        freeze_statistics=norms[norm] == "batch",
        **settings,
    )


def _heads(content: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of the heads."""
    decoder, joint = _section(content, "decoder"), _section(content, "joint")
    if not joint:
        return {"head": "ctc"}
    predictor, network = _section(decoder, "prednet"), _section(joint, "jointnet")
    durations = integer(joint, "num_extra_outputs", 0)
    found: dict[str, object] = {
        "head": "tdt" if durations else "rnnt",
        "predictor_dim": integer(predictor, "pred_hidden"),
        "predictor_layers": integer(predictor, "pred_rnn_layers", 1),
        "joint_dim": integer(network, "joint_hidden"),
        "joint_activation": network["activation"],
        **_loss(content),
    }
    if durations:
        said = _section(content, "model_defaults").get("tdt_durations")
        said = said or _section(content, "decoding").get("durations")
        if not isinstance(said, list) or len(said) != durations:
            raise UserError(f"the joint scores {durations} durations, but {shown(said)} are listed")
        found["durations"] = whole_numbers(said)
    if auxiliary := _section(content, "aux_ctc"):
        found["head"] = f"{found['head']}+ctc"
        found["ctc_weight"] = float(cast(float, auxiliary.get("ctc_loss_weight", 0.5)))
    return found


def _loss(content: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of a transducer's loss, with which training goes on."""
    section = _section(content, "loss")
    found = _section(section, f"{section.get('loss_name')}_kwargs")
    names = {"sigma": "sigma", "fast_emit": "fastemit_lambda"}
    return {
        ours: float(cast(float, found[theirs])) for ours, theirs in names.items() if theirs in found
    }


def _section(content: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = content.get(name)
    return found if isinstance(found, dict) else {}


def _is_model(name: str) -> bool:
    return name.endswith(TOKENIZER)


def _yaml(path: Path, file: Path) -> Mapping[str, object]:
    if file.stat().st_size > LARGEST_TEXT:
        raise DamagedCheckpointError(f"{path}: its {CONFIG} is too large to be one")
    try:
        content = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise DamagedCheckpointError(f"{path}: its {CONFIG} is no YAML: {reason}") from error
    if not isinstance(content, dict):
        raise DamagedCheckpointError(f"{path}: its {CONFIG} holds no settings")
    return content


def _tokenizer(
    path: Path, folder: Path, content: Mapping[str, object], names: list[str]
) -> BPETokenizer:
    """Return the sentencepiece tokenizer, which the configuration names `nemo:FILE`."""
    settings = _section(content, "tokenizer")
    said = settings.get("model_path", "")
    said = said.removeprefix("nemo:") if isinstance(said, str) else ""
    if settings.get("type") != "bpe" or said not in names:
        raise MismatchedCheckpointError(
            f"{path} has a tokenizer of type {shown(settings.get('type'))} in {said!r:.80}; "
            "only one sentencepiece model (bpe) is supported"
        )
    if (folder / said).stat().st_size > LARGEST_TEXT:
        raise DamagedCheckpointError(f"{path}: {said} is too large to be a tokenizer")
    try:
        return BPETokenizer((folder / said).read_bytes())
    except UserError as error:
        raise DamagedCheckpointError(f"{path}: {said}: {error}") from error


def _tensors(path: Path, file: Path) -> dict[str, Tensor]:
    """Return the weights, without what is computed from the configuration."""
    try:
        content = read_pt(file)
    except UserError as error:
        reason = str(error).replace(str(file), WEIGHTS)
        raise type(error)(f"{path}: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise DamagedCheckpointError(f"{path}: its {WEIGHTS} holds no state dict")
    return {
        name: tensor
        for name, tensor in content.items()
        if not name.startswith("preprocessor.") and not name.endswith(f".{COUNTER}")
    }
