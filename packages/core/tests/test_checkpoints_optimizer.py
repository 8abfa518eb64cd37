"""An optimizer goes on from a checkpoint as if it had never stopped."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adagrad, AdamW, Optimizer

from asr_lab.checkpoints import (
    MismatchedCheckpointError,
    flatten_optimizer,
    load,
    restore_optimizer,
    save,
)
from asr_lab.reproducibility.hash import state_digest

Groups = list[dict[str, object]]
Make = Callable[[Groups], Optimizer]

OPTIMIZERS: dict[str, Make] = {
    "adamw": lambda groups: AdamW(groups, 1e-2, betas=(0.8, 0.9)),
    "fused": lambda groups: AdamW(groups, 1e-2, fused=True),
    "foreach": lambda groups: AdamW(groups, 1e-2, foreach=True, amsgrad=True),
    "tensor rate": lambda groups: AdamW(groups, torch.tensor(1e-2), foreach=False),
    "sgd": lambda groups: SGD(groups, 1e-2, momentum=0.9),
    "plain sgd": lambda groups: SGD(groups, 1e-2),
    "adagrad": lambda groups: Adagrad(groups, 1e-2),
}


def model(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Return a small model, one layer of which is never used."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2), nn.Linear(9, 9)).to(dtype)


def groups(network: nn.Module, *, backwards: bool = False) -> Groups:
    """Decay matrices and leave biases, in either order."""
    named = sorted(network.named_parameters(), reverse=backwards)
    parts = [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for _, p in named if p.ndim == 1], "weight_decay": 0.0, "note": "biases"},
    ]
    return parts[::-1] if backwards else parts


def train(network: nn.Sequential, optimizer: Optimizer, steps: Iterable[int]) -> None:
    """Take steps whose data and learning rate depend only on their numbers."""
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        inputs = torch.randn(5, 3, generator=draw).to(next(network.parameters()).dtype)
        for group in optimizer.param_groups:
            rate = 1e-2 / (1 + step)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        optimizer.zero_grad()
        network[1](network[0](inputs)).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_half_the_steps_twice_are_all_the_steps(tmp_path: Path, name: str, backwards: bool) -> None:
    whole = model()
    optimizer = OPTIMIZERS[name](groups(whole))
    train(whole, optimizer, range(6))

    first = model()
    train(first, stopped := OPTIMIZERS[name](groups(first)), range(3))
    moments, plain = flatten_optimizer(stopped, first)
    path = save(tmp_path, 3, {"model": first.state_dict(), "optimizer": moments}, plain)

    checkpoint = load(path)
    second = model(seed=1)
    resumed = OPTIMIZERS[name](groups(second, backwards=backwards))
    train(second, resumed, [8])
    second.load_state_dict(dict(checkpoint.tensors["model"]))
    restore_optimizer(resumed, second, checkpoint.tensors["optimizer"], checkpoint.state)
    train(second, resumed, range(3, 6))

    assert state_digest(second.state_dict()) == state_digest(whole.state_dict())
    expected, settings = flatten_optimizer(optimizer, whole)
    found, settings_found = flatten_optimizer(resumed, second)
    assert state_digest(found) == state_digest(expected)
    order = [group["parameters"] for group in settings_found["groups"]]  # type: ignore[attr-defined]
    assert sorted(order) == sorted(
        group["parameters"]
        for group in settings["groups"]  # type: ignore[attr-defined]
    )


def test_moments_wider_than_the_weights_keep_every_bit() -> None:
    network = model(dtype=torch.bfloat16)
    optimizer = AdamW(network.parameters())
    train(network, optimizer, range(2))
    for state in optimizer.state.values():
        state["exp_avg"] = torch.randn(state["exp_avg"].shape)
    tensors, plain = flatten_optimizer(optimizer, network)
    other = model(1, torch.bfloat16)
    resumed = AdamW(other.parameters())
    restore_optimizer(resumed, other, tensors, plain)
    assert state_digest(flatten_optimizer(resumed, other)[0]) == state_digest(tensors)


def test_plain_numbers_of_an_optimizer_come_back() -> None:
    network, other = model(), model(1)
    optimizer, resumed = SGD(network.parameters(), 1.0), SGD(other.parameters(), 1.0)
    optimizer.state[next(network.parameters())] = {
        "count": 3,
        "buffer": None,
        "moment": torch.ones(4, 3),
    }
    restore_optimizer(resumed, other, *flatten_optimizer(optimizer, network))
    state = resumed.state[next(other.parameters())]
    assert (state["count"], state["buffer"]) == (3, None)
    assert torch.equal(state["moment"], torch.ones(4, 3))


def test_the_settings_come_back_and_the_implementation_stays() -> None:
    first, second = model(), model()
    saved = AdamW(groups(first), 3e-4, betas=(0.5, 0.6), eps=1e-5, fused=True)
    tensors, plain = flatten_optimizer(saved, first)
    resumed = AdamW(groups(second), foreach=True)
    restore_optimizer(resumed, second, tensors, json.loads(json.dumps(plain)))
    for group, expected in zip(resumed.param_groups, saved.param_groups, strict=True):
        for key in ("lr", "betas", "eps", "weight_decay", "amsgrad"):
            assert group[key] == expected[key]
        assert group["foreach"] is True and not group["fused"]
    assert resumed.param_groups[1]["note"] == "biases"
    assert not resumed.state


def test_what_is_restored_shares_no_memory_with_the_checkpoint() -> None:
    network = model()
    train(network, optimizer := AdamW(network.parameters()), range(2))
    tensors, plain = flatten_optimizer(optimizer, network)
    kept = {name: tensor.clone() for name, tensor in tensors.items()}
    restore_optimizer(optimizer, network, kept, plain)
    before = state_digest(kept)
    train(network, optimizer, range(2))
    assert state_digest(kept) == before


def test_an_optimizer_of_other_parameters_is_refused_and_left_alone() -> None:
    network = model()
    train(network, optimizer := AdamW(network.parameters()), range(2))
    tensors, plain = flatten_optimizer(optimizer, network)
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    smaller = AdamW(other.parameters(), 0.5)
    with pytest.raises(MismatchedCheckpointError, match=r"for example 2\.bias; resume"):
        restore_optimizer(smaller, other, tensors, plain)
    assert smaller.param_groups[0]["lr"] == 0.5 and not smaller.state
    with pytest.raises(MismatchedCheckpointError, match="groups them differently"):
        restore_optimizer(AdamW(groups(network)), network, tensors, plain)


def test_a_parameter_that_is_not_the_models_is_our_mistake() -> None:
    network = model()
    optimizer = AdamW([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="1 parameters of the optimizer are not the model's"):
        flatten_optimizer(optimizer, network)
