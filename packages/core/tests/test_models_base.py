"""What all models share: layouts, states, configurations, and the sum of the losses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.models.base import Batch, LossPart, ModelConfig, Sequences, select_state
from asr_lab.models.base.outputs import total_loss
from asr_lab.utils.errors import UserError

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=5)


@dataclass(frozen=True, kw_only=True)
class Sizes(ModelConfig):
    """A configuration with a field of every kind."""

    dim: int = 8
    strides: tuple[int, ...] = (1, 2)
    dropout: float = 0.1
    bias: bool = True


def padded(lengths: Sequence[int], extra: int = 0) -> Sequences:
    """Return sequences of distinct numbers, with noise as padding."""
    frames = max(lengths) + extra
    values = torch.full((len(lengths), frames, 2), 1e3)
    for row, length in enumerate(lengths):
        values[row, :length] = torch.arange(length * 2.0).view(length, 2) + 100 * row
    return Sequences(values, torch.tensor(lengths))


# Layouts


@given(LENGTHS, st.integers(0, 4))
def test_packing_puts_the_frames_of_all_sequences_end_to_end(
    lengths: list[int], extra: int
) -> None:
    sequences = padded(lengths, extra)
    packed = sequences.pack()
    assert packed.packed and not sequences.packed
    assert packed.offsets is not None
    ends = packed.offsets.tolist()
    assert ends == [sum(lengths[:row]) for row in range(len(lengths) + 1)]
    for row, (start, end) in enumerate(zip(ends, ends[1:], strict=False)):
        assert torch.equal(packed.values[start:end], sequences.values[row, : lengths[row]])
    assert packed.mask().shape == (sum(lengths),)
    assert packed.mask().all()


@given(LENGTHS, st.integers(0, 4))
def test_padding_what_was_packed_clears_the_padding_and_keeps_the_frames(
    lengths: list[int], extra: int
) -> None:
    sequences = padded(lengths, extra)
    again = sequences.pack().pad()
    mask = sequences.mask()[:, : max(lengths)]
    assert again.values.shape == (len(lengths), max(lengths), 2)
    assert torch.equal(again.values[mask], sequences.values[:, : max(lengths)][mask])
    assert not again.values[~mask].any()
    assert again.lengths.tolist() == lengths


def test_gradients_flow_through_both_layouts_to_the_frames_alone() -> None:
    sequences = padded([3, 0, 2], extra=1)
    values = sequences.values.requires_grad_()
    (Sequences(values, sequences.lengths).pack().pad().values * 3).sum().backward()
    assert values.grad is not None
    expected = sequences.mask()[..., None].expand_as(values) * 3.0
    assert torch.equal(values.grad, expected)


# States


def test_a_state_keeps_its_shape_when_entries_are_chosen() -> None:
    keys, hidden = torch.arange(12.0).view(3, 4), torch.arange(3.0)
    state = (keys, {"hidden": hidden, "steps": 7, "nothing": None}, [keys + 1])
    chosen = select_state(state, torch.tensor([2, 2, 0, 1]))
    assert isinstance(chosen, tuple)
    first, second, third = chosen
    assert isinstance(first, Tensor)
    assert torch.equal(first, keys[[2, 2, 0, 1]])
    assert isinstance(second, dict)
    assert second["hidden"].tolist() == [2.0, 2.0, 0.0, 1.0]
    assert (second["steps"], second["nothing"]) == (7, None)
    assert isinstance(third, list)
    assert torch.equal(third[0], keys[[2, 2, 0, 1]] + 1)
    assert select_state(None, torch.tensor([0])) is None


# Batches


def test_a_batch_that_says_nothing_of_it_is_valid_and_draws_from_key_zero() -> None:
    batch = Batch(
        features=padded([3, 2]),
        tokens=torch.zeros(2, 4, dtype=torch.int64),
        token_lengths=torch.tensor([4, 1]),
    )
    assert batch.valid.tolist() == [True, True]
    assert batch.keys.tolist() == [0, 0]


def test_moving_a_batch_loses_nothing() -> None:
    batch = Batch(
        features=padded([3, 2]).pack(),
        tokens=torch.zeros(2, 4, dtype=torch.int64),
        token_lengths=torch.tensor([4, 1]),
        utterance_ids=("a", "b"),
        language=("en", "de"),
        prompt=("", "so"),
        keys=torch.tensor([5, 6]),
        valid=torch.tensor([False, True]),
    )
    moved = batch.to("cpu")
    assert moved.utterance_ids == ("a", "b")
    assert (moved.language, moved.prompt) == (("en", "de"), ("", "so"))
    assert (moved.keys.tolist(), moved.valid.tolist()) == ([5, 6], [False, True])
    assert moved.features.offsets is not None
    assert moved.features.offsets.tolist() == [0, 3, 5]


# Losses


def part(total: float, count: int, weight: float = 1.0) -> LossPart:
    return LossPart(sum=torch.tensor(total, requires_grad=True), count=count, weight=weight)


def test_the_loss_is_the_weighted_sum_of_means_over_the_whole_step() -> None:
    parts = {"ctc": part(6.0, 2, 0.3), "attention": part(20.0, 5, 0.7)}
    # The step counts more than this batch holds: other micro-batches have the rest.
    found = total_loss(parts, {"ctc": 4, "attention": 10}).item()
    assert found == pytest.approx(0.3 * 6 / 4 + 0.7 * 20 / 10)


def test_a_part_that_counts_nothing_adds_zero_and_keeps_its_gradient_finite() -> None:
    empty = part(0.0, 0)
    loss = total_loss({"ctc": empty}, {"ctc": 0})
    loss.backward()
    assert loss.item() == 0
    assert empty.sum.grad is not None
    assert math.isfinite(empty.sum.grad.item())


# Configurations


def test_a_configuration_comes_back_from_plain_values_with_its_types() -> None:
    config = Sizes(dim=4, strides=(2, 2, 1), bias=False)
    plain = config.to_dict()
    assert plain["strides"] == [2, 2, 1]
    again = Sizes.from_dict(plain)
    assert again == config
    assert again.strides == (2, 2, 1)


def test_a_field_that_is_missing_takes_its_default() -> None:
    assert Sizes.from_dict({"dim": 5}) == Sizes(dim=5)


def test_a_misspelt_field_is_told_with_the_closest_one() -> None:
    with pytest.raises(UserError, match=r"Sizes has no field 'stride'; did you mean strides\?"):
        Sizes.from_dict({"stride": [1]})


def test_the_digest_tells_every_field_and_every_kind_of_model_apart() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Others(Sizes):
        """The same fields under another name."""

    changes: list[dict[str, object]] = [
        {},
        {"vocab": 7},
        {"features": "kaldi"},
        {"mels": 40},
        {"sample_rate": 8000},
        {"strides": (2, 1)},
        {"dropout": 0.2},
        {"bias": False},
    ]
    digests = {Sizes.from_dict(change).digest() for change in changes} | {Others().digest()}
    assert len(digests) == len(changes) + 1
    assert Sizes().digest() == Sizes().digest()


def test_the_blank_follows_the_last_token() -> None:
    assert ModelConfig(vocab=31).blank_id == 31


def test_a_configuration_that_does_not_say_its_steps_is_told_whose_fault_it_is() -> None:
    with pytest.raises(NotImplementedError, match="Sizes must say how it shortens its input"):
        Sizes().steps(10)
