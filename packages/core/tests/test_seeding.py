"""Randomness is a pure function of seed, purpose and key."""

import random

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.reproducibility.seeding import (
    derive_key,
    generator,
    integers,
    normal,
    scope,
    shuffled,
    uniform,
    utterance_keys,
)

MASK = 2**64 - 1
SIGNED = st.integers(-(2**63), 2**63 - 1)


def splitmix(key: int, purpose: str, count: int) -> list[int]:
    """SplitMix64 in Python's unbounded integers."""

    def mix(word: int) -> int:
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
        return word ^ (word >> 31)

    start = mix((key ^ derive_key(0, "draw", purpose)) & MASK)
    return [mix((start + (i + 1) * 0x9E3779B97F4A7C15) & MASK) for i in range(count)]


def numpy_words() -> list[int]:
    """The state of numpy's global generator."""
    words: list[int] = numpy.random.get_state(legacy=False)["state"]["key"].tolist()
    return words


def keys_of(count: int) -> torch.Tensor:
    return utterance_keys(1, 0, [f"u{i}" for i in range(count)])


def test_keys_never_change_between_releases() -> None:
    assert derive_key(0) == -7203015550239113044
    assert derive_key(7, "utterance", 3, "a") == 6762627812513869432


def test_keys_tell_arguments_apart() -> None:
    found = [derive_key(1, "ab"), derive_key(1, "a", "b"), derive_key(1, 2), derive_key(1, "2")]
    found += [derive_key(1, "1,2"), derive_key(1, 1, 2), derive_key(-1, "ab"), derive_key(11)]
    assert len(set(found)) == len(found)
    assert all(-(2**63) <= key < 2**63 for key in found)


def test_an_utterance_has_another_key_in_another_epoch_and_the_same_in_another_batch() -> None:
    first, second = utterance_keys(5, 0, ["a", "b"]), utterance_keys(5, 1, ["b"])
    assert first[1] == utterance_keys(5, 0, ["b"])[0]
    assert first[1] != second[0]
    assert first.dtype == torch.int64
    assert utterance_keys(5, 0, []).shape == (0,)


@settings(max_examples=30, deadline=None)
@given(st.lists(SIGNED, min_size=1, max_size=4), st.integers(0, 9), st.text(max_size=5))
def test_draws_equal_splitmix_in_unbounded_integers(
    keys: list[int], count: int, purpose: str
) -> None:
    tensor = torch.tensor(keys, dtype=torch.int64)
    words = [splitmix(key, purpose, count) for key in keys]
    expected = torch.tensor([[(w >> 40) / 2**24 for w in row] for row in words])
    assert torch.equal(uniform(tensor, purpose, count), expected.reshape(len(keys), count))
    whole = torch.tensor([[((w >> 32) * 1000) >> 32 for w in row] for row in words])
    found = integers(tensor, purpose, count, 1000)
    assert torch.equal(found, whole.reshape(len(keys), count).long())


