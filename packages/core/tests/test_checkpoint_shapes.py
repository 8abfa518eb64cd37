"""Which settings change the shapes of weights is found by building models, and costs no memory."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from asr_lab.checkpoints.shapes import changes, shapes, told, vocabulary_weights, weight_changes
from asr_lab.layers.ctc_model import CTCModel
from asr_lab.models.base import (
    Batch,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    ModelConfig,
    Sequences,
    State,
)
from asr_lab.plugins import ModelSpec


@dataclass(frozen=True, kw_only=True)
class WideConfig(ModelConfig):
    """Widths of the model below."""

    dim: int = 12
    parts: int = 3
    """Parts of the width: a setting that no weight shows."""
    layers: int = 2
    curious: bool = False
    """Look at the numbers that the weights are drawn as."""

    def __post_init__(self) -> None:
        if self.dim % self.parts:
            raise ValueError(f"dim must be a multiple of parts, {self.parts}; got {self.dim}")

    def steps(self, frames: int) -> int:
        return frames


class WideEncoder(Encoder):
    def __init__(self, config: WideConfig) -> None:
        super().__init__()
        widths = [config.mels, *[config.dim] * (config.layers - 1)]
        layers = [nn.Linear(width, config.dim) for width in widths]
        self.layers = nn.ModuleList(layers)
        self.largest = float(layers[0].weight.max()) if config.curious else 1.0

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        values = features.pad().values
        for layer in self.layers:
            values = layer(values)
        return EncoderOutput(Sequences(values, features.lengths))


class WideModel(CTCModel[WideConfig]):
    def __init__(self, config: WideConfig) -> None:
        super().__init__(config, WideEncoder(config), config.dim)

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        return [Hypothesis(tokens=(), score=0.0)] * len(batch)


SPEC = ModelSpec(
    name="wide",
    summary="",
    model=f"{__name__}:WideModel",
    config=f"{__name__}:WideConfig",
    presets=(),
)


@pytest.mark.parametrize("curious", [False, True])
def test_shapes_are_those_of_the_model_and_no_random_number_is_used_up(curious: bool) -> None:
    config = WideConfig(vocab=5, curious=curious)
    before = torch.get_rng_state()
    found = shapes(SPEC, config)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == {n: tuple(tensor.shape) for n, tensor in WideModel(config).state_dict().items()}
    assert found["encoder.layers.0.weight"] == (12, 80)


def test_sizes_beyond_any_memory_can_be_asked_for() -> None:
    found = shapes(SPEC, WideConfig(dim=3_000_000))
    assert found["encoder.layers.1.weight"] == (3_000_000, 3_000_000)


def test_the_weights_of_the_vocabulary_are_those_that_follow_its_size() -> None:
    assert vocabulary_weights(SPEC, WideConfig(vocab=5)) == {
        "head.linear.weight",
        "head.linear.bias",
    }


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (WideConfig(), {}),
        (WideConfig(vocab=7), {}),
        (WideConfig(parts=4, features="whisper"), {}),
        (WideConfig(layers=3), {"layers": (2, 3)}),
        (WideConfig(layers=3, parts=4), {"layers": (2, 3)}),
        (WideConfig(mels=40, layers=3, vocab=9), {"mels": (80, 40), "layers": (2, 3)}),
        # Neither alone makes a model: 12 is no multiple of 5, nor 10 of 3.
        (WideConfig(dim=10, parts=5), {"dim": (12, 10), "parts": (3, 5)}),
    ],
)
def test_only_settings_that_change_weights_are_named(
    after: WideConfig, expected: dict[str, tuple[object, object]]
) -> None:
    assert weight_changes(SPEC, WideConfig(), after) == expected


def test_changes_are_all_settings_but_the_number_of_tokens() -> None:
    found = changes(WideConfig(vocab=3), WideConfig(vocab=4, parts=4, sample_rate=8000))
    assert found == {"parts": (3, 4), "sample_rate": (16000, 8000)}
    assert told(found) == "sample-rate is 16000 there, 8000 here, parts is 3 there, 4 here"
