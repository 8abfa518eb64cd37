"""Learning rates are pure functions of the step with the ends that their names promise."""

import math
from dataclasses import replace
from typing import Literal

import pytest

from asr_lab.training.config import TrainConfig
from asr_lab.training.schedules import learning_rate, warmup_steps

CONFIG = TrainConfig(lr=2e-3, warmup=0.1, final_lr=0.05)
Schedule = Literal["cosine", "linear", "wsd", "noam", "constant"]


def rates(schedule: Schedule, steps: int = 200) -> list[float]:
    config = replace(CONFIG, schedule=schedule)
    return [learning_rate(config, step, steps) for step in range(steps)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd", "noam", "constant"])
def test_the_rate_rises_on_a_line_to_the_peak_and_never_exceeds_it(schedule: Schedule) -> None:
    found = rates(schedule)
    assert found[:20] == pytest.approx([2e-3 * (step + 1) / 20 for step in range(20)])
    assert max(found) == pytest.approx(2e-3)
    assert all(a >= b for a, b in zip(found[20:], found[21:], strict=False))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "wsd"])
def test_the_rate_ends_close_to_its_floor(schedule: Schedule) -> None:
    assert rates(schedule, 20_000)[-1] == pytest.approx(1e-4, rel=0.01)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert rates("cosine")[110] == pytest.approx(2e-3 * (0.05 + 0.95 / 2))


def test_wsd_stays_at_the_peak_until_the_last_fifth() -> None:
    found = rates("wsd")
    assert found[20:160] == [2e-3] * 140
    assert found[170] < 2e-3


def test_noam_falls_with_the_square_root_of_the_step() -> None:
    assert rates("noam")[79] == pytest.approx(2e-3 * math.sqrt(20 / 80))


@pytest.mark.parametrize(("warmup", "expected"), [(0.1, 20), (7.0, 7), (0.0, 0), (1e6, 200)])
def test_warm_up_is_a_fraction_below_one_and_a_number_of_steps_above(
    warmup: float, expected: int
) -> None:
    assert warmup_steps(replace(CONFIG, warmup=warmup), 200) == expected


def test_a_run_of_one_step_has_a_rate() -> None:
    for schedule in ("cosine", "linear", "wsd", "noam", "constant"):
        assert learning_rate(replace(CONFIG, schedule=schedule), 0, 1) > 0
