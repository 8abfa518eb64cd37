"""Package attributes that are imported on first use."""

from collections.abc import Callable
from importlib import import_module


def lazy_attributes(package: str, **submodule_of: str) -> Callable[[str], object]:
    """Return a module `__getattr__` that finds each name in the given submodule (PEP 562).

    `__getattr__ = lazy_attributes(__name__, SSMConfig="config")` makes `package.SSMConfig` import
    `package.config` when it is first asked for, and not before.
    """

    def find(name: str) -> object:
        if name not in submodule_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{submodule_of[name]}"), name)

    return find
