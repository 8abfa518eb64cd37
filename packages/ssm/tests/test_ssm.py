"""The state-space model keeps the contract of models, and hears both ends of each utterance."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from asr_lab.models.ssm import SSMASRModel, SSMConfig
from asr_lab.models.ssm.layers import BidirectionalMixer, Direction
from asr_lab.testing import ModelContract
from asr_lab.testing.inputs import collate, random_utterances
from asr_lab.utils.errors import UserError

SMALL = replace(SSMConfig.tiny(), dim=16, state=4, head_dim=8, layers=2, vocab=9, dropout=0.0)


class TestSSM(ModelContract):
    model = "ssm"


class TestSSMInChunks(ModelContract):
    model = "ssm"
    overrides = {"chunk": 7, "layers": 2}


class TestSSMWithATransducerAndCTC(ModelContract):
    model = "ssm"
    overrides = {"head": "tdt+ctc", "dim": 32, "state": 8, "head_dim": 16, "layers": 2}


@pytest.mark.parametrize(
    ("preset", "vocab", "count"),
    [
        ("tiny", 32, 937_185),
        ("small", 1024, 12_616_001),
        ("base", 1024, 31_411_057),
        ("large", 1024, 109_356_161),
    ],
)
def test_a_preset_has_the_parameters_that_it_claims(preset: str, vocab: int, count: int) -> None:
    config = replace(getattr(SSMConfig, preset)(), vocab=vocab)
    with torch.device("meta"):
        assert sum(weight.numel() for weight in SSMASRModel(config).parameters()) == count
    claim = f"{count / 1e6:.1f}" if count < 1e6 else str(round(count / 1e6))
    assert f"Return {claim} M parameters" in getattr(SSMConfig, preset).__doc__


def test_swapping_the_directions_reverses_the_output_of_a_reversed_utterance() -> None:
    torch.manual_seed(0)
    mixer = BidirectionalMixer(SMALL).double()
    values, mask = torch.randn(2, 9, 16).double(), torch.ones(2, 9, dtype=torch.bool)
    expected = mixer(values, mask)
    mixer.ahead, mixer.back = mixer.back, mixer.ahead
    gate_and_mixed, ahead, back = mixer.inputs.weight.data.split(
        [sum(mixer.sizes[:2]), *mixer.sizes[2:]]
    )
    mixer.inputs.weight.data = torch.cat([gate_and_mixed, back, ahead])
    assert torch.allclose(mixer(values.flip(1), mask).flip(1), expected, rtol=1e-9)


def test_the_way_back_starts_at_the_end_of_each_utterance_not_of_the_batch() -> None:
    torch.manual_seed(0)
    mixer = BidirectionalMixer(SMALL).double()
    values = torch.randn(2, 9, 16).double()
    lengths = torch.tensor([9, 4])
    mask = torch.arange(9) < lengths[:, None]
    together = mixer(values, mask)
    alone = mixer(values[1:, :4], mask[1:, :4])
    assert torch.allclose(together[1, :4], alone[0], rtol=1e-9)


def test_every_step_hears_the_first_and_the_last_step() -> None:
    torch.manual_seed(0)
    mixer = BidirectionalMixer(SMALL).double()
    values = torch.randn(1, 9, 16).double().requires_grad_()
    for step in range(9):
        values.grad = None
        mixer(values, torch.ones(1, 9, dtype=torch.bool))[0, step].sum().backward()
        assert values.grad is not None
        assert values.grad[0, 0].any()
        assert values.grad[0, 8].any()


def test_a_direction_hears_nothing_that_comes_later() -> None:
    torch.manual_seed(0)
    direction = Direction(SMALL)
    mixed, mask = torch.randn(1, 9, 32 + 8), torch.ones(1, 9, dtype=torch.bool)
    mixed.requires_grad_()
    direction(mixed, torch.randn(1, 9, 4), mask)[0, 4].sum().backward()
    assert mixed.grad is not None
    assert mixed.grad[0, :5].any()
    assert not mixed.grad[0, 5:].any()


def test_step_sizes_and_rates_start_in_the_ranges_of_mamba_2() -> None:
    direction = Direction(replace(SMALL, dim=256, head_dim=1))
    sizes = nn.functional.softplus(direction.size_bias)
    assert 1e-3 * 0.999 <= sizes.min() < 2e-3
    assert 5e-2 < sizes.max() <= 1e-1 * 1.001
    assert 1 <= direction.log_rate.exp().min()
    assert direction.log_rate.exp().max() <= 16.001


def test_the_chunk_changes_no_output() -> None:
    batch = collate(random_utterances(SMALL, [160, 97]))
    outputs = []
    for chunk in (1, 7, 40, 128):
        torch.manual_seed(0)
        model = SSMASRModel(replace(SMALL, chunk=chunk)).eval()
        outputs.append(model.encoder(batch.features).sequences.values)
    assert all(torch.allclose(found, outputs[-1], rtol=1e-4, atol=1e-5) for found in outputs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"dim": 100, "head_dim": 64},
            "expand times dim must be a multiple of head-dim, 64; got 200",
        ),
        ({"subsampling": 2}, "subsampling must be 4 or 8; got 2"),
        ({"dropout": -0.1}, "dropout must be from 0 to below 1; got -0.1"),
        ({"chunk": 0}, "chunk must be 1 or more"),
        ({"layers": 0}, "layers must be 1 or more"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SSMConfig.from_dict({**SSMConfig.tiny().to_dict(), **changes})
