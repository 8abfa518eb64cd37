"""Every learning rate schedule, for any settings: continuous, falling, bounded, and stateless."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.training.config import TrainConfig
from asr_lab.training.schedules import learning_rate, warmup_steps

ROUNDING = 1e-12
"""Relative: a dozen roundings of double precision, of 1.1e-16 each, and room."""
FALLING = ("cosine", "linear", "wsd")
KINDS = (*FALLING, "noam", "constant")


@st.composite
def runs(draw: st.DrawFn, kinds: tuple[str, ...] = KINDS) -> tuple[TrainConfig, int]:
    """Return settings of any kind, and a number of steps."""
    config = TrainConfig(
        lr=draw(st.floats(1e-6, 10)),
        schedule=draw(st.sampled_from(kinds)),
        warmup=draw(st.floats(0, 0.99) | st.integers(1, 60).map(float)),
        final_lr=draw(st.floats(0, 1)),
    )
    return config, draw(st.integers(2, 200))


def rates(config: TrainConfig, steps: int) -> list[float]:
    return [learning_rate(config, step, steps) for step in range(steps)]


@given(runs())
def test_no_step_is_wasted_and_none_exceeds_the_peak(run: tuple[TrainConfig, int]) -> None:
    config, steps = run
    found = rates(config, steps)
    assert all(0 < rate <= config.lr * (1 + ROUNDING) for rate in found[:-1])


@given(runs())
def test_the_rate_never_falls_in_the_warm_up_and_never_rises_after_it(
    run: tuple[TrainConfig, int],
) -> None:
    config, steps = run
    found, warmup = rates(config, steps), warmup_steps(config, steps)
    assert found[:warmup] == sorted(found[:warmup])
    assert all(b <= a * (1 + ROUNDING) for a, b in pairwise(found[warmup:]))


@given(runs())
def test_warm_up_ends_at_the_peak_without_a_jump(run: tuple[TrainConfig, int]) -> None:
    config, steps = run
    found, warmup = rates(config, steps), warmup_steps(config, steps)
    if warmup:
        assert found[warmup - 1] == pytest.approx(config.lr, rel=ROUNDING)
    if 0 < warmup < steps and config.schedule != "noam":
        assert found[warmup] == pytest.approx(config.lr, rel=ROUNDING)
    if 0 < warmup < steps and config.schedule == "noam":
        expected = config.lr * (warmup / (warmup + 1)) ** 0.5
        assert found[warmup] == pytest.approx(expected, rel=ROUNDING)


@given(runs(FALLING))
def test_one_step_further_the_rate_would_be_at_its_floor(run: tuple[TrainConfig, int]) -> None:
    config, steps = run
    if warmup_steps(config, steps) < steps:
        floor = config.lr * config.final_lr
        after = learning_rate(config, steps, steps)
        assert after == pytest.approx(floor, rel=ROUNDING, abs=config.lr * ROUNDING)
        assert rates(config, steps)[-1] >= floor * (1 - ROUNDING)


@given(runs(FALLING), st.integers(1, 50))
def test_a_step_beyond_the_end_stays_at_the_floor(run: tuple[TrainConfig, int], far: int) -> None:
    config, steps = run
    if config.schedule != "cosine" and warmup_steps(config, steps) < steps:
        beyond = learning_rate(config, steps + far, steps)
        assert beyond == pytest.approx(config.lr * config.final_lr, abs=config.lr * ROUNDING)


@given(runs(), st.data())
def test_the_rate_of_a_step_depends_on_no_other_step(
    run: tuple[TrainConfig, int], data: st.DataObject
) -> None:
    config, steps = run
    whole = rates(config, steps)
    for step in data.draw(st.permutations(range(min(steps, 12)))):
        assert learning_rate(replace(config), step, steps) == whole[step]


@given(runs(), st.floats(0.01, 100))
def test_the_peak_scales_the_whole_run(run: tuple[TrainConfig, int], factor: float) -> None:
    config, steps = run
    scaled = rates(replace(config, lr=config.lr * factor), steps)
    expected = [rate * factor for rate in rates(config, steps)]
    assert scaled == pytest.approx(expected, rel=ROUNDING, abs=config.lr * factor * ROUNDING)


@given(runs(("cosine", "linear")))
def test_the_fall_is_symmetric_about_its_middle(run: tuple[TrainConfig, int]) -> None:
    config, steps = run
    warmup = warmup_steps(config, steps)
    ends = config.lr * (1 + config.final_lr)
    for done in range(steps - warmup):
        here = learning_rate(config, warmup + done, steps)
        mirrored = learning_rate(config, steps - done, steps)
        assert here + mirrored == pytest.approx(ends, rel=ROUNDING)


@given(st.integers(1, 10_000), st.floats(0, 0.999))
def test_a_fraction_of_warm_up_is_rounded_up_and_leaves_the_run_its_length(
    steps: int, fraction: float
) -> None:
    found = warmup_steps(TrainConfig(warmup=fraction), steps)
    assert fraction * steps <= found <= fraction * steps + 1
    assert 0 <= found <= steps
