"""AdamW decays matrices only; the moving average follows the weights and can be put in place."""

import torch
from torch import nn

from asr_lab.training.config import TrainConfig
from asr_lab.training.optimizers import MovingAverage, adamw


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))


def test_only_matrices_are_decayed() -> None:
    network = model()
    optimizer = adamw(network, TrainConfig(weight_decay=0.1))
    decay = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    assert {name: decay[id(p)] for name, p in network.named_parameters()} == {
        "0.weight": 0.1,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
    }


def test_the_average_equals_the_sum_it_stands_for() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    average = MovingAverage(network, 0.9)
    expected = network.weight.detach().double().clone()
    for step in range(30):
        with torch.no_grad():
            network.weight += torch.randn(2, 3)
        average.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.weight.detach().double()
    torch.testing.assert_close(average.weights["weight"].double(), expected, rtol=1e-5, atol=1e-6)


def test_the_average_is_in_the_model_inside_the_block_only() -> None:
    network = nn.Linear(3, 2)
    average = MovingAverage(network, 0.5)
    with torch.no_grad():
        network.weight.zero_()
    with average.applied(network):
        assert torch.equal(network.weight, average.weights["weight"])
    assert not network.weight.any()


def test_the_average_can_be_stored_and_loaded() -> None:
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    stored = MovingAverage(network, 0.5)
    loaded = MovingAverage(other, 0.5)
    loaded.load(stored.weights)
    assert torch.equal(loaded.weights["bias"], network.bias)
    assert loaded.weights["bias"] is not stored.weights["bias"]