@settings(max_examples=20, deadline=None)
@given(st.lists(SIGNED, min_size=1, max_size=3), st.integers(1, 9))
def test_normal_draws_are_box_and_muller_of_the_words(keys: list[int], count: int) -> None:
    found = normal(torch.tensor(keys, dtype=torch.int64), "noise", count)
    for row, key in zip(found, keys, strict=True):
        expected = []
        for word in splitmix(key, "noise", (count + 1) // 2):
            first, second = ((word >> 40) + 1) / 2**24, ((word >> 16) % 2**24) / 2**24
            radius = numpy.sqrt(-2 * numpy.log(first))
            angle = 2 * numpy.pi * second
            expected += [radius * numpy.cos(angle), radius * numpy.sin(angle)]
        assert numpy.allclose(row.numpy(), expected[:count], atol=1e-5)


@pytest.mark.parametrize("draw", [uniform, normal])
def test_a_draw_depends_on_its_own_key_alone(draw: object) -> None:
    assert callable(draw)
    keys = keys_of(5)
    together = draw(keys, "x", 7)
    assert torch.equal(together[3:4], draw(keys[3:4], "x", 7))
    assert torch.equal(together[:, :4], draw(keys, "x", 4))
    assert not torch.equal(together, draw(keys, "y", 7))


def test_draws_have_the_moments_of_their_distributions() -> None:
    keys = keys_of(20)
    flat, bell = uniform(keys, "u", 5000), normal(keys, "n", 5000)
    # Standard errors over 100 000 draws are below 0.0032; four of them.
    assert abs(float(flat.mean()) - 0.5) < 0.004
    assert abs(float(flat.var()) - 1 / 12) < 0.002
    assert abs(float(bell.mean())) < 0.013
    assert abs(float(bell.var()) - 1) < 0.018
    assert abs(float((bell[:, 1:] * bell[:, :-1]).mean())) < 0.013
    assert float(flat.min()) >= 0 and float(flat.max()) < 1
    assert bool(torch.isfinite(bell).all())


def test_integers_reach_every_value_below_each_bound_and_no_other() -> None:
    bounds = torch.tensor([1, 3, 10])
    found = integers(keys_of(3), "i", 400, bounds)
    for row, bound in zip(found.tolist(), bounds.tolist(), strict=True):
        assert set(row) == set(range(bound))
    assert int(integers(keys_of(3), "i", 50, 2**31).max()) < 2**31
    per_draw = torch.tensor([[1, 5], [2, 9], [3, 1]])
    assert bool((integers(keys_of(3), "i", 2, per_draw) < per_draw).all())


def test_a_scope_repeats_and_leaves_no_trace() -> None:
    def draws() -> list[float]:
        return [float(torch.rand(())), random.random(), float(numpy.random.rand())]

    before = torch.get_rng_state(), numpy_words()
    with scope(3, "dropout", 1):
        first = draws()
    with scope(3, "dropout", 1, device="cpu"):
        second = draws()
    with scope(3, "dropout", 2):
        third = draws()
    assert first == second
    assert not set(first) & set(third)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == numpy_words()


def test_a_scope_leaves_python_random_as_it_was() -> None:
    def after(seed: int, draws: int) -> float:
        random.seed(1)
        with scope(seed, "workers"):
            for _ in range(draws):
                random.random()
        # The type checks of the test run draw from `random` too, as often in either case.
        return random.random()

    assert after(3, 1) == after(4, 5)


def test_a_scope_restores_after_an_error_and_can_be_nested() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError), scope(1, "a"):
        outer = torch.get_rng_state()
        with scope(1, "b"):
            torch.rand(3)
        assert torch.equal(outer, torch.get_rng_state())
        raise KeyError
    assert torch.equal(before, torch.get_rng_state())


def test_generators_of_one_purpose_agree() -> None:
    first = torch.rand(4, generator=generator(1, "init", "layer"))
    assert torch.equal(first, torch.rand(4, generator=generator(1, "init", "layer")))
    assert not torch.equal(first, torch.rand(4, generator=generator(2, "init", "layer")))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 300), st.integers(0, 2**40))
def test_a_shuffle_is_a_permutation_and_depends_on_seed_and_purpose(count: int, seed: int) -> None:
    order = shuffled(count, seed, "epoch", 1)
    assert sorted(order.tolist()) == list(range(count))
    assert order.tolist() == shuffled(count, seed, "epoch", 1).tolist()
    if count > 20:
        assert order.tolist() != shuffled(count, seed, "epoch", 2).tolist()
        assert order.tolist() != shuffled(count, seed + 1, "epoch", 1).tolist()


def test_a_shuffle_never_changes_between_releases() -> None:
    assert shuffled(8, 0, "epoch", 0).tolist() == [6, 3, 7, 2, 4, 5, 1, 0]
