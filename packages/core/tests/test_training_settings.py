"""Settings that could not train, or would train away from the goal, are refused by their names."""

from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.data.settings import DataConfig
from asr_lab.training.config import TrainConfig

Train = Callable[..., int]
LARGEST_BELOW_ONE = 1 - 2.0**-53


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"log_every": 0}, "log-every must be above 0; got 0"),  # would divide by zero
        ({"log_every": -3}, "log-every must be above 0; got -3"),
        ({"clip": -1.0}, "clip must be 0 or more; got -1.0"),  # would turn the gradient around
        ({"betas": (0.9, 1.0)}, "betas must be from 0 to below 1; got (0.9, 1.0)"),
        ({"betas": (-0.1, 0.9)}, "betas must be from 0 to below 1; got (-0.1, 0.9)"),
        ({"eps": -1e-8}, "eps must be 0 or more; got -1e-08"),
        ({"weight_decay": -1.0}, "weight-decay must be 0 or more; got -1.0"),  # would grow weights
        ({"warmup": -2.0}, "warmup must be 0 or more; got -2.0"),
        ({"final_lr": 3.0}, "final-lr must be from 0 to 1; got 3.0"),  # the rate would rise
        ({"final_lr": -1.0}, "final-lr must be from 0 to 1; got -1.0"),
        ({"eval_every": -1}, "eval-every must be 0 or more; got -1"),
        ({"save_every": -1}, "save-every must be 0 or more; got -1"),
        ({"save_seconds": -1.0}, "save-seconds must be 0 or more; got -1.0"),
        ({"non_finite_limit": -1}, "non-finite-limit must be 0 or more; got -1"),
        ({"ema": 1.0}, "ema must be from 0 to below 1; got 1.0"),  # would never move
        ({"lr": float("nan")}, "lr must be above 0; got nan"),
        ({"keep": 0}, "keep must be above 0; got 0"),
    ],
)
def test_a_value_that_cannot_train_is_refused_by_the_name_of_its_flag(
    settings: dict[str, float], reason: str
) -> None:
    with pytest.raises(ValueError) as refused:
        TrainConfig(**settings)  # type: ignore[arg-type]
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"freq_masks": -1}, "freq-masks must be 0 or more; got -1"),
        ({"freq_width": -1}, "freq-width must be 0 or more; got -1"),
        ({"time_masks": -1}, "time-masks must be 0 or more; got -1"),
        ({"time_width": 3.0}, "time-width must be from 0 to 1; got 3.0"),
        ({"time_width": -1.0}, "time-width must be from 0 to 1; got -1.0"),
        ({"dev_fraction": 5.0}, "dev-fraction must be from 0 to 1; got 5.0"),
        ({"gain_db": -1.0}, "gain-db must be 0 or more; got -1.0"),
        ({"min_duration": -1.0}, "min-duration must be 0 or more; got -1.0"),
        ({"cache_hours": -1.0}, "cache-hours must be 0 or more; got -1.0"),
        ({"workers": -1}, "workers must be 0 or more and prefetch 1 or more"),
        ({"prefetch": 0}, "workers must be 0 or more and prefetch 1 or more"),
    ],
)
def test_data_that_cannot_be_augmented_so_are_refused_by_the_name_of_the_flag(
    settings: dict[str, float], reason: str
) -> None:
    with pytest.raises(ValueError) as refused:
        DataConfig(**settings)  # type: ignore[arg-type]
    assert str(refused.value) == reason


@pytest.mark.parametrize("betas", ["0.9 1.5", "0.9 nan"])
def test_such_a_value_on_the_command_line_is_one_line_and_nothing_is_written(
    betas: str, train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--train.betas", betas, "--output", tmp_path / "run") == 2
    told = capsys.readouterr().err
    assert told.startswith("asr-lab: --train.betas ") and told.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_mistakes_of_both_groups_are_told_together(
    train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--train.clip -1 --data.freq-masks -1 --train.schedule sine") == 2
    told = capsys.readouterr().err
    assert told.startswith("asr-lab: 3 problems\n")
    for flag in ("--train.clip", "--data.freq-masks", "--train.schedule"):
        assert told.count(flag) == 1


def test_the_ends_of_what_is_allowed_are_allowed() -> None:
    TrainConfig(log_every=1, clip=0.0, warmup=0.0, betas=(0.0, LARGEST_BELOW_ONE), eps=0.0)
    TrainConfig(weight_decay=0.0, final_lr=1.0, ema=LARGEST_BELOW_ONE, non_finite_limit=0)
    TrainConfig(save_seconds=0.0, save_every=0, eval_every=0, keep=1, final_lr=0.0)
    DataConfig(freq_masks=0, freq_width=0, time_masks=0, time_width=1.0, dev_fraction=1.0)
    DataConfig(time_width=0.0, dev_fraction=0.0, gain_db=0.0, min_duration=0.0, cache_hours=0.0)


@pytest.mark.parametrize("flags", ["--train.clip 0", "--train.warmup 0", "--train.final-lr 1"])
def test_a_run_at_such_an_end_trains(flags: str, train: Train, tmp_path: Path) -> None:
    assert train(flags, "--train.steps 2 --output", tmp_path / "run") == 0
