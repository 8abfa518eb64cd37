"""Names of everything that plugins add, and which plugin added it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from asr_lab.plugins.specs import (
    CommandSpec,
    DatasetSpec,
    FormatSpec,
    ModelSpec,
    PrecisionSpec,
    Spec,
    TokenizerSpec,
    TrackerSpec,
)
from asr_lab.utils.errors import AmbiguousNameError, unknown

S = TypeVar("S", bound=Spec)

KINDS: dict[type[Spec], tuple[str, str]] = {
    ModelSpec: ("model", "asr-lab models"),
    DatasetSpec: ("data set", "asr-lab datasets"),
    TokenizerSpec: ("tokenizer", ""),
    PrecisionSpec: ("precision", ""),
    TrackerSpec: ("tracker", ""),
    FormatSpec: ("format", ""),
    CommandSpec: ("command", "asr-lab --help"),
}


class Registry:
    """Everything the loaded plugins have registered.

    The same short name from two plugins is kept twice; using it then asks for `plugin/name`.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._specs: dict[tuple[type[Spec], str, str], Spec] = {}
        self._plugin = "user"

    @contextmanager
    def registering(self, plugin: str) -> Iterator[None]:
        """Book what is added inside the block under the name of `plugin`."""
        before, self._plugin = self._plugin, plugin
        try:
            yield
        finally:
            self._plugin = before

    def add(self, spec: Spec) -> None:
        """Register `spec` under its kind, its name and the plugin being loaded.

        Raises TypeError for what is not a specification, ValueError for a name the same plugin
        registered before or one that holds a slash.
        """
        if type(spec) not in KINDS:
            kinds = ", ".join(kind.__name__ for kind in KINDS)
            raise TypeError(f"cannot register a {type(spec).__name__}; register one of {kinds}")
        kind, _ = KINDS[type(spec)]
        if not spec.name or "/" in spec.name:
            raise ValueError(f"{kind} {spec.name!r}: a name is not empty and holds no slash")
        key = (type(spec), spec.name, self._plugin)
        if key in self._specs:
            raise ValueError(f"plugin {self._plugin!r} registers {kind} {spec.name!r} twice")
        self._specs[key] = spec

    def forget(self, plugin: str) -> None:
        """Remove what a plugin registered before it failed."""
        self._specs = {key: spec for key, spec in self._specs.items() if key[2] != plugin}

    def all(self, kind: type[S]) -> list[tuple[str, S]]:
        """Return all (plugin, specification) pairs of one kind, sorted by name, then plugin."""
        found = ((key, spec) for key, spec in self._specs.items() if key[0] is kind)
        ordered = sorted(found, key=lambda item: item[0][1:])
        return [(key[2], spec) for key, spec in ordered if isinstance(spec, kind)]

    def find(self, kind: type[S], name: str) -> tuple[str, S]:
        """Return the plugin and specification of `name` or `plugin/name`.

        Raises UnknownNameError with a suggestion, AmbiguousNameError with the qualified names.
        """
        plugin, _, short = name.rpartition("/")
        everything = self.all(kind)
        owners = [(owner, spec) for owner, spec in everything if spec.name == short]
        chosen = [pair for pair in owners if not plugin or pair[0] == plugin]
        if len(chosen) == 1:
            return chosen[0]
        label, listing = KINDS[kind]
        if chosen:
            choices = " or ".join(f"{owner}/{short}" for owner, _ in owners)
            raise AmbiguousNameError(f"{label} {name!r} is ambiguous; say {choices}")
        names = {f"{owner}/{spec.name}" if plugin else spec.name for owner, spec in everything}
        raise unknown(label, name, names, listing)

    def registered_by(self, plugin: str) -> list[str]:
        """Return `kind name` for everything a plugin registered."""
        return [f"{KINDS[kind][0]} {name}" for kind, name, owner in self._specs if owner == plugin]
