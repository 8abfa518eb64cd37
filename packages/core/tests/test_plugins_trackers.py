"""Trackers: opened by name before the run, silenced if they fail during it."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest

from asr_lab.plugins import Registry, TrackerSpec
from asr_lab.training.trackers import IsolatedTracker, open_tensorboard, open_trackers
from asr_lab.utils.errors import UserError


class Ledger:
    """Remembers what is logged, until a step that it refuses."""

    def __init__(self, refused: int = -1) -> None:
        self.lines: list[object] = []
        self.refused = refused

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == self.refused:
            raise ConnectionError("server gone")
        self.lines.append((step, dict(metrics)))

    def finish(self) -> None:
        self.lines.append("finished")


def open_ledger(folder: Path, config: Mapping[str, object]) -> Ledger:
    ledger = Ledger()
    ledger.lines.append((folder, config["seed"]))
    OPENED.append(ledger)
    return ledger


def open_broken(folder: Path, config: Mapping[str, object]) -> Ledger:
    raise PermissionError("no token")


def open_refused(folder: Path, config: Mapping[str, object]) -> Ledger:
    raise UserError("say where the server is")


OPENED: list[Ledger] = []


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return a registry with the trackers of this file."""
    import sys
    from types import ModuleType

    module = ModuleType("trackers_of_this_test")
    registry = Registry()
    for function in (open_ledger, open_broken, open_refused):
        setattr(module, function.__name__, function)
        name = function.__name__.removeprefix("open_")
        target = f"{module.__name__}:{function.__name__}"
        registry.add(TrackerSpec(name=name, summary="", tracker=target))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    OPENED.clear()
    return registry


def test_a_tracker_gets_folder_settings_metrics_and_the_end(
    registry: Registry, tmp_path: Path
) -> None:
    (tracker,) = open_trackers(["ledger", "ledger"], registry, tmp_path, {"seed": 3})
    tracker.log(1, {"loss": 0.5})
    tracker.finish()
    (ledger,) = OPENED
    assert ledger.lines == [(tmp_path, 3), (1, {"loss": 0.5}), "finished"]


def test_a_tracker_that_fails_is_reported_once_and_left_alone() -> None:
    ledger, reports = Ledger(refused=2), list[str]()
    tracker = IsolatedTracker("ledger", ledger, reports.append)
    for step in range(1, 5):
        tracker.log(step, {})
    tracker.finish()
    assert ledger.lines == [(1, {})]
    reason = "ConnectionError: server gone"
    assert reports == [f"tracker ledger failed and is not called again: {reason}"]


def test_a_tracker_that_cannot_be_opened_is_a_mistake_before_the_run(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="tracker broken cannot be opened: PermissionError: no tok"):
        open_trackers(["broken"], registry, tmp_path, {})
    with pytest.raises(UserError, match="^say where the server is$"):
        open_trackers(["refused"], registry, tmp_path, {})
    with pytest.raises(LookupError, match=r"no tracker 'ledgr'; did you mean ledger\?"):
        open_trackers(["ledgr"], registry, tmp_path, {})


@pytest.mark.skipif(find_spec("tensorboardX") is not None, reason="tensorboardX is installed")
def test_without_its_writer_tensorboard_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs tensorboardX; pip install 'asr-lab-core\[tens"):
        open_tensorboard(tmp_path, {})


@pytest.mark.skipif(find_spec("tensorboardX") is None, reason="needs tensorboardX")
def test_tensorboard_gets_an_event_file_with_every_scalar(tmp_path: Path) -> None:
    tracker = open_tensorboard(tmp_path, {})
    tracker.log(1, {"loss": 0.5, "train/lr": 1e-3})
    tracker.finish()
    (events,) = (tmp_path / "tensorboard").iterdir()
    content = events.read_bytes()
    assert b"loss" in content and b"train/lr" in content
