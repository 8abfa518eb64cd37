"""The state of an optimizer by the names of its parameters: it does not depend on their order."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.optim import Optimizer

from asr_lab.checkpoints.errors import MismatchedCheckpointError

# How a step is computed, not what it computes: these stay as the optimizer was built.
IMPLEMENTATION = ("params", "param_names", "fused", "foreach", "capturable", "differentiable")
GROUP = "group."


def flatten_optimizer(
    optimizer: Optimizer, model: nn.Module
) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Return tensors by `KEY/PARAMETER`, and settings and plain numbers as JSON can hold them.

    Raises ValueError if the optimizer has a parameter that the model has not.
    """
    names = _names(optimizer, model)
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, dict[str, object]] = {}
    for parameter, state in optimizer.state.items():
        name = names[id(parameter)]
        numbers[name] = {}
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"{key}/{name}"] = value
            else:
                numbers[name][key] = value
    groups = [_group(group, names, tensors) for group in optimizer.param_groups]
    return tensors, {"groups": groups, "numbers": numbers}


def _names(optimizer: Optimizer, model: nn.Module) -> dict[int, str]:
    """Return the name of each of the optimizer's parameters, by identity."""
    known = {id(parameter): name for name, parameter in model.named_parameters()}
    used = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    missing = sum(id(parameter) not in known for parameter in used)
    if missing:
        raise ValueError(f"{missing} parameters of the optimizer are not the model's")
    return {id(parameter): known[id(parameter)] for parameter in used}


def _group(
    group: Mapping[str, object], names: Mapping[int, str], tensors: dict[str, Tensor]
) -> dict[str, object]:
    """Return a group's settings; those that are tensors go to `tensors`."""
    members = _members(group, names)
    plain: dict[str, object] = {}
    for key, value in group.items():
        if key in IMPLEMENTATION:
            continue
        if isinstance(value, Tensor):
            tensors[f"{GROUP}{key}/{_first(members)}"] = value
        else:
            plain[key] = list(value) if isinstance(value, tuple) else value
    return {"parameters": members, "settings": plain}


def _members(group: Mapping[str, object], names: Mapping[int, str]) -> list[str]:
    parameters = group["params"]
    assert isinstance(parameters, list)
    return sorted(names[id(parameter)] for parameter in parameters)


def _first(members: Sequence[str]) -> str:
    """Return the name that stands for a group; empty for an empty group."""
    return next(iter(members), "")


def restore_optimizer(
    optimizer: Optimizer,
    model: nn.Module,
    tensors: Mapping[str, Tensor],
    plain: Mapping[str, object],
) -> None:
    """Give an optimizer the state that `flatten_optimizer` returned, bit for bit.

    Raises MismatchedCheckpointError if the groups hold other parameters; nothing is changed then.
    """
    names = _names(optimizer, model)
    saved = _saved_groups(plain)
    here = {tuple(_members(group, names)): group for group in optimizer.param_groups}
    numbers = plain.get("numbers")
    if set(saved) != set(here) or not isinstance(numbers, dict):
        changed = sorted(set().union(*saved).symmetric_difference(set().union(*here)))
        what = f"for example {changed[0]}" if changed else "or groups them differently"
        raise MismatchedCheckpointError(
            f"the checkpoint's optimizer knows other parameters, {what}; "
            "resume with the model and settings of that run"
        )
    for members, group in here.items():
        _restore_group(group, _first(members), saved[members], tensors)
    by_parameter = _by_parameter(tensors)
    optimizer.state.clear()
    for group in optimizer.param_groups:
        step_on_device = bool(group.get("capturable") or group.get("fused"))
        for parameter in group["params"]:
            name = names[id(parameter)]
            if name in numbers:
                state = _on_device(parameter, by_parameter.get(name, {}), step_on_device)
                optimizer.state[parameter] = {**numbers[name], **state}


def _saved_groups(plain: Mapping[str, object]) -> dict[tuple[str, ...], dict[str, object]]:
    groups = plain.get("groups")
    assert isinstance(groups, list)
    return {tuple(group["parameters"]): group["settings"] for group in groups}


def _restore_group(
    group: dict[str, object],
    first: str,
    settings: Mapping[str, object],
    tensors: Mapping[str, Tensor],
) -> None:
    for key, value in settings.items():
        group[key] = tuple(value) if isinstance(value, list) else value
    for key, value in group.items():
        saved = tensors.get(f"{GROUP}{key}/{first}")
        if saved is not None:
            device = value.device if isinstance(value, Tensor) else "cpu"
            group[key] = saved.to(device, copy=True)


def _by_parameter(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors by parameter, then by key."""
    result: dict[str, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        key, _, name = full.partition("/")
        result.setdefault(name, {})[key] = value
    return result


def _on_device(
    parameter: Tensor, saved: Mapping[str, Tensor], step_on_device: bool
) -> dict[str, object]:
    """Return copies of one parameter's tensors, each on the device where the optimizer keeps it."""
    state: dict[str, object] = {}
    for key, value in saved.items():
        if not key.startswith(GROUP):
            on_cpu = key == "step" and not step_on_device
            state[key] = value.to("cpu" if on_cpu else parameter.device, copy=True)
    return state
