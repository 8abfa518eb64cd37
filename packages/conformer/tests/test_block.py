"""The conformer block is torchaudio's with the same weights; positions come on top of it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from asr_lab.layers.norms import MaskedBatchNorm
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.models.conformer.layers import ConformerBlock
from asr_lab.models.conformer.model import ConformerEncoder
from asr_lab.testing.inputs import collate, random_utterances

EXACT = 1e-10
"""Rounding of some hundred additions in FP64."""
TABLES = 1e-5
"""Sines and cosines of positions are computed in FP32."""
SMALL = replace(ConformerConfig.tiny(), dim=16, heads=2, layers=2, kernel=5, vocab=9, dropout=0.0)


def disturbed(module: nn.Module) -> None:
    """Give norms and biases values that differ, so that none can stand for another."""
    torch.manual_seed(1)
    for weight in module.parameters():
        weight.data += 0.3 * torch.randn_like(weight)


def close(found: Tensor, expected: Tensor, tolerance: float = EXACT) -> bool:
    return torch.allclose(found, expected, rtol=tolerance, atol=tolerance)


def reference(block: ConformerBlock) -> nn.Module:
    """Return torchaudio's layer, in train mode, with the weights of a block with batch norm."""
    conformer = pytest.importorskip("torchaudio.models.conformer")
    layer: nn.Module = conformer.ConformerLayer(
        SMALL.dim, SMALL.feedforward * SMALL.dim, SMALL.heads, SMALL.kernel
    ).double()
    norm = block.convolution.norm
    assert isinstance(norm, MaskedBatchNorm)
    ours: dict[str, nn.Module] = {
        "ffn1.sequential.0": block.before_norm,
        "ffn1.sequential.1": block.before.inner,
        "ffn1.sequential.4": block.before.outer,
        "self_attn_layer_norm": block.attention_norm,
        "self_attn.out_proj": block.attention.out,
        "conv_module.layer_norm": block.convolution_norm,
        "conv_module.sequential.0": block.convolution.inner,
        "conv_module.sequential.2": block.convolution.depthwise,
        "conv_module.sequential.3": norm,
        "conv_module.sequential.5": block.convolution.outer,
        "ffn2.sequential.0": block.after_norm,
        "ffn2.sequential.1": block.after.inner,
        "ffn2.sequential.4": block.after.outer,
        "final_layer_norm": block.norm,
    }
    weights = layer.state_dict()
    for place, module in ours.items():
        for name, value in module.state_dict().items():
            weights[f"{place}.{name}"] = value.reshape(weights[f"{place}.{name}"].shape)
    inputs = block.attention.get_submodule("inputs").state_dict()
    weights["self_attn.in_proj_weight"] = inputs["weight"]
    weights["self_attn.in_proj_bias"] = inputs["bias"]
    layer.load_state_dict(weights)
    return layer


def test_without_rotation_the_block_is_that_of_torchaudio() -> None:
    block = ConformerBlock(replace(SMALL, norm="batch")).double()
    disturbed(block)
    layer, values = reference(block), torch.randn(3, 7, 16).double()
    unturned = torch.stack([torch.ones(7, 4), torch.zeros(7, 4)]).double()
    for train in (True, False):  # the second with the running statistics of the first
        block.train(train)
        layer.train(train)
        mask = torch.ones(3, 7, dtype=torch.bool)
        with torch.no_grad():
            expected = layer(values.transpose(0, 1), None).transpose(0, 1)
            assert close(block(values, mask, unturned), expected)


def test_rotary_attention_depends_on_distances_alone() -> None:
    block, values = ConformerBlock(SMALL).double(), torch.randn(2, 6, 16).double()
    mask = torch.ones(2, 6, dtype=torch.bool)
    table = block.attention.table(60, values.device).double()
    here = block(values, mask, table[:, :6])
    for first in (1, 17, 54):
        assert close(block(values, mask, table[:, first : first + 6]), here, TABLES)
    assert not close(block(values, mask, table[:, 0:12:2]), here, 1e-3)


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_the_order_of_the_steps_matters_to_attention(positions: str) -> None:
    config = ConformerConfig.from_dict({**SMALL.to_dict(), "positions": positions})
    block, values = ConformerBlock(config).double(), torch.randn(1, 6, 16).double()
    disturbed(block)
    mask, table = torch.ones(1, 6, dtype=torch.bool), block.attention.table(6, values.device)
    order = torch.tensor([0, 3, 2, 1, 5, 4])
    found = block.attention(values[:, order], mask, table)
    assert not close(found, block.attention(values, mask, table)[:, order], 1e-3)


@pytest.mark.parametrize("positions", ["rotary", "relative"])
def test_the_gradient_of_a_block_is_that_of_finite_differences(positions: str) -> None:
    config = ConformerConfig.from_dict({**SMALL.to_dict(), "positions": positions, "norm": "batch"})
    block = ConformerBlock(config).double()
    disturbed(block)
    values = torch.randn(2, 5, 16).double().requires_grad_()
    mask = torch.arange(5) < torch.tensor([5, 3])[:, None]
    table = block.attention.table(5, values.device)

    def transformed(values: Tensor, *_: Tensor) -> Tensor:
        result: Tensor = block(values, mask, table)[mask]
        return result

    inputs = (values, *block.parameters())
    assert torch.autograd.gradcheck(transformed, inputs, fast_mode=True, check_undefined_grad=False)


def test_scaling_the_input_multiplies_what_is_subsampled_by_the_root_of_the_width() -> None:
    torch.manual_seed(0)
    plain, scaled = (
        ConformerASRModel(replace(SMALL, scale_input=scale)).double().eval()
        for scale in (False, True)
    )
    scaled.load_state_dict(plain.state_dict())
    features = collate(random_utterances(SMALL, [64, 33], dtype=torch.float64)).features
    found = scaled.encoder(features).sequences.values
    assert not close(found, plain.encoder(features).sequences.values, 1e-3)
    assert isinstance(plain.encoder, ConformerEncoder)
    for weight in plain.encoder.subsampling.out.parameters():
        weight.data *= 4.0
    assert close(found, plain.encoder(features).sequences.values)


@pytest.mark.parametrize(
    "preset",
    ["tiny", "small", "medium", "large", "large_18", "xlarge", "xxlarge", "fast_conformer"],
)
def test_steps_is_the_length_that_the_encoder_of_a_preset_gives(preset: str) -> None:
    config = replace(getattr(ConformerConfig, preset)(), layers=1)
    with torch.device("meta"):
        encoder = ConformerEncoder(config)
    for frames in (*range(1, 2 * config.subsampling + 2), 1000):
        features = collate(random_utterances(config, [frames])).features.to("meta")
        assert encoder(features).sequences.values.shape == (1, config.steps(frames), config.dim)
