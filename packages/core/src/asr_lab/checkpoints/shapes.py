"""What the shapes of a model's weights depend on, found by building it without memory."""

from collections.abc import Mapping
from dataclasses import fields, replace

import torch

from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.plugins import ModelSpec
from asr_lab.plugins.specs import load_target

Shapes = dict[str, tuple[int, ...]]


def shapes(spec: ModelSpec, config: ModelConfig) -> Shapes:
    """Return the shape of every entry of the model's state dict, by name."""
    model_class = load_target(spec.model)
    assert isinstance(model_class, type) and issubclass(model_class, ASRModel)
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                model = model_class(config)
        except (NotImplementedError, RuntimeError):  # an initialisation that looks at its numbers
            model = model_class(config)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def vocabulary_weights(spec: ModelSpec, config: ModelConfig) -> set[str]:
    """Return the weights whose shape follows the number of tokens, by name."""
    here, there = shapes(spec, config), shapes(spec, replace(config, vocab=config.vocab + 1))
    return {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)}


def changes(before: ModelConfig, after: ModelConfig) -> dict[str, tuple[object, object]]:
    """Return the settings that differ, the number of tokens left out, with both values."""
    pairs = {f.name: (getattr(before, f.name), getattr(after, f.name)) for f in fields(before)}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name != "vocab"}


def weight_changes(
    spec: ModelSpec, before: ModelConfig, after: ModelConfig
) -> dict[str, tuple[object, object]]:
    """Return those of the `changes` that give the model other weights, by name or shape."""
    found = changes(before, after)
    if not found:
        return {}
    known = shapes(spec, before)
    if shapes(spec, replace(after, vocab=before.vocab)) == known:
        return {}
    alone = {
        name: pair for name, pair in found.items() if _matters(spec, before, name, pair[1], known)
    }
    return alone or found


def _matters(spec: ModelSpec, before: ModelConfig, name: str, value: object, known: Shapes) -> bool:
    """Return True if a setting changes weights by itself, or cannot be changed by itself."""
    try:
        return shapes(spec, replace(before, **{name: value})) != known  # type: ignore[arg-type]
    except ValueError:
        return True


def told(settings: Mapping[str, tuple[object, object]]) -> str:
    """Return settings with the value that a checkpoint has and the one that is asked for."""
    return ", ".join(
        f"{name.replace('_', '-')} is {there} there, {here} here"
        for name, (there, here) in settings.items()
    )
