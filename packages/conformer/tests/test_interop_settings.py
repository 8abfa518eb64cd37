"""Settings of other systems are taken over exactly, or refused in one line that names them."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.audio.recipes import recipe
from asr_lab.checkpoints import CheckpointError
from asr_lab.models.conformer import ConformerASRModel
from asr_lab.models.conformer import interop_nemo as nemo
from asr_lab.models.conformer import interop_parakeet as parakeet
from asr_lab.models.conformer.config import ConformerConfig
from asr_lab.models.conformer.interop import read_parakeet, write_parakeet
from asr_lab.tokenizers import BPETokenizer
from asr_lab.tokenizers.sentencepieces import BPE, UNKNOWN, Piece, Pieces, write_pieces
from asr_lab.utils.errors import UserError

Json = dict[str, Any]
Change = Callable[[Json], object]
VOCAB = 4
BASE: Json = {
    "vocab": VOCAB,
    "mels": 16,
    "dim": 16,
    "layers": 1,
    "heads": 2,
    "kernel": 3,
    "feedforward": 2,
    "subsampling": 8,
    "subsampling_channels": 4,
    "positions": "relative",
    "norm": "batch",
    "freeze_statistics": True,
    "predictor_dim": 12,
    "joint_dim": 12,
}
CONFIGS = {head: ConformerConfig(**BASE, head=head) for head in ("ctc", "rnnt", "tdt")}
OTHER: Json = {
    "mels": 24,
    "sample_rate": 8000,
    "dim": 24,
    "layers": 3,
    "heads": 4,
    "kernel": 7,
    "feedforward": 3,
    "subsampling": 4,
    "subsampling_channels": 8,
    "bias": False,
    "scale_input": True,
    "dropout": 0.25,
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def tokenizer() -> BPETokenizer:
    pieces = [Piece("<unk>", 0.0, UNKNOWN), *(Piece(text, -1.0) for text in ("\u2581", "a", "b"))]
    return BPETokenizer(write_pieces(Pieces(pieces=pieces, kind=BPE)))


@pytest.mark.parametrize("name", OTHER)
def test_each_setting_comes_back_from_a_parakeet_configuration(name: str) -> None:
    config = ConformerConfig(**{**BASE, "head": "tdt", name: OTHER[name]})
    features = parakeet._processor(config, "<pad>")["feature_extractor"]
    assert isinstance(features, dict)
    found, blank_id = parakeet.our_config(parakeet.their_config(config, VOCAB), features)
    assert (found, blank_id) == (config, VOCAB)


@pytest.mark.parametrize("change", [{"predictor_layers": 3}, {"durations": (0, 1, 3)}])
def test_the_settings_of_a_transducer_come_back(change: Json) -> None:
    config = ConformerConfig(**{**BASE, "head": "tdt", **change})
    assert parakeet.our_config(parakeet.their_config(config, 2), {}) == (config, 2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    write_parakeet(ConformerASRModel(CONFIGS["tdt"]), tokenizer(), tmp_path)
    return tmp_path


def edit(path: Path, change: Change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def encoder(**values: object) -> Change:
    return lambda content: content["encoder_config"].update(values)


def top(**values: object) -> Change:
    return lambda content: content.update(values)


PARAKEET: dict[str, tuple[Change, str]] = {
    "a type that is a list": (top(model_type=[]), "is of model type []; only parakeet_ctc"),
    "another type": (top(model_type="whisper"), "is of model type 'whisper'"),
    "no encoder": (lambda c: c.pop("encoder_config"), "no 'encoder_config'"),
    "an encoder that is text": (top(encoder_config="x"), "encoder_config must be an object"),
    "an encoder that is null": (top(encoder_config=None), "encoder_config must be an object"),
    "another activation": (encoder(hidden_act="relu"), "hidden_act is 'relu'; only 'silu'"),
    "another stride": (encoder(subsampling_conv_stride=3), "subsampling_conv_stride is 3; only 2"),
    "one bias of two": (encoder(attention_bias=False), "must be the same"),
    "a bias that is text": (
        encoder(attention_bias="false", convolution_bias="false"),
        "attention_bias must be true or false; got 'false'",
    ),
    "a scale that is text": (encoder(scale_input="false"), "must be true or false; got 'false'"),
    "a width that does not divide": (encoder(intermediate_size=33), "33 is no multiple of"),
    "a width of zero": (encoder(hidden_size=0), "cannot be read"),
    "a width that is true": (encoder(hidden_size=True), "hidden_size must be a whole number"),
    "layers that are text": (encoder(num_hidden_layers="2"), "must be a whole number; got '2'"),
    "no layers": (encoder(num_hidden_layers=0), "layers must be 1 or more"),
    "layers without end": (encoder(num_hidden_layers=10**12), "it lacks encoder.layers.1."),
    "an even kernel": (encoder(conv_kernel_size=4), "kernel must be odd; got 4"),
    "another kernel": (encoder(conv_kernel_size=5), "(16, 1, 3) instead of (16, 1, 5)"),
    "subsampling by 16": (encoder(subsampling_factor=16), "subsampling must be 4 or 8"),
    "a dropout beyond floats": (encoder(dropout=10**400), "too large"),
    "a dropout of one": (encoder(dropout=1), "dropout must be from 0 to below 1"),
    "a dropout that is no number": (encoder(dropout="x"), "could not convert"),
    "no vocabulary": (lambda c: c.pop("vocab_size"), "vocab_size must be a whole number"),
    "too many tokens": (top(vocab_size=10**12), "has 4 tokens, but the model scores"),
    "a blank behind the end": (top(blank_token_id=9), "the blank's id 9 is not below vocab_size 5"),
    "a blank before the start": (top(blank_token_id=-1), "the blank's id -1 is not below"),
    "durations that are text": (top(durations=["0", "1"]), "durations must be whole numbers"),
    "half durations": (top(durations=[0, 1, 1.5]), "durations must be whole numbers"),
    "durations without 1": (top(durations=[0, 2]), "durations must be distinct"),
    "a duration more": (top(durations=[0, 1, 2, 3, 4, 5]), "instead of (11,"),
    "predictors without end": (top(num_decoder_layers=10**12), "it lacks decoder.lstm."),
}


@pytest.mark.parametrize("name", PARAKEET)
def test_a_parakeet_configuration_that_has_no_place_is_told_in_one_line(
    name: str, folder: Path
) -> None:
    change, message = PARAKEET[name]
    edit(folder / "config.json", change)
    with pytest.raises(CheckpointError) as told:
        read_parakeet(folder)
    assert message in str(told.value) and "\n" not in str(told.value)
    assert str(told.value).startswith(str(folder))


@given(
    place=st.sampled_from(sorted(parakeet.their_config(CONFIGS["tdt"], 0)) + ["encoder_config"]),
    inner=st.sampled_from(sorted(parakeet.their_config(CONFIGS["tdt"], 0)["encoder_config"])),  # type: ignore[call-overload]
    junk=JUNK,
)
def test_a_setting_of_any_value_is_taken_or_refused_and_never_an_error_of_ours(
    place: str, inner: str, junk: object
) -> None:
    content: Json = deepcopy(parakeet.their_config(CONFIGS["tdt"], 0))
    if place == "encoder_config":
        content[place][inner] = junk
    elif place != "model_type":  # which was looked at before
        content[place] = junk
    try:
        parakeet.our_config(content, {})
    except (KeyError, TypeError, ValueError, ArithmeticError):
        pass  # what read_folder tells in one line


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("data", [b"", b"\xff\xfe\x00", b"{", b"[]", b"[" * 100_000])
def test_a_damaged_file_of_a_folder_is_named_in_one_line(
    name: str, data: bytes, folder: Path
) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(UserError, match=name.replace(".", r"\.")) as told:
        read_parakeet(folder)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_file_that_a_folder_lacks_is_named(name: str, folder: Path) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"no (file )?{folder / name}"):
        read_parakeet(folder)


FEATURES = {"hop_length": 80, "n_fft": 400, "win_length": 320, "preemphasis": 0.0}


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_another_recipe_are_refused_with_both_values(name: str, folder: Path) -> None:
    wanted = parakeet._processor(CONFIGS["tdt"], "x")["feature_extractor"]
    assert isinstance(wanted, dict)
    edit(
        folder / "processor_config.json",
        lambda c: c["feature_extractor"].update({name: FEATURES[name]}),
    )
    message = f"{name} of the features is {FEATURES[name]}; only {wanted[name]} is supported"
    with pytest.raises(CheckpointError, match=message):
        read_parakeet(folder)


def test_features_that_leave_a_value_out_have_their_default_at_any_sample_rate() -> None:
    config = ConformerConfig(**{**BASE, "head": "tdt", "mels": 80, "sample_rate": 8000})
    content = parakeet.their_config(config, VOCAB)
    features = parakeet._processor(config, "<pad>")["feature_extractor"]
    assert isinstance(features, dict)
    assert parakeet.our_config(content, features)[0] == config
    for name, default in {"hop_length": 160, "n_fft": 512, "win_length": 400}.items():
        some = {key: value for key, value in features.items() if key != name}
        with pytest.raises(UserError, match=f"{name} of the features is {default}; only"):
            parakeet.our_config(content, some)
    for name in ("feature_size", "preemphasis"):
        some = {key: value for key, value in features.items() if key != name}
        assert parakeet.our_config(content, some)[0] == config


def test_the_defaults_of_features_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    try:
        theirs = transformers.ParakeetFeatureExtractor()
    except ImportError as error:  # before 5.23 it makes its filters with librosa
        pytest.skip(str(error).strip())
    assert {name: getattr(theirs, name) for name in parakeet.EXTRACTOR} == parakeet.EXTRACTOR


def test_the_older_file_of_features_is_read_where_there_is_no_newer(folder: Path) -> None:
    new = folder / "processor_config.json"
    features = json.loads(new.read_text())["feature_extractor"]
    new.unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps({**features, "n_fft": 300}))
    with pytest.raises(CheckpointError, match="n_fft of the features is 300; only 512"):
        read_parakeet(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "local"}, "attention is local"),
        ({"attention": "chunked"}, "attention is chunked"),
        ({"causal_convolution": True}, "causal-convolution is true"),
        ({"causal_subsampling": True}, "causal-subsampling is true"),
        ({"positions": "rotary"}, "positions are rotary"),
        ({"norm": "layer", "freeze_statistics": False}, "norm is layer"),
        ({"features": "whisper"}, "features are whisper"),
        ({"mels": 20}, "mels, 20, are no multiple of subsampling"),
        ({"head": "rnnt+ctc"}, "head is rnnt"),
        ({"head": "tdt", "joint_dim": 16}, "joint-dim is 16, its predictor-dim 12"),
        ({"vocab": 9}, "the tokenizer has 4 tokens, the model 9"),
    ],
)
def test_a_model_that_parakeet_cannot_hold_is_refused_and_nothing_written(
    change: Json, message: str, tmp_path: Path
) -> None:
    model = ConformerASRModel(ConformerConfig(**{**BASE, **change}))
    with pytest.raises(UserError) as told:
        write_parakeet(model, tokenizer(), tmp_path / "out")
    assert message in str(told.value) and "\n" not in str(told.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("blank_id", [-1, VOCAB + 1])
def test_a_blank_outside_of_the_scores_is_refused(blank_id: int, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"the blank's id must be from 0 to 4; got {blank_id}"):
        write_parakeet(ConformerASRModel(CONFIGS["ctc"]), tokenizer(), tmp_path, blank_id=blank_id)


NEMO: Mapping[str, Any] = {
    "preprocessor": {"features": 16, "window_size": 0.025, "window_stride": 0.01},
    "encoder": {"d_model": 16, "n_layers": 1, "n_heads": 2},
    "decoder": {"prednet": {"pred_hidden": 12}},
    "joint": {"num_extra_outputs": 3, "jointnet": {"joint_hidden": 8, "activation": "tanh"}},
    "model_defaults": {"tdt_durations": [0, 1, 2]},
}


def test_settings_that_a_nemo_configuration_leaves_out_are_those_of_nemo() -> None:
    found = nemo.our_config(NEMO, VOCAB)
    assert (found.kernel, found.feedforward, found.subsampling) == (31, 4, 4)
    assert (found.subsampling_channels, found.dropout, found.sample_rate) == (16, 0.1, 16000)
    assert found.bias and found.scale_input and found.freeze_statistics
    assert (found.head, found.durations, found.joint_activation) == ("tdt", (0, 1, 2), "tanh")
    assert (found.predictor_dim, found.predictor_layers, found.joint_dim) == (12, 1, 8)


def test_training_goes_on_with_the_loss_that_a_nemo_configuration_names() -> None:
    content = deepcopy(dict(NEMO))
    others = {"tdt_kwargs": {"sigma": 0.05, "fastemit_lambda": 0.01}, "x_kwargs": {"sigma": 9}}
    content["loss"] = {"loss_name": "tdt", **others}
    found = nemo.our_config(content, VOCAB)
    assert (found.sigma, found.fast_emit) == (0.05, 0.01)
    content["loss"]["tdt_kwargs"] = {"sigma": 0.0}
    assert nemo.our_config(content, VOCAB).sigma == 0
    for value in (-1, float("nan"), float("inf")):
        content["loss"]["tdt_kwargs"] = {"sigma": value}
        with pytest.raises(UserError, match="sigma must be 0 or more"):
            nemo.our_config(content, VOCAB)


@pytest.mark.parametrize("sample_rate", [8000, 16000])
def test_windows_in_seconds_are_those_of_the_recipe_in_samples(sample_rate: int) -> None:
    content = deepcopy(dict(NEMO))
    content["preprocessor"]["sample_rate"] = sample_rate
    assert nemo.our_config(content, VOCAB).sample_rate == sample_rate
    content["preprocessor"]["n_fft"] = recipe("nemo", 16, sample_rate).n_fft
    nemo.our_config(content, VOCAB)
    content["preprocessor"]["n_fft"] += 1
    with pytest.raises(UserError, match=f"n_fft is {content['preprocessor']['n_fft']}; only"):
        nemo.our_config(content, VOCAB)


@pytest.mark.parametrize(
    ("section", "name"), [(s, name) for s, wanted in nemo.FIXED.items() for name in wanted]
)
def test_each_setting_that_is_fixed_here_is_refused_by_name_if_chosen_there(
    section: str, name: str
) -> None:
    content = deepcopy(dict(NEMO))
    content[section][name] = nemo.FIXED[section][name]
    nemo.our_config(content, VOCAB)
    content[section][name] = "another\nchoice"
    with pytest.raises(UserError, match=rf"{section}\.{name} is 'another\\nchoice'; only") as told:
        nemo.our_config(content, VOCAB)
    assert "\n" not in str(told.value)


@given(junk=JUNK, data=st.data())
def test_a_nemo_setting_of_any_value_is_taken_or_refused(junk: object, data: st.DataObject) -> None:
    content = deepcopy(dict(NEMO))
    section = data.draw(st.sampled_from(sorted(content)))
    content[section][data.draw(st.sampled_from(sorted(content[section])))] = junk
    try:
        nemo.our_config(content, VOCAB)
    except (KeyError, TypeError, ValueError, OverflowError):
        pass  # what read_archive tells in one line


@pytest.mark.parametrize("name", ["use_bias", "xscaling"])
@pytest.mark.parametrize("value", ["false", "true", 0, None])
def test_only_true_and_false_are_true_and_false(name: str, value: object) -> None:
    content = deepcopy(dict(NEMO))
    for said in (False, True):
        content["encoder"][name] = said
        found = nemo.our_config(content, VOCAB)
        assert said == (found.bias if name == "use_bias" else found.scale_input)
    content["encoder"][name] = value
    with pytest.raises(UserError, match=f"{name} must be true or false; got {value!r}"):
        nemo.our_config(content, VOCAB)


def test_a_yaml_of_few_lines_that_names_millions_of_values_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        names = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} [{names}]")
    many = yaml.safe_load("\n".join(lines))["a11"]
    for section, name in (("encoder", "subsampling"), ("encoder", "n_layers"), ("joint", "x")):
        content = deepcopy(dict(NEMO))
        content[section][name] = many
        if section == "joint":
            content["model_defaults"]["tdt_durations"] = many
        with pytest.raises(UserError) as told:
            nemo.our_config(content, VOCAB)
        assert len(str(told.value)) < 1000
