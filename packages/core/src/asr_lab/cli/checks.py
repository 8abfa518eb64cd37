"""Check that what the values of flags name is there: data sets, trackers, precisions, devices."""

from collections.abc import Callable

from asr_lab.cli.flags import Parsed, shown_name
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import PrecisionSpec, TokenizerSpec, TrackerSpec
from asr_lab.utils.errors import UserError

CPU_ALWAYS = ("fp32", "core/fp32")
"""Precisions that need no look at the machine."""
SPLITS = {"data": "train", "dev-data": "dev", "eval-data": "test", "dataset": "test"}
"""Flags that name data sets, and the split that is meant where none is said."""


def check_names(parsed: Parsed, registry: Registry) -> None:
    """Add a problem for every name among the values that cannot be used."""
    _check(parsed, "trackers", lambda name: registry.find(TrackerSpec, name))
    _check(parsed, "data.tokenizer", lambda name: registry.find(TokenizerSpec, name))
    for flag in SPLITS:
        _check(parsed, flag, lambda name, flag=flag: _resolve(name, registry, flag))  # type: ignore[misc]
    device = parsed.values.get("device") or ""
    _check(parsed, "device", _device)
    _check(parsed, "precision", lambda name: _precision(name, str(device), registry))


def _check(parsed: Parsed, flag: str, find: Callable[[str], object]) -> None:
    value = parsed.values.get(flag, ())
    for name in value if isinstance(value, tuple) else (value,):
        try:
            if name:
                find(str(name))
        except UserError as error:
            where = shown_name(flag, parsed.sources.get(flag, ""))
            parsed.problems.append(f"{where} {name}: {error}")


def _resolve(name: str, registry: Registry, flag: str) -> object:
    from asr_lab.data.names import resolve

    return resolve(name, registry, SPLITS[flag])


def _device(name: str) -> None:
    if name == "cpu":
        return
    from asr_lab.precision.devices import choose_device

    choose_device(name)


def _precision(name: str, device: str, registry: Registry) -> None:
    registry.find(PrecisionSpec, name)
    if name in CPU_ALWAYS:
        return
    from asr_lab.precision import support

    try:
        answer = support(name, device)
    except UserError:  # the device is wrong, and its own check says so
        return
    if not answer.ok:
        raise UserError(answer.reason.removeprefix(f"{name} ").removeprefix(f"{name}: "))
