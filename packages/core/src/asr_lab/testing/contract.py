"""The contract of models as tests: subclass `ModelContract`, name the model, run pytest.

class TestMine(ModelContract):
    model = "mine"
"""

import io
import json
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from asr_lab.data.settings import DataConfig
from asr_lab.models.base import ASRModel, Batch, CTCDecoder, DecodingOptions, ModelConfig
from asr_lab.models.base.outputs import total_loss
from asr_lab.plugins import ModelSpec, installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.testing.graph_contract import GraphContract
from asr_lab.testing.inputs import RandomUtterance, collate, random_utterances
from asr_lab.training.config import RunConfig, TrainConfig
from asr_lab.utils.errors import UnknownNameError, UserError

SINGLE = 1e-5
"""Relative tolerance in FP32: some hundred roundings of 6e-8."""
DOUBLE = 1e-9
"""Relative tolerance in FP64, where only a wrong formula or a leak can show."""
FRAMES = (97, 160, 64, 33)
"""Lengths of the utterances in most tests: ragged, and multiples of no common step."""
DECODING = DecodingOptions(max_tokens=12)


class ModelContract(GraphContract):
    """Every promise that models make to the trainer and the evaluator, one test each."""

    model: ClassVar[str] = ""
    """Name of the model, `plugin/name` if several plugins have it."""
    preset: ClassVar[str] = "tiny"
    """Preset that is built."""
    overrides: ClassVar[Mapping[str, object]] = {}
    """Fields of the configuration to change."""
    vocab: ClassVar[int] = 11
    """Number of tokens without the blank."""
    overfitting_steps: ClassVar[int] = 300
    """Most optimizer steps until two utterances must be known by heart."""

    # What the tests build on

    def spec(self) -> ModelSpec:
        """Return what the plugin registered."""
        return installed_plugins().registry.find(ModelSpec, self.model)[1]

    def config_class(self) -> type[ModelConfig]:
        """Return the class of the configuration."""
        found = load_target(self.spec().config)
        assert isinstance(found, type)
        assert issubclass(found, ModelConfig)
        return found

    def model_class(self) -> Callable[[ModelConfig], ASRModel[ModelConfig]]:
        """Return the class of the model."""
        found = load_target(self.spec().model)
        assert isinstance(found, type)
        assert issubclass(found, ASRModel)
        return found

    def config(self, **changes: object) -> ModelConfig:
        """Return the preset, with the class's and the given changes, without any dropout."""
        preset: ModelConfig = getattr(self.config_class(), self.preset)()
        dropouts = {field.name: 0.0 for field in fields(preset) if "dropout" in field.name}
        changed = {"vocab": self.vocab, **dropouts, **self.overrides, **changes}
        return replace(preset, **changed)  # type: ignore[arg-type]

    def build(self, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> ASRModel[ModelConfig]:
        """Return a new model with weights drawn from `seed`, in eval mode."""
        torch.manual_seed(seed)
        return self.model_class()(self.config()).to(dtype).eval()

    def utterances(
        self, frames: Sequence[int] = FRAMES, dtype: torch.dtype = torch.float32
    ) -> list[RandomUtterance]:
        """Return random utterances of these lengths."""
        return random_utterances(self.config(), frames, dtype=dtype)

    # Registration and configuration

    def test_listing_it_imports_neither_torch_nor_numpy(self) -> None:
        """Plugin and configuration are imported, the model is not."""
        code = (
            "import sys; from asr_lab.plugins import ModelSpec, installed_plugins as found;"
            f"spec = found().registry.find(ModelSpec, {self.model!r})[1];"
            "from asr_lab.plugins.specs import load_target; load_target(spec.config);"
            "print(*{'torch', 'numpy'} & set(sys.modules))"
        )
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == "", f"imported while listing: {ran.stdout}"

    def test_every_preset_gives_a_configuration_and_tiny_is_one_of_them(self) -> None:
        """Recipes belong to presets that exist."""
        spec = self.spec()
        assert "tiny" in spec.presets
        assert set(spec.recipes) <= set(spec.presets)
        for preset in spec.presets:
            config = getattr(self.config_class(), preset)()
            assert isinstance(config, self.config_class())
            assert config.steps(1000) > 0

    def test_every_recipe_sets_what_training_has(self) -> None:
        """`train.` and `data.` are followed by the name of a field."""
        known = [f"train.{field.name}" for field in fields(TrainConfig)]
        known += [f"data.{field.name}" for field in fields(DataConfig)]
        known += [field.name for field in fields(RunConfig)]
        for preset, recipe in self.spec().recipes.items():
            assert set(recipe) <= set(known), f"recipe of {preset}: {set(recipe) - set(known)}"

    def test_a_configuration_survives_plain_json_with_its_digest(self) -> None:
        """`from_dict` undoes `to_dict`, and a changed field changes the digest."""
        config = self.config()
        again = self.config_class().from_dict(json.loads(json.dumps(config.to_dict())))
        assert again == config
        assert again.digest() == config.digest()
        assert self.config(vocab=self.vocab + 1).digest() != config.digest()

    def test_a_configuration_refuses_a_field_that_it_does_not_have(self) -> None:
        """A misspelt field is an error of the user."""
        with pytest.raises(UserError, match="no field 'vocabb'"):
            self.config_class().from_dict({"vocabb": 3})

    # Shapes and lengths

    def test_steps_tells_the_length_of_the_encoder_output(self) -> None:
        """For all lengths in one batch, and for some that fill their batch."""
        model, config = self.build(), self.config()
        batch = collate(random_utterances(config, range(1, 201)))
        with torch.inference_mode():
            lengths = model.encoder(batch.features).sequences.lengths.tolist()
            assert lengths == [config.steps(frames) for frames in range(1, 201)]
            for frames in (*range(1, 18), 99, 200):
                alone = collate(random_utterances(config, [frames]))
                assert model.encoder(alone.features).sequences.values.shape[1] == config.steps(
                    frames
                )

    def test_calling_it_with_features_alone_scores_every_step(self) -> None:
        """Without lengths all frames count, and what needs tokens is None."""
        model, batch = self.build(), collate(self.utterances([81, 81]))
        output = model(batch.features.values)
        assert set(output.scores) == set(model.decoders)
        assert model.primary in model.decoders
        for name, decoder in model.decoders.items():
            if isinstance(decoder, CTCDecoder):
                found = output.scores[name]
                assert found is not None
                assert found.shape == (2, self.config().steps(81), self.vocab + 1)

    def test_scores_are_log_probabilities_in_fp32(self) -> None:
        """They sum to 1 at every step and token, and apart, over the durations."""
        model, batch = self.build(), collate(self.utterances([80, 80]))
        padded = batch.features
        output = model(padded.values, padded.lengths, batch.tokens, batch.token_lengths)
        for name, scores in output.scores.items():
            assert scores is not None, f"{name} was given the tokens and has no scores"
            assert scores.dtype == torch.float32
            durations = len(getattr(model.decoders[name], "durations", ()))
            for part in scores.split([scores.shape[-1] - durations, durations], -1):
                if part.shape[-1]:
                    assert_close(part.exp().sum(-1), torch.ones(part.shape[:-1]), SINGLE)

    def test_more_audio_costs_more_operations(self) -> None:
        """`flops` grows with the frames that are not padding."""
        model = self.build()
        short, long = collate(self.utterances([64])), collate(self.utterances([128]))
        assert 0 < model.flops(short) < model.flops(long)

    # Independence of padding and batch mates

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_padding_and_batch_mates_change_no_output(
        self, training: bool, dtype: torch.dtype
    ) -> None:
        """An utterance is encoded the same alone and in a batch full of noise."""
        model, tolerance = self.build(dtype=dtype), {torch.float32: SINGLE}.get(dtype, DOUBLE)
        model.train(training and not model.couples_utterances)
        utterances = self.utterances(dtype=dtype)
        together = model.encoder(collate(utterances, extra=29).features).sequences
        for row, utterance in enumerate(utterances):
            alone = model.encoder(collate([utterance]).features).sequences
            assert_close(together.values[row, : together.lengths[row]], alone.values[0], tolerance)

    def test_padding_does_not_change_the_loss(self) -> None:
        """The loss of a batch is the sum of its utterances' losses, counts too."""
        model, utterances = self.build(dtype=torch.float64), self.utterances(dtype=torch.float64)
        together = model.loss(collate(utterances, extra=29))
        alone = [model.loss(collate([utterance])) for utterance in utterances]
        for name, part in together.items():
            assert_close(part.sum, torch.stack([one[name].sum for one in alone]).sum(), DOUBLE)
            assert part.count == sum(one[name].count for one in alone)

    def test_no_gradient_reaches_the_padding(self) -> None:
        """Even in train mode, and with normalisation over the batch."""
        model = self.build().train()
        batch = collate(self.utterances(), extra=29)
        batch.features.values.requires_grad_(True)
        total_loss(model.loss(batch), model.loss_counts(batch)).backward()
        gradient = batch.features.values.grad
        assert gradient is not None
        assert not gradient[~batch.features.mask()].any()
        assert gradient[batch.features.mask()].any()

    def test_the_order_of_a_batch_changes_no_output(self) -> None:
        """The encoder's outputs are permuted as the utterances are."""
        model, utterances = self.build(dtype=torch.float64), self.utterances(dtype=torch.float64)
        forward = model.encoder(collate(utterances).features).sequences
        backward = model.encoder(collate(utterances[::-1]).features).sequences
        assert_close(backward.values.flip(0)[forward.mask()], forward.pack().values, DOUBLE)

    def test_padding_does_not_change_the_transcript(self) -> None:
        """Tokens are equal and scores close, alone and in a batch, for every decoder."""
        model, utterances = self.build(), self.utterances()
        for name in model.decoders:
            decoding = replace(DECODING, decoder=name)
            with torch.inference_mode():
                together = model.transcribe(collate(utterances, extra=29), decoding)
                alone = [model.transcribe(collate([one]), decoding)[0] for one in utterances]
            assert [one.tokens for one in together] == [one.tokens for one in alone]
            for one, other in zip(together, alone, strict=True):
                assert math.isclose(one.score, other.score, rel_tol=10 * SINGLE)

    def test_packed_input_gives_what_padded_input_gives(self) -> None:
        """For models that say that they take both layouts."""
        if not {"padded", "packed"} <= set(self.spec().layouts):
            pytest.skip("takes one layout only")
        model, batch = self.build(), collate(self.utterances())
        padded = model.encoder(batch.features).sequences
        packed = model.encoder(batch.features.pack()).sequences
        assert_close(packed.pack().values, padded.pack().values, SINGLE)

    # Losses

    def test_loss_counts_says_what_the_loss_counts(self) -> None:
        """From lengths alone, with utterances that are not valid."""
        model = self.build()
        for valid in ([True] * 4, [True, False, True, False], [False] * 4):
            batch = collate(self.utterances(), valid=valid)
            parts = model.loss(batch)
            assert {name: part.count for name, part in parts.items()} == model.loss_counts(batch)
            assert all(part.sum.ndim == 0 for part in parts.values())

    def test_an_utterance_that_is_not_valid_adds_nothing(self) -> None:
        """Neither to the sum nor to the count, even if it has no frames at all."""
        model = self.build(dtype=torch.float64)
        good = self.utterances([97, 64], dtype=torch.float64)
        bad = self.utterances([0, 160], dtype=torch.float64)
        mixed = collate([good[0], bad[0], good[1], bad[1]], valid=[True, False, True, False])
        alone, together = model.loss(collate(good)), model.loss(mixed)
        for name, part in together.items():
            assert_close(part.sum, alone[name].sum, DOUBLE)
            assert part.count == alone[name].count

    def test_a_batch_without_valid_utterances_has_finite_gradients(self) -> None:
        """Its loss is 0 and its gradients are 0, not NaN."""
        model = self.build().train()
        batch = collate(self.utterances([0, 64]), valid=[False, False])
        loss = total_loss(model.loss(batch), model.loss_counts(batch))
        loss.backward()
        assert loss.item() == 0
        assert all(not gradient.any() for gradient in gradients(model).values())

    def test_the_gradient_does_not_depend_on_the_split_into_micro_batches(self) -> None:
        """One batch of four, or one and three, or two and two in another order."""
        utterances = self.utterances(dtype=torch.float64)
        whole = self.accumulated([utterances])
        largest = max(gradient.abs().max().item() for gradient in whole.values())
        for split in ([utterances[:1], utterances[1:]], [utterances[2:], utterances[:2]]):
            for name, gradient in self.accumulated(split).items():
                # Of the largest gradient of all: some are 0 in theory, and rounding in practice.
                assert (gradient - whole[name]).abs().max() <= DOUBLE * largest, name

    def accumulated(self, split: Sequence[Sequence[RandomUtterance]]) -> dict[str, Tensor]:
        """Return the gradients of one step over micro-batches, as the trainer computes them."""
        model = self.build(dtype=torch.float64)
        model.train(not model.couples_utterances)
        batches = [collate(utterances, extra=number) for number, utterances in enumerate(split)]
        counted = [model.loss_counts(batch) for batch in batches]
        counts = {name: sum(count[name] for count in counted) for name in counted[0]}
        for batch in batches:
            total_loss(model.loss(batch), counts).backward()
        return gradients(model)

    def test_gradients_reach_every_parameter(self) -> None:
        """No weight is left out of the loss."""
        model, batch = self.build().train(), collate(self.utterances())
        total_loss(model.loss(batch), model.loss_counts(batch)).backward()
        found = gradients(model)
        missing = [name for name, _ in model.named_parameters() if name not in found]
        assert not missing, f"no gradient: {missing}"
        broken = [name for name, gradient in found.items() if not gradient.isfinite().all()]
        assert not broken, f"gradient not finite: {broken}"
        useless = [name for name, gradient in found.items() if not gradient.any()]
        assert not useless, f"gradient all zero: {useless}"

    def test_losses_and_scores_stay_in_fp32_under_bf16_autocast(self) -> None:
        """And are finite, gradients too."""
        model, batch = self.build().train(), collate(self.utterances())
        with torch.autocast("cpu", torch.bfloat16):
            parts = model.loss(batch)
        total_loss(parts, model.loss_counts(batch)).backward()
        assert all(part.sum.dtype == torch.float32 for part in parts.values())
        assert all(part.sum.isfinite() for part in parts.values())
        assert all(gradient.isfinite().all() for gradient in gradients(model).values())

    # Weights and learning

    def test_the_same_seed_gives_the_same_weights_and_another_seed_others(self) -> None:
        """All randomness of a new model comes from torch's generator."""
        first, same, other = (self.build(seed=seed).state_dict() for seed in (3, 3, 4))
        assert all(torch.equal(first[name], same[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    def test_saved_weights_come_back_bit_for_bit(self) -> None:
        """In a model that was built from another seed, which then computes the same bits."""
        saved, loaded, file = self.build(seed=3), self.build(seed=4), io.BytesIO()
        torch.save(saved.state_dict(), file)
        file.seek(0)
        loaded.load_state_dict(torch.load(file, weights_only=True))
        batch = collate(self.utterances())
        before, after = saved.encoder(batch.features), loaded.encoder(batch.features)
        assert torch.equal(before.sequences.values, after.sequences.values)
        for name, tensor in saved.state_dict().items():
            assert torch.equal(tensor, loaded.state_dict()[name]), name

    def test_it_learns_two_utterances_by_heart(self) -> None:
        """The primary decoder's transcript becomes what was said."""
        model, batch = self.build(), collate(self.utterances([64, 48]))
        wanted = [
            tuple(row[:n].tolist())
            for row, n in zip(batch.tokens, batch.token_lengths, strict=True)
        ]
        optimizer, counts = torch.optim.AdamW(model.parameters(), 2e-3), model.loss_counts(batch)
        for step in range(1, self.overfitting_steps + 1):
            optimizer.zero_grad()
            total_loss(model.train().loss(batch), counts).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 20 == 0:
                with torch.inference_mode():
                    found = model.eval().transcribe(batch, DECODING)
                if [hypothesis.tokens for hypothesis in found] == wanted:
                    return
        pytest.fail(f"after {step} steps it says {found} instead of {wanted}")

    # Transcripts

    def test_there_is_one_hypothesis_of_real_tokens_for_every_utterance(self) -> None:
        """Ids are the tokenizer's: neither blank nor start nor end is among them."""
        model, batch = self.build(), collate(self.utterances([97, 0, 64]))
        for name in model.decoders:
            for beam in (1, 2):
                found = self.transcripts(model, batch, replace(DECODING, decoder=name, beam=beam))
                assert len(found) == len(batch)
                assert all(0 <= token < self.vocab for tokens in found for token in tokens)

    def transcripts(
        self, model: ASRModel[ModelConfig], batch: Batch, decoding: DecodingOptions
    ) -> list[tuple[int, ...]]:
        """Return the tokens of every utterance."""
        with torch.inference_mode():
            return [hypothesis.tokens for hypothesis in model.transcribe(batch, decoding)]

    def test_a_decoder_that_it_does_not_have_is_refused_by_name(self) -> None:
        """The error is the user's, and says which there are."""
        model, batch = self.build(), collate(self.utterances([64]))
        with pytest.raises(UnknownNameError, match="no decoder 'oracle'"):
            model.transcribe(batch, DecodingOptions(decoder="oracle"))


def gradients(model: nn.Module) -> dict[str, Tensor]:
    """Return the gradient of every parameter that has one."""
    named = model.named_parameters()
    return {name: weight.grad for name, weight in named if weight.grad is not None}


def assert_close(found: Tensor, expected: Tensor, tolerance: float, name: str = "") -> None:
    """Fail unless all differences are within `tolerance` of the largest expected value."""
    assert found.shape == expected.shape, f"{name} {found.shape} is not {expected.shape}"
    if not expected.numel():
        return
    largest = expected.abs().max().item()
    worst = (found - expected).abs().max().item()
    assert worst <= tolerance * max(largest, tolerance), (
        f"{name} differs by {worst:.3g}, where the largest value is {largest:.3g}"
    )
