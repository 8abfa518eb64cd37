"""Every tensor of a Fast Conformer has one name in each system, and comes back unchanged."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import cycle
from typing import Any, Literal, TypeAlias

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.checkpoints import MismatchedCheckpointError
from asr_lab.models.base import Batch, Sequences
from asr_lab.models.conformer import ConformerASRModel
from asr_lab.models.conformer.config import ConformerConfig
from asr_lab.models.conformer.interop_names import (
    System,
    blank_last,
    to_ours,
    to_theirs,
    weights,
)

Head: TypeAlias = Literal["ctc", "rnnt", "tdt", "rnnt+ctc", "tdt+ctc"]
SYSTEMS: tuple[System, ...] = ("parakeet", "nemo")
HEADS: tuple[Head, ...] = ("ctc", "rnnt", "tdt", "rnnt+ctc", "tdt+ctc")
VOCAB = 11
PLACES = {"first": 0, "middle": 4, "last": VOCAB}
SUM_ORDER = 1e-5
"""Of FP32 scores around 1 whose normaliser is summed in another order."""
BASE = ConformerConfig(
    vocab=VOCAB,
    mels=16,
    dim=16,
    layers=2,
    heads=2,
    kernel=3,
    feedforward=2,
    subsampling=8,
    subsampling_channels=4,
    positions="relative",
    norm="batch",
    freeze_statistics=True,
    dropout=0.0,
    head_dropout=0.0,
    predictor_dim=12,
    joint_dim=12,
)
SIZES = {
    "base": BASE,
    "no bias": replace(BASE, bias=False),
    "subsampling by 4": replace(BASE, subsampling=4),
    "layer norm": replace(BASE, norm="layer", freeze_statistics=False),
    "two predictor layers": replace(BASE, predictor_layers=2),
    "three layers": replace(BASE, layers=3),
    "two durations": replace(BASE, durations=(0, 1)),
}

BOTH = replace(BASE, head="tdt+ctc", layers=1)
CLAIMS: tuple[dict[str, Any], ...] = (
    {"layers": 10**12},
    {"predictor_layers": 10**12},
    {"dim": 4 * 10**15},
    {"vocab": 10**15},
    {"kernel": 10**18 + 1},
)


@cache
def random_state(config: ConformerConfig) -> dict[str, Tensor]:
    """Return weights of which no two are the same, so that none can stand in for another."""
    generator = torch.Generator().manual_seed(1)
    state = ConformerASRModel(config).state_dict()
    return {name: torch.rand(value.shape, generator=generator) for name, value in state.items()}


def all_configs() -> Iterator[tuple[str, ConformerConfig]]:
    for head in HEADS:
        for name, config in SIZES.items():
            yield f"{head}, {name}", replace(config, head=head)


CONFIGS = dict(all_configs())
LAST = list(range(VOCAB + 1))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_of_a_model_is_listed_exactly_once(name: str) -> None:
    config = CONFIGS[name]
    listed = [weight.ours for weight in weights(config)]
    assert sorted(listed) == sorted(random_state(config))


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", CONFIGS)
def test_no_two_tensors_share_a_name_there(name: str, system: System) -> None:
    listed = [getattr(weight, system) for weight in weights(CONFIGS[name])]
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("name", CONFIGS)
def test_all_tensors_go_there_and_back_bit_for_bit(name: str, system: System) -> None:
    config, state = CONFIGS[name], random_state(CONFIGS[name])
    order = blank_last(PLACES["middle"], VOCAB + 1)
    theirs = to_theirs(config, state, system, order)
    assert len(theirs) == len(state)
    back = to_ours(config, theirs, system, order, "x")
    assert all(torch.equal(back[key], value) for key, value in state.items())


@given(scores=st.integers(1, 200), data=st.data())
def test_the_order_of_tokens_is_a_permutation_that_ends_with_the_blank(
    scores: int, data: st.DataObject
) -> None:
    blank = data.draw(st.integers(0, scores - 1))
    order = blank_last(blank, scores)
    assert sorted(order) == list(range(scores))
    assert order[-1] == blank and order[:-1] == sorted(order[:-1])


@pytest.mark.parametrize("place", PLACES)
def test_rows_of_durations_behind_the_tokens_stay_where_they_are(place: str) -> None:
    config = replace(BASE, head="tdt")
    state = random_state(config)
    theirs = to_theirs(config, state, "nemo", blank_last(PLACES[place], VOCAB + 1))
    rows, ours = theirs["joint.joint_net.2.weight"], state["transducer.out.weight"]
    assert torch.equal(rows[VOCAB + 1 :], ours[VOCAB + 1 :])
    assert torch.equal(rows[PLACES[place]], ours[VOCAB])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("head", ["ctc", "rnnt", "tdt"])
def test_moving_the_blank_permutes_the_scores_and_nothing_else(head: Head, place: str) -> None:
    """Their rows, read as if their blank were the last, give our scores in their order."""
    config = replace(BASE, head=head)
    order = blank_last(PLACES[place], VOCAB + 1)
    theirs = to_theirs(config, random_state(config), "parakeet", order)
    as_it_stands = to_ours(config, theirs, "parakeet", LAST, "x")
    ours, permuted = (scores(config, state, head) for state in (random_state(config), as_it_stands))
    if head != "ctc":  # what was said before is a token by its number; look at the first alone
        ours, permuted = ours[:, :, 0], permuted[:, :, 0]
        embedded = as_it_stands["transducer.embedding.weight"][order]
        assert torch.equal(embedded, random_state(config)["transducer.embedding.weight"])
    difference = (permuted[..., order] - ours[..., : VOCAB + 1]).abs().max()
    assert difference < SUM_ORDER
    assert torch.equal(permuted[..., VOCAB + 1 :], ours[..., VOCAB + 1 :])


def scores(config: ConformerConfig, state: dict[str, Tensor], head: str) -> Tensor:
    model = ConformerASRModel(config).eval()
    # The prediction starts with the blank, so that its row must be the last for a fair comparison.
    same = {**state}
    if config.transducer:
        same["transducer.embedding.weight"] = random_state(config)["transducer.embedding.weight"]
    model.load_state_dict(same)
    generator = torch.Generator().manual_seed(2)
    features = Sequences(torch.randn(1, 64, 16, generator=generator), torch.tensor([64]))
    batch = Batch(features=features, tokens=torch.tensor([[1]]), token_lengths=torch.tensor([1]))
    with torch.no_grad():
        found = model.scores(model.encoder(features), batch.tokens, batch.token_lengths)[head]
    assert found is not None
    return found


def theirs_of(system: System) -> dict[str, Tensor]:
    return to_theirs(BOTH, random_state(BOTH), system, LAST)


def refused(system: System, tensors: dict[str, Tensor]) -> str:
    with pytest.raises(MismatchedCheckpointError) as told:
        to_ours(BOTH, tensors, system, LAST, "weights.bin")
    message = str(told.value)
    assert message.startswith("weights.bin is not the Fast Conformer") and "\n" not in message
    return message


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_missing_tensor_is_named(system: System) -> None:
    whole = theirs_of(system)
    for name in whole:
        found = refused(system, {key: value for key, value in whole.items() if key != name})
        assert f"it lacks {name};" in found


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_tensor_too_many_is_named(system: System) -> None:
    extra = {**theirs_of(system), "encoder.layers.0.adapter.weight": torch.zeros(1)}
    assert "it has encoder.layers.0.adapter.weight besides" in refused(system, extra)


CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda tensor: torch.cat([tensor, tensor]),
    lambda tensor: tensor[None],
    lambda tensor: tensor[..., 0],
    lambda tensor: tensor.sum(),
)
"""Makes a tensor longer, puts an axis before it, takes its last one, leaves a single number."""


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_tensor_of_another_shape_is_named_with_both_shapes(system: System) -> None:
    whole = theirs_of(system)
    for (name, tensor), change in zip(whole.items(), cycle(CHANGES), strict=False):
        changed = change(tensor)
        found = refused(system, {**whole, name: changed})
        assert f"{name} is {tuple(changed.shape)} instead of {tuple(tensor.shape)};" in found


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers_are_refused(dtype: torch.dtype) -> None:
    whole = theirs_of("nemo")
    name = "encoder.layers.0.norm_out.weight"
    assert f"{name} holds {dtype}" in refused("nemo", {**whole, name: whole[name].to(dtype)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_floating_point_type_become_fp32(dtype: torch.dtype) -> None:
    small = {name: tensor.to(dtype) for name, tensor in theirs_of("nemo").items()}
    for name, found in to_ours(BOTH, small, "nemo", LAST, "x").items():
        assert found.dtype == torch.float32
        assert torch.equal(found, random_state(BOTH)[name].to(dtype).float())


@pytest.mark.parametrize("claim", CLAIMS, ids=str)
def test_a_configuration_may_claim_any_size_without_room_being_made_for_it(
    claim: dict[str, Any],
) -> None:
    with pytest.raises(MismatchedCheckpointError, match="it lacks|instead of|no tensor is that"):
        to_ours(replace(BOTH, **claim), theirs_of("nemo"), "nemo", LAST, "x")
