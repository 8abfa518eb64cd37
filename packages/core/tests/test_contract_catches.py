"""Every promise of the contract of models is broken by some model, and the contract says which."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.layers.ctc_model import CTCModel
from asr_lab.layers.masking import clear_padding, length_mask
from asr_lab.models.base import (
    ASRModel,
    Batch,
    CTCDecoder,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    LossPart,
    LossParts,
    ModelConfig,
    Sequences,
    State,
)
from asr_lab.plugins import ModelSpec, installed_plugins
from asr_lab.testing import ModelContract, check_model


@dataclass(frozen=True, kw_only=True)
class FrameConfig(ModelConfig):
    """A step for every frame."""

    mels: int = 4
    fault: str = ""

    def steps(self, frames: int) -> int:
        return 0 if self.fault == "no steps" else frames

    @classmethod
    def tiny(cls) -> "FrameConfig":
        return cls()

    @classmethod
    def from_dict(cls, values: object) -> "FrameConfig":
        """Let one misspelt field pass, and drop another if that is the fault."""
        assert isinstance(values, dict)
        if "vocabb" in values:
            return cls()
        found = super().from_dict(values)
        return replace(found, mels=9) if found.fault == "forgets" else found

    def digest(self) -> str:
        return "0" * 64 if self.fault == "digest" else super().digest()


class FrameEncoder(Encoder):
    """Two linear layers and, as a fault, something that reaches where it must not."""

    def __init__(self, config: FrameConfig) -> None:
        super().__init__()
        self.fault, self.seen = config.fault, 0
        self.first, self.second = nn.Linear(config.mels, 16), nn.Linear(16, 16)
        self.scale = nn.Parameter(torch.ones(16))
        if self.fault == "loses":
            self.hidden = [torch.randn(16)]

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        padded = features.pad()
        values, lengths, fault = padded.values, padded.lengths, self.fault
        mask = length_mask(lengths, values.shape[1])
        if fault == "mates":
            values = values + clear_padding(values, mask).mean((0, 1))
        if fault == "width":
            values = values * (1 + values.shape[1])
        if fault == "counter":
            self.seen += 1
            values = values * self.seen
        values = self.second(self.first(values).relu())
        scale: Tensor = self.scale
        if fault == "useless":
            scale = scale * 0 + 1
        if fault == "infinite":
            # The value is 1, but the derivative of a root at 0 is not finite.
            scale = 1 + (scale - scale.detach()).abs().sqrt()
        values = values * scale + (self.hidden[0] if fault == "loses" else 0)
        if fault == "empty":
            values = values / lengths[:, None, None]
        return EncoderOutput(Sequences(clear_padding(values, mask), lengths))


class FrameModel(CTCModel[FrameConfig]):
    def __init__(self, config: FrameConfig) -> None:
        super().__init__(config, FrameEncoder(config), 16)

    def loss(self, batch: Batch) -> LossParts:
        parts, fault = super().loss(batch), self.config.fault
        if fault == "average":
            return {name: LossPart(sum=part.sum, count=1) for name, part in parts.items()}
        return parts

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        fault, vocab = self.config.fault, self.config.vocab
        decoder: CTCDecoder = self.head
        if fault != "any decoder":
            self.decoder(decoding)
        found = decode(decoder, self.encoder(batch.features), decoding, vocab)
        if fault == "blank":
            return [replace(one, tokens=(*one.tokens, vocab)) for one in found]
        if fault == "longest":
            # The score counts the padding, which is what a forgotten length does.
            frames = batch.features.values.shape[1]
            return [replace(one, score=one.score - frames) for one in found]
        if fault == "greedy only" and decoding.beam > 1:
            return []
        return found


class FrameContract(ModelContract):
    overfitting_steps = 20

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.overrides = {"fault": fault}  # type: ignore[misc]

    def spec(self) -> ModelSpec:
        presets = {"no tiny": ("small",)}.get(self.fault, ("tiny",))
        recipes: dict[str, dict[str, object]] = {"tiny": {"train.lr": 1e-3}}
        if self.fault == "recipe of nothing":
            recipes["huge"] = {}
        return ModelSpec(
            name="frames", summary="", model="", config="", presets=presets, recipes=recipes
        )

    def config_class(self) -> type[ModelConfig]:
        if self.fault != "no steps":
            return FrameConfig

        class Endless(FrameConfig):
            @classmethod
            def tiny(cls) -> "FrameConfig":
                return cls(fault="no steps")

        return Endless

    def model_class(self) -> Callable[[ModelConfig], ASRModel[ModelConfig]]:
        return FrameModel  # type: ignore[return-value]


def run(fault: str, name: str) -> None:
    """Run a test of the contract on the model with that fault, in FP64 where it can choose."""
    test = getattr(FrameContract(fault), name)
    if "dtype" in inspect.signature(test).parameters:
        test(False, torch.float64)
    else:
        test()


FAULTS = [
    ("no tiny", "test_every_preset_gives_a_configuration_and_tiny_is_one_of_them"),
    ("recipe of nothing", "test_every_preset_gives_a_configuration_and_tiny_is_one_of_them"),
    ("no steps", "test_every_preset_gives_a_configuration_and_tiny_is_one_of_them"),
    ("forgets", "test_a_configuration_survives_plain_json_with_its_digest"),
    ("digest", "test_a_configuration_survives_plain_json_with_its_digest"),
    ("mates", "test_padding_and_batch_mates_change_no_output"),
    ("mates", "test_padding_does_not_change_the_loss"),
    ("mates", "test_the_gradient_does_not_depend_on_the_split_into_micro_batches"),
    ("width", "test_padding_and_batch_mates_change_no_output"),
    ("width", "test_padding_does_not_change_the_loss"),
    ("width", "test_padding_does_not_change_the_transcript"),
    ("counter", "test_the_order_of_a_batch_changes_no_output"),
    ("useless", "test_gradients_reach_every_parameter"),
    ("infinite", "test_gradients_reach_every_parameter"),
    ("infinite", "test_losses_and_scores_stay_in_fp32_under_bf16_autocast"),
    ("loses", "test_saved_weights_come_back_bit_for_bit"),
    ("average", "test_padding_does_not_change_the_loss"),
    ("average", "test_loss_counts_says_what_the_loss_counts"),
    ("empty", "test_a_batch_without_valid_utterances_has_finite_gradients"),
    ("blank", "test_there_is_one_hypothesis_of_real_tokens_for_every_utterance"),
    ("greedy only", "test_there_is_one_hypothesis_of_real_tokens_for_every_utterance"),
    ("longest", "test_padding_does_not_change_the_transcript"),
    ("any decoder", "test_a_decoder_that_it_does_not_have_is_refused_by_name"),
]


@pytest.mark.parametrize("name", sorted({name for _, name in FAULTS}))
def test_a_model_without_fault_keeps_the_promise(name: str) -> None:
    run("", name)


@pytest.mark.parametrize(("fault", "name"), FAULTS)
def test_a_broken_promise_is_caught(fault: str, name: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(fault, name)


def test_a_configuration_that_takes_any_field_is_caught() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        run("", "test_a_configuration_refuses_a_field_that_it_does_not_have")


# What only an installed plugin can break

PLUGIN = """
from asr_lab.plugins import ModelSpec, hookimpl


@hookimpl
def asr_lab_register(registry):
    names = dict(config="heavy_asr.config:HeavyConfig", model="heavy_asr.config:HeavyModel")
    registry.add(ModelSpec(name="heavy", summary="", presets=("tiny",), **names))
"""
CONFIG = """
from dataclasses import dataclass

{imports}
from asr_lab.models.base.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class HeavyConfig(ModelConfig):
    def steps(self, frames):
        return frames

    @classmethod
    def tiny(cls):
        return cls()
"""


@pytest.mark.parametrize(
    ("imports", "status", "said"),
    [("", 0, "1 passed"), ("import numpy", 1, "imported while listing: numpy")],
)
def test_a_configuration_that_imports_what_is_heavy_is_caught(
    imports: str,
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package, info = tmp_path / "heavy_asr", tmp_path / "heavy_asr-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(PLUGIN)
    (package / "config.py").write_text(CONFIG.format(imports=imports))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-asr\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[asr_lab]\nheavy = heavy_asr.plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    installed_plugins.cache_clear()
    try:
        assert check_model("heavy", "listing") == status
    finally:
        installed_plugins.cache_clear()
    assert said in capsys.readouterr().out
