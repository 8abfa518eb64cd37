"""Observers are called one by one, and none of them can end a run."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from asr_lab.plugins import Plugins, hookimpl, load_plugins
from asr_lab.plugins.observers import Isolation, Observers

FOLDER = Path("outputs/run")


class Witness:
    """Takes part of the arguments of some hooks, and remembers."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    def asr_lab_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen.append((step, dict(metrics)))

    @hookimpl
    def asr_lab_run_started(self, folder: Path, record: Mapping[str, object]) -> None:
        self.seen.append(("started", folder, dict(record)))

    @hookimpl
    def asr_lab_run_finished(self, record: Mapping[str, object]) -> None:
        self.seen.append(("finished", dict(record)))

    @hookimpl
    def asr_lab_checkpoint_saved(self, step: int, path: Path) -> None:
        self.seen.append(("saved", step, path))

    @hookimpl
    def asr_lab_evaluation_finished(self, result: Mapping[str, object]) -> None:
        self.seen.append(("evaluated", dict(result)))

    @hookimpl
    def asr_lab_environment(self) -> Mapping[str, str]:
        return {"weather": "fair"}


class Saboteur:
    """Raises in every hook."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.calls = error, 0

    @hookimpl(tryfirst=True)
    def asr_lab_step_finished(self) -> None:
        self.calls += 1
        raise self.error

    @hookimpl
    def asr_lab_environment(self) -> Mapping[str, str]:
        raise self.error


def plugins_with(**found: object) -> Plugins:
    plugins = load_plugins([])
    for name, plugin in found.items():
        plugins.manager.register(plugin, name)
    return plugins


def test_every_hook_reaches_an_observer_that_takes_a_part_of_the_arguments() -> None:
    witness = Witness()
    observers = Observers(plugins_with(witness=witness))
    observers.run_started(FOLDER, {"seed": 1})
    observers.step_finished(FOLDER, 7, {"loss": 0.5})
    observers.checkpoint_saved(FOLDER, 7, FOLDER / "last")
    observers.evaluation_finished(FOLDER, {"wer": 0.1})
    observers.run_finished(FOLDER, {"seed": 1})
    assert witness.seen == [
        ("started", FOLDER, {"seed": 1}),
        (7, {"loss": 0.5}),
        ("saved", 7, FOLDER / "last"),
        ("evaluated", {"wer": 0.1}),
        ("finished", {"seed": 1}),
    ]


@pytest.mark.parametrize("error", [RuntimeError("disk\nfull"), SystemExit(3)])
def test_an_observer_that_raises_is_reported_once_and_the_others_go_on(
    error: BaseException,
) -> None:
    witness, saboteur, reports = Witness(), Saboteur(error), list[str]()
    observers = Observers(plugins_with(bad=saboteur, good=witness), reports.append)
    for step in range(3):
        observers.step_finished(FOLDER, step, {})
    assert witness.seen == [(0, {}), (1, {}), (2, {})]
    assert saboteur.calls == 1
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    expected = f"asr_lab_step_finished of plugin bad failed and is not called again: {reason}"
    assert reports == [expected]


def test_one_failing_hook_does_not_silence_the_others_of_its_plugin() -> None:
    class Half(Witness):
        @hookimpl
        def asr_lab_run_started(self, folder: Path, record: Mapping[str, object]) -> None:
            raise ValueError

    half, reports = Half(), list[str]()
    observers = Observers(plugins_with(half=half), reports.append)
    observers.run_started(FOLDER, {})
    observers.step_finished(FOLDER, 1, {})
    assert half.seen == [(1, {})] and len(reports) == 1


def test_the_user_can_still_interrupt() -> None:
    observers = Observers(plugins_with(bad=Saboteur(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        observers.step_finished(FOLDER, 1, {})


def test_facts_of_all_plugins_are_merged_under_their_names() -> None:
    reports: list[str] = []
    found = {"a": Witness(), "b": Witness(), "c": Saboteur(OSError("no sensor"))}
    facts = Observers(plugins_with(**found), reports.append).environment()
    assert facts == {"a.weather": "fair", "b.weather": "fair"}
    assert len(reports) == 1 and "plugin c" in reports[0]


def test_an_observer_registered_late_is_called() -> None:
    plugins, witness = plugins_with(), Witness()
    observers = Observers(plugins)
    plugins.manager.register(witness, "late")
    observers.step_finished(FOLDER, 1, {})
    assert witness.seen == [(1, {})]


def test_a_failure_is_printed_where_errors_go(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ValueError("no")

    isolation = Isolation()
    assert isolation.call("tracker x", lambda: 5) == 5
    isolation.call("tracker x", fail)
    assert isolation.call("tracker x", lambda: 5) is None
    printed = capsys.readouterr()
    expected = "asr-lab: tracker x failed and is not called again: ValueError: no\n"
    assert (printed.out, printed.err) == ("", expected)
