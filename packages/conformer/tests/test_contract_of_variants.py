"""The conformer keeps the contract of models with every head, attention and norm."""

import pytest
import torch

from asr_lab.models.base import Batch, DecodingOptions, Sequences
from asr_lab.models.base.outputs import total_loss
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.testing import ModelContract

SMALL: dict[str, object] = {
    "dim": 32,
    "layers": 2,
    "heads": 2,
    "subsampling_channels": 8,
    "predictor_dim": 24,
    "joint_dim": 32,
    "left_context": 6,
    "right_context": 3,
}


def nothing(utterances: int, frames: int, mels: int) -> Batch:
    """Return a batch of utterances without a frame, `frames` of padding behind each."""
    none = torch.zeros(utterances, dtype=torch.int64)
    features = Sequences(torch.zeros(utterances, frames, mels), none)
    return Batch(features=features, tokens=none[:, None][:, :0], token_lengths=none)


class Small(ModelContract):
    model = "conformer"
    overrides = SMALL

    @pytest.mark.parametrize(("utterances", "frames"), [(0, 0), (0, 9), (2, 0), (2, 9)])
    def test_where_nothing_is_to_be_heard_nothing_is_found(
        self, utterances: int, frames: int
    ) -> None:
        model = self.build()
        for name in model.decoders:
            for beam in (1, 3):
                decoding = DecodingOptions(decoder=name, beam=beam)
                found = self.transcripts(
                    model, nothing(utterances, frames, model.config.mels), decoding
                )
                assert found == [()] * utterances


@pytest.mark.parametrize("head", ["rnnt", "tdt"])
def test_the_loss_of_a_transducer_on_no_utterances_is_zero_and_so_are_its_gradients(
    head: str,
) -> None:
    config = ConformerConfig.from_dict({**ConformerConfig.tiny().to_dict(), **SMALL, "head": head})
    model, batch = ConformerASRModel(config), nothing(0, 0, config.mels)
    loss = total_loss(model.loss(batch), model.loss_counts(batch))
    loss.backward()
    assert loss.item() == 0 and model.loss_counts(batch) == {head: 0}
    grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert not any(gradient.any() for gradient in grads)


class TestRNNT(Small):
    overrides = {**SMALL, "head": "rnnt", "fast_emit": 0.01}


class TestTDT(Small):
    overrides = {**SMALL, "head": "tdt", "positions": "relative", "norm": "batch"}


class TestRNNTWithCTC(Small):
    overrides = {**SMALL, "head": "rnnt+ctc", "attention": "local", "joint_activation": "tanh"}


class TestTDTWithCTC(Small):
    overrides = {
        **SMALL,
        "head": "tdt+ctc",
        "attention": "local",
        "positions": "relative",
        "norm": "batch",
        "freeze_statistics": True,
        "predictor_layers": 2,
    }


class TestLocalCTC(Small):
    overrides = {**SMALL, "attention": "local", "positions": "relative"}


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("convolution.clear_padding", "test_padding_and_batch_mates_change_no_output"),
        ("convolution.clear_padding", "test_padding_does_not_change_the_loss"),
        ("subsampling._clear", "test_padding_and_batch_mates_change_no_output"),
        ("subsampling._clear", "test_padding_does_not_change_the_loss"),
        ("subsampling._clear", "test_no_gradient_reaches_the_padding"),
    ],
)
def test_a_convolution_that_hears_the_padding_breaks_the_contract(
    function: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"asr_lab.layers.{function}", lambda values, _: values)
    arguments = (False, torch.float32) if "mates" in name else ()
    with pytest.raises(AssertionError):
        getattr(Small(), name)(*arguments)
