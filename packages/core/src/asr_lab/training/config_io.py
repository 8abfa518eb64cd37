"""Run settings as plain values and back, for `run.json`; torch-free."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TypeVar

from asr_lab.data.settings import DataConfig
from asr_lab.models.base.config import ModelConfig
from asr_lab.plugins import ModelSpec, Registry
from asr_lab.plugins.specs import load_target
from asr_lab.training.config import RunConfig, TrainConfig
from asr_lab.utils.errors import UserError, suggestion

T = TypeVar("T")


def to_dict(config: RunConfig) -> dict[str, object]:
    """Return all settings as plain values; tuples become lists."""
    plain: dict[str, object] = json.loads(json.dumps(asdict(config)))
    return plain


def from_dict(values: Mapping[str, object], registry: Registry) -> RunConfig:
    """Return the settings that `to_dict` made plain; missing ones take their defaults.

    Raises UserError for an unknown setting, UnknownNameError for a model that is not installed.
    """
    rest = dict(values)
    _, spec = registry.find(ModelSpec, str(rest["model"]))
    model_config = load_target(spec.config)
    assert isinstance(model_config, type) and issubclass(model_config, ModelConfig)
    return _build(
        RunConfig,
        {
            **rest,
            "model_config": model_config.from_dict(_mapping(rest["model_config"])),
            "train": _build(TrainConfig, _mapping(rest.get("train", {}))),
            "data_config": _build(DataConfig, _mapping(rest.get("data_config", {}))),
        },
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise UserError(f"run settings hold {value!r} where a group of settings must stand")
    return value


def _build(kind: type[T], values: Mapping[str, object]) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise UserError(f"{kind.__name__} has no setting {name!r}{suggestion(name, known)}")
    return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})
