"""The conformer keeps the contract of models with every head, attention and norm."""

import pytest
import torch

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


class Small(ModelContract):
    model = "conformer"
    overrides = SMALL


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
