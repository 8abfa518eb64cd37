"""The epoch plan covers everything once, within budget, and is a pure function."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.data.plan import EpochPlan, PlanSettings, Source, _cut, plan_epoch

GOLDEN = ["101c0efcfa51f488", "a94e6c38c3db7a4b", "b6a51e8297e5385b"]
SETTINGS = PlanSettings(batch_seconds=20.0, max_utterances=8)


def durations(count: int, seed: int = 0) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng(seed).integers(300, 9000, count)


def plan(count: int = 200, epoch: int = 0, seed: int = 0, **changes: object) -> EpochPlan:
    chosen = replace(SETTINGS, **changes)  # type: ignore[arg-type]
    return plan_epoch(durations(count), [Source(start=0, end=count)], seed, epoch, chosen)


def utterances(made: EpochPlan) -> list[int]:
    batches = [batch for step in range(made.steps) for batch in made.step(step)]
    return [int(i) for batch in batches if batch.counted for i in batch.indices]


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 120), group=st.integers(1, 5), seed=st.integers(0, 2**63 - 1))
def test_an_epoch_holds_every_utterance_once_in_full_steps(
    count: int, group: int, seed: int
) -> None:
    made = plan(count, seed=seed, micro_batches=group)
    assert sorted(utterances(made)) == list(range(count))
    assert len(made.starts) % group == 0
    assert all(len(made.step(step)) == group for step in range(made.steps))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 200), seed=st.integers(0, 1000))
def test_a_micro_batch_stays_within_its_budget_unless_one_utterance_exceeds_it(
    count: int, seed: int
) -> None:
    made = plan(count, seed=seed, speeds=(0.9, 1.0, 1.1), batch_seconds=8.0)
    for step in range(made.steps):
        (batch,) = made.step(step)
        lengths = durations(count)[batch.indices] / batch.speeds
        assert len(batch.indices) <= 8
        assert len(batch.indices) == 1 or lengths.max() * len(lengths) <= 8000


def test_the_same_arguments_give_the_same_plan_and_any_other_a_different_one() -> None:
    first = plan().digest()
    assert plan().digest() == first
    others = [
        plan(epoch=1),
        plan(seed=1),
        plan(count=201),
        plan(speeds=(0.9, 1.1)),
        plan(micro_batches=2),
        plan(batch_seconds=10.0),
    ]
    assert len({first, *(other.digest() for other in others)}) == 7


def test_planning_epoch_5_first_changes_nothing_about_epoch_2() -> None:
    plan(epoch=5)
    assert plan(epoch=2).digest() == plan(epoch=2).digest()


def test_batch_mates_change_from_epoch_to_epoch() -> None:
    mates = [
        {frozenset(map(int, plan(epoch=epoch).step(step)[0].indices)) for step in range(20)}
        for epoch in (0, 1)
    ]
    assert len(mates[0] & mates[1]) < 5


def test_padding_is_a_small_part_of_a_batch() -> None:
    made = plan_epoch(
        durations(5000), [Source(start=0, end=5000)], 0, 0, replace(SETTINGS, batch_seconds=60.0)
    )
    padded = filled = 0.0
    for step in range(made.steps):
        lengths = durations(5000)[made.step(step)[0].indices]
        padded += lengths.max() * len(lengths)
        filled += lengths.sum()
    assert filled / padded > 0.8


def test_a_source_of_weight_one_half_is_seen_once_in_two_epochs() -> None:
    sources = [Source(start=0, end=40, weight=0.5), Source(start=40, end=60, weight=2.0)]
    epochs = [
        utterances(plan_epoch(durations(60), sources, 3, epoch, SETTINGS)) for epoch in range(2)
    ]
    seen = [i for epoch in epochs for i in epoch]
    assert sorted(i for i in seen if i < 40) == list(range(40))
    assert all(seen.count(i) == 4 for i in range(40, 60))


def test_speed_factors_are_all_drawn_and_follow_their_utterance() -> None:
    made = plan(count=300, speeds=(0.9, 1.0, 1.1))
    assert set(np.round(made.speeds, 3)) == {np.float32(x) for x in (0.9, 1.0, 1.1)}
    again = plan(count=300, speeds=(0.9, 1.0, 1.1))
    assert dict(zip(made.order, made.speeds, strict=True)) == dict(
        zip(again.order, again.speeds, strict=True)
    )


def test_a_filler_keeps_its_shape_and_does_not_count() -> None:
    made = plan(count=1, micro_batches=3)
    batches = made.step(0)
    assert sorted(batch.counted for batch in batches) == [False, False, True]
    assert all(len(batch.indices) == 1 for batch in batches)


@pytest.mark.parametrize("count", [70_000])
def test_a_corpus_larger_than_one_pool_is_planned_whole(count: int) -> None:
    assert sorted(utterances(plan(count))) == list(range(count))


def cut_one_after_the_other(lengths: list[float], budget: float, most: int) -> list[int]:
    """Cut a row as it is defined: a run grows while its longest times its number fits."""
    sizes, start = list[int](), 0
    while start < len(lengths):
        size = 1
        while (
            size < most
            and start + size < len(lengths)
            and max(lengths[start : start + size + 1]) * (size + 1) <= budget
        ):
            size += 1
        sizes.append(size)
        start += size
    return sizes


lengths_in_rows = st.lists(
    st.lists(st.floats(1, 100, width=32), max_size=40), min_size=1, max_size=5
)


@given(lengths_in_rows, st.floats(1, 300, width=32), st.integers(1, 9))
def test_rows_that_are_cut_side_by_side_are_cut_as_one_after_the_other(
    rows: list[list[float]], budget: float, most: int
) -> None:
    found = _cut([np.array(row, np.float64) for row in rows], budget, most)
    assert [sizes.tolist() for sizes in found] == [
        cut_one_after_the_other(row, budget, most) for row in rows
    ]


def test_plans_are_those_of_every_release() -> None:
    """A plan is part of what a run promises: other batches are another run."""
    made = [
        plan(),
        plan(count=1000, seed=7, epoch=3, speeds=(0.9, 1.0, 1.1), micro_batches=4),
        plan(count=5, micro_batches=8),
    ]
    assert [one.digest()[:16] for one in made] == GOLDEN


def test_a_position_in_the_millionth_step_is_found_without_the_steps_before_it() -> None:
    """What a plan costs depends on its index, and not on the epoch or the step asked for."""
    first, late = plan(epoch=0), plan(epoch=100_000)
    assert sorted(utterances(late)) == sorted(utterances(first))
    assert len(late.order) == len(first.order) and late.digest() != first.digest()
