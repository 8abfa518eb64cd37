"""Settings of a run survive `run.json` whole, and what does not belong there is refused."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.models.base.config import ModelConfig
from asr_lab.plugins import ModelSpec, Registry
from asr_lab.training.config import DataConfig, RunConfig, TrainConfig
from asr_lab.training.config_io import from_dict, to_dict
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class PlainConfig(ModelConfig):
    strides: tuple[int, ...] = (2, 2)

    def steps(self, frames: int) -> int:
        return frames // 4


def registry() -> Registry:
    found = Registry()
    with found.registering("plain"):
        config = "asr_lab.models.base.config:ModelConfig"
        found.add(ModelSpec(name="plain", summary="", model="none:None", config=config, presets=()))
    return found


def run_config(**changes: object) -> RunConfig:
    plain = RunConfig(model="plain/plain", preset="default", model_config=ModelConfig())
    return replace(plain, **changes)  # type: ignore[arg-type]


@given(
    seed=st.integers(0, 2**63 - 1),
    lr=st.floats(1e-8, 1.0),
    speeds=st.lists(st.floats(0.5, 2.0), min_size=1, max_size=4),
    data=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3),
    vocab=st.integers(1, 100_000),
)
def test_settings_come_back_equal(
    seed: int, lr: float, speeds: list[float], data: list[str], vocab: int
) -> None:
    config = run_config(
        seed=seed,
        data=tuple(data),
        model_config=ModelConfig(vocab=vocab),
        train=TrainConfig(lr=lr),
        data_config=DataConfig(speeds=tuple(speeds)),
    )
    assert from_dict(to_dict(config), registry()) == config


def test_what_is_stored_is_plain() -> None:
    stored = to_dict(run_config(data_config=DataConfig(speeds=(0.9, 1.1))))
    assert stored["data_config"]["speeds"] == [0.9, 1.1]  # type: ignore[index]
    assert stored["model_config"]["vocab"] == 1024  # type: ignore[index]


def test_a_missing_setting_takes_its_default() -> None:
    stored = to_dict(run_config(seed=5))
    del stored["train"]
    del stored["seed"]
    assert from_dict(stored, registry()) == run_config()


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("train", "TrainConfig has no setting 'lrr'; did you mean lr"),
        ("data_config", "DataConfig has no setting 'lrr'"),
        ("model_config", "ModelConfig has no field 'lrr'"),
    ],
)
def test_an_unknown_setting_is_refused_with_its_group(group: str, message: str) -> None:
    stored = to_dict(run_config())
    stored[group] = {"lrr": 1.0}
    with pytest.raises(UserError, match=message):
        from_dict(stored, registry())


def test_a_group_that_is_no_group_is_refused() -> None:
    with pytest.raises(UserError, match="where a group of settings must stand"):
        from_dict({**to_dict(run_config()), "train": 3}, registry())


def test_settings_of_a_model_that_is_not_installed_are_refused_by_name() -> None:
    with pytest.raises(LookupError, match="no model 'gone/gone'"):
        from_dict(to_dict(run_config(model="gone/gone")), registry())


def test_tuples_of_a_model_configuration_come_back_as_tuples() -> None:
    config = PlainConfig(strides=(2, 1, 3))
    assert PlainConfig.from_dict(config.to_dict()) == config


def test_the_digest_follows_every_field_and_the_class() -> None:
    digests = {
        ModelConfig().digest(),
        PlainConfig().digest(),
        PlainConfig(strides=(4,)).digest(),
        PlainConfig(vocab=7).digest(),
    }
    assert len(digests) == 4
    assert PlainConfig().digest() == PlainConfig(strides=(2, 2)).digest()
