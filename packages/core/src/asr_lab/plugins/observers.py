"""Calling plugins while something runs, so that none of them can end it."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import pluggy

from asr_lab.plugins.loading import Plugins
from asr_lab.utils.errors import tell

PROTECTED = (Exception, SystemExit)
"""What a plugin may raise without harm; an interrupt by the user goes through."""


class Isolation:
    """Calls functions of plugins; one that raises is reported once and not called again."""

    def __init__(self, report: Callable[[str], None] = tell) -> None:
        """Report failures to `report`, one line each."""
        self._report = report
        self._failed: set[str] = set()

    def call(self, name: str, function: Callable[[], object]) -> object:
        """Return what `function` returns; None if it raises, or did under the same `name`."""
        if name in self._failed:
            return None
        try:
            return function()
        except PROTECTED as error:
            self._failed.add(name)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._report(f"{name} failed and is not called again: {reason}")
            return None


class Observers:
    """The observing hooks, typed, each implementation called on its own, plugins by name."""

    def __init__(self, plugins: Plugins, report: Callable[[str], None] = tell) -> None:
        """Find the implementations that are registered now."""
        self._isolation = Isolation(report)
        self._manager = plugins.manager

    def run_started(self, folder: Path, record: Mapping[str, object]) -> None:
        """Call `asr_lab_run_started`."""
        self._call("asr_lab_run_started", folder=folder, record=record)

    def step_finished(self, folder: Path, step: int, metrics: Mapping[str, float]) -> None:
        """Call `asr_lab_step_finished`."""
        self._call("asr_lab_step_finished", folder=folder, step=step, metrics=metrics)

    def checkpoint_saved(self, folder: Path, step: int, path: Path) -> None:
        """Call `asr_lab_checkpoint_saved`."""
        self._call("asr_lab_checkpoint_saved", folder=folder, step=step, path=path)

    def evaluation_finished(self, folder: Path, result: Mapping[str, object]) -> None:
        """Call `asr_lab_evaluation_finished`."""
        self._call("asr_lab_evaluation_finished", folder=folder, result=result)

    def run_finished(self, folder: Path, record: Mapping[str, object]) -> None:
        """Call `asr_lab_run_finished`."""
        self._call("asr_lab_run_finished", folder=folder, record=record)

    def environment(self) -> dict[str, str]:
        """Return the facts of all plugins, each under `plugin.fact`."""
        facts: dict[str, str] = {}
        for plugin, answers in self._call("asr_lab_environment"):
            for answer in answers:
                if isinstance(answer, Mapping):
                    facts.update({f"{plugin}.{name}": str(fact) for name, fact in answer.items()})
        return facts

    def _call(self, hook: str, **arguments: object) -> list[tuple[str, list[object]]]:
        """Call one hook of every plugin that has it; return answers by plugin."""
        answered = []
        for plugin, caller in self._callers(hook):
            name = f"{hook} of plugin {plugin}"
            answer = self._isolation.call(name, partial(caller, **arguments))
            answered.append((plugin, answer if isinstance(answer, list) else []))
        return answered

    def _callers(self, hook: str) -> Iterable[tuple[str, pluggy.HookCaller]]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        found = {impl.plugin_name: impl.plugin for impl in caller.get_hookimpls()}
        for name in sorted(found):
            others = [plugin for other, plugin in found.items() if other != name]
            yield name, self._manager.subset_hook_caller(hook, others)
