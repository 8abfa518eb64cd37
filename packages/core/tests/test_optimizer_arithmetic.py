"""AdamW, clipping and the moving average do the arithmetic of their papers."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asr_lab.training.config import TrainConfig
from asr_lab.training.optimizers import MovingAverage, adamw

ROUNDING = 2e-6
"""Relative: a few dozen roundings of single precision, of 6e-8 each."""


class Odd(nn.Module):
    """A matrix, a vector, an embedding, a frozen matrix, one that asks for no decay, and a tie."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Linear(4, 3)
        self.embedding = nn.Embedding(5, 4)
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)
        self.spared = nn.Parameter(torch.ones(2, 2))
        self.spared.no_decay = True  # type: ignore[attr-defined]
        self.tied = nn.Linear(4, 3, bias=False)
        self.tied.weight = self.matrix.weight
        self.scalar = nn.Parameter(torch.tensor(1.0))


def test_every_trained_parameter_is_in_one_group_and_what_is_frozen_in_none() -> None:
    model = Odd()
    groups = adamw(model, TrainConfig()).param_groups
    held = [id(parameter) for group in groups for parameter in group["params"]]
    trained = [id(parameter) for parameter in model.parameters() if parameter.requires_grad]
    assert sorted(held) == sorted(trained) and len(set(held)) == len(held)
    assert id(model.frozen) not in held


def test_matrices_and_embeddings_decay_and_what_asks_not_to_does_not() -> None:
    model = Odd()
    groups = adamw(model, TrainConfig(weight_decay=0.1)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    found = {name: decay.get(id(p)) for name, p in model.named_parameters()}
    assert found == {
        "matrix.weight": 0.1,
        "matrix.bias": 0.0,
        "embedding.weight": 0.1,
        "frozen": None,
        "spared": 0.0,
        "scalar": 0.0,
    }


def test_a_model_without_matrices_has_one_group() -> None:
    (group,) = adamw(nn.LayerNorm(3), TrainConfig(weight_decay=0.1)).param_groups
    assert group["weight_decay"] == 0 and len(group["params"]) == 2


@settings(max_examples=25)
@given(
    gradients=st.lists(st.floats(-10, 10).filter(lambda g: abs(g) > 1e-3), min_size=1, max_size=8),
    lr=st.floats(1e-4, 0.1),
    betas=st.tuples(st.floats(0, 0.95), st.floats(0.5, 0.999)),
    decay=st.floats(0, 0.5),
    eps=st.floats(1e-8, 1e-2),
)
def test_steps_are_those_of_decoupled_weight_decay(
    gradients: list[float], lr: float, betas: tuple[float, float], decay: float, eps: float
) -> None:
    """Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, in double precision by hand."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    config = TrainConfig(lr=lr, betas=betas, weight_decay=decay, eps=eps)
    optimizer = adamw(model, config)
    weight, first, second = 1.0, 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        model.weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        weight -= lr * decay * weight
        first = betas[0] * first + (1 - betas[0]) * gradient
        second = betas[1] * second + (1 - betas[1]) * gradient**2
        corrected = first / (1 - betas[0] ** step)
        weight -= lr * corrected / (math.sqrt(second / (1 - betas[1] ** step)) + eps)
    # Cancelling gradients leave the rounding of the largest step, which is about `lr`.
    assert model.weight.item() == pytest.approx(weight, rel=ROUNDING * 10, abs=ROUNDING * 10)


def test_settings_reach_the_optimizer_as_they_are() -> None:
    config = TrainConfig(lr=0.3, betas=(0.5, 0.6), eps=1e-5, weight_decay=0.7)
    for group in adamw(Odd(), config).param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.3, (0.5, 0.6), 1e-5)


# The moving average


def follow(average: MovingAverage, model: nn.Linear, values: list[float]) -> None:
    for step, value in enumerate(values):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(model, step)


@settings(max_examples=25)
@given(st.floats(0.5, 0.999), st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_average_stays_within_what_the_weights_have_been(
    decay: float, values: list[float]
) -> None:
    model = nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, decay)
    everything = [model.weight.item(), *values]
    follow(average, model, values)
    slack = ROUNDING * max(map(abs, everything))
    found = average.weights["weight"].item()
    assert min(everything) - slack <= found <= max(everything) + slack


def test_initial_weights_are_forgotten_however_slow_the_average_is() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1e3)
    average = MovingAverage(model, 0.9999)
    follow(average, model, [0.0] * 100)
    # The product of (1 + n) / (10 + n) over n < 100 is 9! 100! / 109!, below 3e-13.
    left = math.factorial(9) * math.factorial(100) / math.factorial(109)
    assert average.weights["weight"].item() == pytest.approx(1e3 * left, rel=1e-4)
    assert left < 3e-13


def test_weights_that_stay_are_their_own_average() -> None:
    model = nn.Linear(3, 2)
    average = MovingAverage(model, 0.99)
    for step in range(50):
        average.update(model, step)
    for name, weight in model.named_parameters():
        assert torch.equal(average.weights[name], weight)


def test_an_average_of_narrow_weights_is_kept_in_single_precision() -> None:
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    average = MovingAverage(model, 0.999)
    assert average.weights["weight"].dtype == torch.float32
    with torch.no_grad():
        model.weight.fill_(1.0)
    average.weights["weight"].zero_()
    average.update(model, 10**6)
    # Moves by 0.001, of which bfloat16 would lose the better part beside a weight near 1.
    assert average.weights["weight"].item() == pytest.approx(0.001, rel=1e-4)


def test_tied_weights_are_averaged_once_and_put_in_place_together() -> None:
    model = Odd()
    average = MovingAverage(model, 0.5)
    assert "tied.weight" not in average.weights and "matrix.weight" in average.weights
    kept = average.weights["matrix.weight"].clone()
    with torch.no_grad():
        model.matrix.weight.zero_()
    with average.applied(model):
        assert torch.equal(model.tied.weight, kept) and torch.equal(model.matrix.weight, kept)
    assert not model.tied.weight.any()


def test_an_error_inside_the_block_puts_the_weights_back() -> None:
    model = nn.Linear(2, 2)
    average = MovingAverage(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
    with pytest.raises(RuntimeError, match="evaluation"), average.applied(model):
        raise RuntimeError("evaluation")
    assert (model.weight == 3.0).all()


def test_a_stored_average_goes_on_as_if_it_had_not_been_stored() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    whole = MovingAverage(model, 0.9)
    for step in range(10):
        with torch.no_grad():
            model.weight += torch.randn(2, 3)
        whole.update(model, step)
        if step == 4:
            part = MovingAverage(nn.Linear(3, 2), 0.9)
            part.load({name: weight.clone() for name, weight in whole.weights.items()})
        elif step > 4:
            part.update(model, step)
    for name, weight in whole.weights.items():
        assert torch.equal(part.weights[name], weight)


def test_a_decay_of_almost_nothing_follows_the_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = MovingAverage(model, replace(TrainConfig(), ema=1e-9).ema)
    follow(average, model, [1.0, 2.0, 7.0])
    assert average.weights["weight"].item() == pytest.approx(7.0, rel=ROUNDING)
