"""The contract of models holds for a sound model, and catches each of many faults."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from asr_lab.decoding import decode
from asr_lab.layers.ctc_model import CTCModel
from asr_lab.layers.masking import clear_padding, length_mask
from asr_lab.models.base import (
    ASRModel,
    Batch,
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
from asr_lab.plugins import ModelSpec
from asr_lab.testing import ModelContract


@dataclass(frozen=True, kw_only=True)
class SmallConfig(ModelConfig):
    mels: int = 8
    fault: str = ""

    def steps(self, frames: int) -> int:
        return max(1, frames // 2) if self.fault == "steps" else (frames + 1) // 2

    @classmethod
    def tiny(cls) -> "SmallConfig":
        return cls()


class SmallEncoder(Encoder):
    """Two convolutions over time, with a fault if the configuration says so."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        self.fault = config.fault
        self.first = nn.Conv1d(config.mels, 16, 3, stride=2, padding=1)
        self.second = nn.Conv1d(16, 32, 3, padding=1)
        self.norm = nn.BatchNorm1d(32) if self.fault == "batch norm" else nn.Identity()
        if self.fault == "seed":
            generator = torch.Generator()
            generator.seed()
            nn.init.normal_(self.first.weight, generator=generator)
        if self.fault == "unused":
            self.unused = nn.Linear(2, 2)
        noise = torch.randn(32) if self.fault == "buffer" else torch.zeros(32)
        self.register_buffer("noise", noise, persistent=False)

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        padded = features.pad()
        values, lengths = padded.values, padded.lengths
        if self.fault == "packed" and features.packed:
            values = values * 2
        if self.fault != "leak":
            values = clear_padding(values, length_mask(lengths, values.shape[1]))
        values, lengths = self.first(values.mT).relu().mT, (lengths + 1) // 2
        mask = length_mask(lengths, values.shape[1])
        values = self.norm(self.second(clear_padding(values, mask).mT)).mT + self.noise
        if self.fault == "position":
            values = values + torch.arange(len(values))[:, None, None]
        return EncoderOutput(Sequences(clear_padding(values, mask), lengths))


class SmallModel(CTCModel[SmallConfig]):
    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config, SmallEncoder(config), 32)

    def scores(
        self, encoder_output: EncoderOutput, tokens: Tensor | None, token_lengths: Tensor | None
    ) -> dict[str, Tensor | None]:
        scores = self.head.log_probs(encoder_output)
        return {"ctc": scores.exp() if self.config.fault == "probabilities" else scores}

    def loss(self, batch: Batch) -> LossParts:
        part, fault = super().loss(batch)["ctc"], self.config.fault
        if fault == "mean":
            return {"ctc": LossPart(sum=part.sum / max(part.count, 1), count=part.count)}
        if fault == "half":
            return {"ctc": LossPart(sum=part.sum.bfloat16(), count=part.count)}
        if fault == "detached":
            return {"ctc": LossPart(sum=part.sum.detach().requires_grad_(), count=part.count)}
        if fault == "valid":
            return super().loss(replace(batch, valid=torch.ones_like(batch.valid)))
        return {"ctc": part}

    def loss_counts(self, batch: Batch) -> dict[str, int]:
        counts = super().loss_counts(batch)
        return {"ctc": len(batch)} if self.config.fault == "counts" else counts

    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        _, decoder = self.decoder(decoding)
        found = decode(decoder, self.encoder(batch.features), decoding, self.config.vocab)
        if self.config.fault == "hypotheses":
            return found[:-1]
        return found

    def flops(self, batch: Batch) -> int:
        return 1 if self.config.fault == "flops" else super().flops(batch)


class SmallContract(ModelContract):
    """The contract on the class above, without an installed plugin."""

    overfitting_steps = 200

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.overrides = {"fault": fault}  # type: ignore[misc]
        if fault:
            self.overfitting_steps = 20  # type: ignore[misc]

    def spec(self) -> ModelSpec:
        return ModelSpec(
            name="small",
            summary="",
            model="",
            config="",
            presets=("tiny",),
            layouts=("padded", "packed"),
            recipes={
                "tiny": {"train.leraning_rate" if self.fault == "recipe" else "train.lr": 1e-3}
            },
        )

    def config_class(self) -> type[ModelConfig]:
        return SmallConfig

    def model_class(self) -> Callable[[ModelConfig], ASRModel[ModelConfig]]:
        return SmallModel  # type: ignore[return-value]


def run(contract: ModelContract, name: str) -> None:
    """Run a test of the contract, all its cases if it has several."""
    test = getattr(contract, name)
    if "training" in inspect.signature(test).parameters:
        for training in (False, True):
            test(training, torch.float32)
    else:
        test()


NEEDS_A_PLUGIN = "test_listing_it_imports_neither_torch_nor_numpy"
TESTS = [name for name in dir(ModelContract) if name.startswith("test_") and name != NEEDS_A_PLUGIN]


@pytest.mark.parametrize("name", TESTS)
def test_a_sound_model_passes(name: str) -> None:
    run(SmallContract(), name)


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ("leak", "test_padding_and_batch_mates_change_no_output"),
        ("leak", "test_padding_does_not_change_the_loss"),
        ("leak", "test_no_gradient_reaches_the_padding"),
        ("batch norm", "test_padding_and_batch_mates_change_no_output"),
        ("batch norm", "test_the_gradient_does_not_depend_on_the_split_into_micro_batches"),
        ("position", "test_the_order_of_a_batch_changes_no_output"),
        ("position", "test_padding_and_batch_mates_change_no_output"),
        ("packed", "test_packed_input_gives_what_padded_input_gives"),
        ("steps", "test_steps_tells_the_length_of_the_encoder_output"),
        ("steps", "test_calling_it_with_features_alone_scores_every_step"),
        ("probabilities", "test_scores_are_log_probabilities_in_fp32"),
        ("mean", "test_padding_does_not_change_the_loss"),
        ("mean", "test_the_gradient_does_not_depend_on_the_split_into_micro_batches"),
        ("counts", "test_loss_counts_says_what_the_loss_counts"),
        ("valid", "test_loss_counts_says_what_the_loss_counts"),
        ("valid", "test_an_utterance_that_is_not_valid_adds_nothing"),
        ("valid", "test_a_batch_without_valid_utterances_has_finite_gradients"),
        ("half", "test_losses_and_scores_stay_in_fp32_under_bf16_autocast"),
        ("unused", "test_gradients_reach_every_parameter"),
        ("detached", "test_gradients_reach_every_parameter"),
        ("seed", "test_the_same_seed_gives_the_same_weights_and_another_seed_others"),
        ("buffer", "test_saved_weights_come_back_bit_for_bit"),
        ("detached", "test_it_learns_two_utterances_by_heart"),
        ("hypotheses", "test_there_is_one_hypothesis_of_real_tokens_for_every_utterance"),
        ("recipe", "test_every_recipe_sets_what_training_has"),
        ("flops", "test_more_audio_costs_more_operations"),
    ],
)
def test_a_fault_makes_its_test_fail(fault: str, name: str) -> None:
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        run(SmallContract(fault), name)
