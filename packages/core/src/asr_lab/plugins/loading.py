"""Find plugins, load each on its own, and remember how that went."""

import os
import re
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version

import pluggy

from asr_lab.plugins import hooks
from asr_lab.plugins.registry import Registry

CORE = "asr_lab.plugins.builtin"
"""Module of the core's own plugin."""
ASKS_FOR_CORE = re.compile(r"asr[-_.]+lab[-_.]+core(?![\w.-])", re.IGNORECASE)
HEAVY = ("torch", "numpy", "transformer_engine", "flash_attn", "mamba_ssm")


@dataclass(frozen=True, kw_only=True)
class PluginStatus:
    """One line of `asr-lab plugins`."""

    name: str
    distribution: str
    version: str
    state: str
    """`loaded`, `disabled` or `failed`."""
    reason: str = ""
    """Why it failed: type and message of the error."""
    seconds: float = 0.0
    """Time taken to import and register it."""
    registered: tuple[str, ...] = ()
    """What it added: `model ssm`, …"""
    heavy_imports: tuple[str, ...] = ()
    """Slow packages that it imported while loading, which a plugin should not."""


@dataclass
class Plugins:
    """The plugin manager, what was registered, and the state of every plugin found."""

    manager: pluggy.PluginManager
    registry: Registry
    status: list[PluginStatus] = field(default_factory=list)

    @property
    def failed(self) -> list[PluginStatus]:
        """Plugins that are installed and could not be used."""
        return [status for status in self.status if status.state == "failed"]

    def distribution_of(self, plugin: str) -> tuple[str, str]:
        """Return name and version of the distribution a plugin came from."""
        for status in self.status:
            if status.name == plugin:
                return status.distribution, status.version
        return "?", "?"


def load_plugins(
    found: Iterable[EntryPoint], disabled: frozenset[str] = frozenset(), *, strict: bool = False
) -> Plugins:
    """Load plugins in order of name; one that fails is recorded and leaves nothing behind.

    With `strict`, the first failure is raised instead, for whoever writes the plugin.
    """
    manager = pluggy.PluginManager(hooks.PROJECT)
    manager.add_hookspecs(hooks)
    plugins = Plugins(manager, Registry())
    # Historic: the call is made first and replayed into each plugin as it is registered, so that
    # one `try` around the registration isolates everything a plugin can do wrong.
    manager.hook.asr_lab_register.call_historic(kwargs={"registry": plugins.registry})
    # The core goes first, so that no other plugin can take its name.
    for entry_point in sorted(found, key=lambda ep: (ep.value != CORE, ep.name, ep.value)):
        plugins.status.append(_load(entry_point, plugins, disabled, strict))
    return plugins


def _load(
    entry_point: EntryPoint, plugins: Plugins, disabled: frozenset[str], strict: bool
) -> PluginStatus:
    name, dist = entry_point.name, entry_point.dist
    # Both are None where a distribution has lost its METADATA.
    distribution, found = (dist.name or "?", dist.version or "?") if dist else ("?", "?")

    def status(state: str, **more: object) -> PluginStatus:
        who = {"name": name, "distribution": distribution, "version": found, "state": state}
        return PluginStatus(**{**who, **more})  # type: ignore[arg-type]

    if name in disabled:
        return status("disabled")
    if plugins.manager.has_plugin(name):
        return status("failed", reason=f"ValueError: another plugin is called {name!r} as well")
    start, before = time.perf_counter(), set(sys.modules)
    try:
        # What a plugin prints while it loads must not end up in the output of a command.
        with plugins.registry.registering(name), redirect_stdout(sys.stderr):
            _check_core_version(dist.requires if dist else None)
            plugins.manager.register(entry_point.load(), name)
            plugins.manager.check_pending()
    except (Exception, SystemExit) as error:
        plugins.manager.unregister(name=name)
        plugins.registry.forget(name)
        if strict:
            raise
        return status("failed", reason=_reason(error))
    return status(
        "loaded",
        seconds=time.perf_counter() - start,
        registered=tuple(plugins.registry.registered_by(name)),
        heavy_imports=tuple(heavy for heavy in HEAVY if heavy in set(sys.modules) - before),
    )


def _reason(error: BaseException) -> str:
    text = traceback.format_exception_only(error)[-1].strip()
    return " ".join(text.split())


def _check_core_version(requires: list[str] | None) -> None:
    """Raise ImportError if the distribution asks for another version of the core."""
    lines = [line for line in requires or () if ASKS_FOR_CORE.match(line)]
    if not lines:
        return
    from packaging.requirements import Requirement

    installed = version("asr-lab-core")
    for requirement in map(Requirement, lines):
        wanted, marker = requirement.specifier, requirement.marker
        applies = marker is None or marker.evaluate({"extra": ""})
        if applies and not wanted.contains(installed, prereleases=True):
            raise ImportError(f"needs asr-lab-core{wanted}, but {installed} is installed")


@cache
def installed_plugins() -> Plugins:
    """Load every installed plugin, once per process.

    `ASR_LAB_DISABLE_PLUGINS=a,b` leaves some out; `ASR_LAB_STRICT_PLUGINS=1` raises the first
    failure with its traceback.
    """
    disabled = frozenset(filter(None, os.environ.get("ASR_LAB_DISABLE_PLUGINS", "").split(",")))
    strict = os.environ.get("ASR_LAB_STRICT_PLUGINS", "") not in ("", "0")
    return load_plugins(entry_points(group=hooks.PROJECT), disabled, strict=strict)
