"""Weights, budgets, shares and fillers of the plan, for any corpus and over several epochs."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr_lab.data.plan import (
    POOL,
    EpochPlan,
    MicroBatch,
    PlanSettings,
    Source,
    plan_epoch,
    sorted_batches,
)

Durations = NDArray[np.int64]
SETTINGS = PlanSettings(batch_seconds=20.0, max_utterances=8)
QUARTERS = st.integers(4, 12).map(lambda quarters: quarters / 4)
"""Weights of which four epochs are whole passes, none below one utterance an epoch."""


@st.composite
def corpora(draw: st.DrawFn) -> tuple[Durations, list[Source]]:
    """Return the durations of one to three sources, and where they stand."""
    sources, start = [], 0
    for _ in range(draw(st.integers(1, 3))):
        end = start + draw(st.integers(1, 25))
        sources.append(Source(start=start, end=end, weight=draw(QUARTERS)))
        start = end
    lengths = draw(st.lists(st.integers(1, 30_000), min_size=start, max_size=start))
    return np.array(lengths, np.int64), sources


def batches(made: EpochPlan) -> list[MicroBatch]:
    return [batch for step in range(made.steps) for batch in made.step(step)]


def counted(made: EpochPlan) -> Counter[int]:
    """Return how often an epoch trains on each utterance."""
    return Counter(int(i) for batch in batches(made) if batch.counted for i in batch.indices)


@settings(max_examples=40)
@given(corpora(), st.integers(1, 4), st.integers(0, 2**31))
def test_four_epochs_hold_every_utterance_four_times_its_weight(
    corpus: tuple[Durations, list[Source]], group: int, seed: int
) -> None:
    durations, sources = corpus
    chosen = replace(SETTINGS, micro_batches=group)
    seen: Counter[int] = Counter()
    for epoch in range(4):
        seen += counted(plan_epoch(durations, sources, seed, epoch, chosen))
    expected = {i: 4 * one.weight for one in sources for i in range(one.start, one.end)}
    assert dict(seen) == expected


@settings(max_examples=40)
@given(corpora(), st.integers(0, 3), st.integers(0, 2**31))
def test_within_an_epoch_no_utterance_is_seen_twice_more_than_another_of_its_source(
    corpus: tuple[Durations, list[Source]], epoch: int, seed: int
) -> None:
    durations, sources = corpus
    seen = counted(plan_epoch(durations, sources, seed, epoch, SETTINGS))
    for one in sources:
        often = [seen[i] for i in range(one.start, one.end)]
        assert max(often) - min(often) <= 2  # the rest of one permutation, the start of the next
        assert sum(often) == pytest.approx(one.weight * len(often), abs=1)


@settings(max_examples=40)
@given(corpora(), st.floats(1, 60), st.integers(1, 9), st.integers(1, 5))
def test_budgets_hold_after_halving_too_and_speeds_count(
    corpus: tuple[Durations, list[Source]], seconds: float, most: int, group: int
) -> None:
    durations, sources = corpus
    chosen = PlanSettings(
        batch_seconds=seconds, max_utterances=most, micro_batches=group, speeds=(0.5, 1.0, 2.0)
    )
    made = plan_epoch(durations, sources, 0, 0, chosen)
    assert len(made.starts) == group * made.steps
    for batch in batches(made):
        lengths = durations[batch.indices] / batch.speeds
        assert 1 <= len(batch.indices) <= most
        if len(batch.indices) > 1:
            assert lengths.max() * len(lengths) <= seconds * 1000


@settings(max_examples=40)
@given(corpora(), st.integers(1, 6))
def test_fillers_stand_in_only_where_every_other_micro_batch_is_a_single_utterance(
    corpus: tuple[Durations, list[Source]], group: int
) -> None:
    durations, sources = corpus
    made = plan_epoch(durations, sources, 0, 0, replace(SETTINGS, micro_batches=group))
    found = batches(made)
    fillers = [batch for batch in found if not batch.counted]
    assert len(fillers) < group
    if fillers:
        assert all(len(batch.indices) == 1 for batch in found)


@pytest.mark.parametrize(
    "changed",
    [
        {"batch_seconds": 20.5},
        {"max_utterances": 9},
        {"micro_batches": 2},
        {"speeds": (0.9, 1.0)},
        {"speeds": (1.0, 1.0)},
        {"tokenizer": "a"},
        {"steps": "a"},
    ],
)
def test_the_digest_of_the_settings_follows_each_of_them(changed: dict[str, object]) -> None:
    assert replace(SETTINGS, **changed).digest() != SETTINGS.digest()  # type: ignore[arg-type]
    assert replace(SETTINGS).digest() == SETTINGS.digest()


def test_speeds_are_drawn_evenly_and_without_regard_to_the_length() -> None:
    count = 30_000
    durations = np.random.default_rng(0).integers(300, 9000, count)
    chosen = replace(SETTINGS, speeds=(0.9, 1.0, 1.1))
    made = plan_epoch(durations, [Source(start=0, end=count)], 0, 0, chosen)
    # Five standard deviations of a binomial count of 30,000 draws with probability 1/3.
    tolerance = 5 * (count * 2 / 9) ** 0.5
    long = durations[made.order] > np.median(durations)
    for speed in np.array(chosen.speeds, np.float32):
        assert abs(int((made.speeds == speed).sum()) - count / 3) < tolerance
        assert abs(int((made.speeds[long] == speed).sum()) - long.sum() / 3) < tolerance


def test_a_speed_is_drawn_anew_in_every_epoch() -> None:
    chosen = replace(SETTINGS, speeds=(0.9, 1.1))
    durations = np.full(400, 1000)
    sources = [Source(start=0, end=400)]
    first, second = (plan_epoch(durations, sources, 0, epoch, chosen) for epoch in (0, 1))
    speeds = [dict(zip(made.order, made.speeds, strict=True)) for made in (first, second)]
    same = sum(speeds[0][i] == speeds[1][i] for i in range(400))
    assert abs(same - 200) < 5 * 100**0.5  # standard deviation of 400 fair coins: 10


def test_only_utterances_of_one_pool_share_a_micro_batch() -> None:
    count = POOL + 500
    durations = np.random.default_rng(1).integers(300, 9000, count)
    made = plan_epoch(durations, [Source(start=0, end=count)], 0, 0, SETTINGS)
    first = set(made.order[:POOL].tolist())
    pools = [{int(i) in first for i in batch.indices} for batch in batches(made)]
    assert all(len(pool) == 1 for pool in pools)
    assert {True} in pools and {False} in pools


@settings(max_examples=60)
@given(st.lists(st.integers(0, 20_000), max_size=60), st.floats(1, 60), st.integers(1, 9))
def test_an_evaluation_takes_every_utterance_once_the_longest_first(
    lengths: list[int], seconds: float, most: int
) -> None:
    durations = np.array(lengths, np.int64)
    found = sorted_batches(durations, seconds, most)
    order = [int(i) for batch in found for i in batch.indices]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[i] for i in order] == sorted(lengths, reverse=True)
    for batch in found:
        assert batch.counted and (batch.speeds == 1).all()
        longest = durations[batch.indices].max()
        assert len(batch.indices) == 1 or longest * len(batch.indices) <= seconds * 1000
        assert len(batch.indices) <= most
