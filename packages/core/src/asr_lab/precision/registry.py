"""Finding a precision by name: the core's and those of plugins."""

import torch

from asr_lab.plugins import PrecisionSpec, installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.precision.devices import choose_device
from asr_lab.precision.manager import PrecisionManager
from asr_lab.precision.modes import PrecisionMode, Support
from asr_lab.utils.errors import UserError


def manager_class(mode: PrecisionMode | str) -> type[PrecisionManager]:
    """Return the manager class registered under the name of a mode.

    Raises UnknownNameError (a LookupError) with a suggestion.
    """
    _, spec = installed_plugins().registry.find(PrecisionSpec, str(mode))
    found = load_target(spec.manager)
    if not (isinstance(found, type) and issubclass(found, PrecisionManager)):
        raise TypeError(f"{spec.manager} is no PrecisionManager")
    return found


def support(mode: PrecisionMode | str, device: torch.device | str | None = None) -> Support:
    """Say whether a precision runs on `device` (the GPU if there is a usable one, else the CPU)."""
    return manager_class(mode).support(choose_device(device))


def get_precision_manager(
    mode: PrecisionMode | str, device: torch.device | str | None = None, **options: object
) -> PrecisionManager:
    """Return the manager of a precision; `options` are its own.

    Raises UserError, naming a mode that works, where the device cannot run it: nothing falls back
    silently.
    """
    target, found = choose_device(device), manager_class(mode)
    if not (answer := found.support(target)):
        name = str(mode)
        reason = answer.reason if answer.reason.startswith(name) else f"{name}: {answer.reason}"
        raise UserError(reason)
    return found(target, **options)
