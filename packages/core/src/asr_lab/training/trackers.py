"""Where metrics go besides `metrics.jsonl`: trackers by name, and the one for TensorBoard."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from asr_lab.plugins.observers import Isolation
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import Tracker, TrackerSpec, load_target
from asr_lab.utils.errors import UserError, tell

OpenTracker = Callable[[Path, Mapping[str, object]], Tracker]


class IsolatedTracker:
    """A tracker that cannot end a run: one that raises is reported once and left alone."""

    def __init__(self, name: str, tracker: Tracker, report: Callable[[str], None] = tell) -> None:
        """Wrap the tracker called `name`."""
        self._name, self._tracker = f"tracker {name}", tracker
        self._isolation = Isolation(report)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hand over the metrics of an optimizer step."""
        self._isolation.call(self._name, partial(self._tracker.log, step, metrics))

    def finish(self) -> None:
        """Write what is left and close."""
        self._isolation.call(self._name, self._tracker.finish)


def open_trackers(
    names: Sequence[str],
    registry: Registry,
    folder: Path,
    config: Mapping[str, object],
    report: Callable[[str], None] = tell,
) -> tuple[Tracker, ...]:
    """Open trackers for the run in `folder`; `config` holds its settings as plain values.

    Raises UserError for a tracker that is unknown or cannot be opened: that is known before any
    work starts. Later failures only silence the tracker.
    """
    opened: list[Tracker] = []
    for name in dict.fromkeys(names):
        _, spec = registry.find(TrackerSpec, name)
        try:
            tracker = cast(OpenTracker, load_target(spec.tracker))(folder, config)
        except UserError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"tracker {name} cannot be opened: {reason}") from error
        opened.append(IsolatedTracker(name, tracker, report))
    return tuple(opened)


class TensorBoard:
    """Scalars in TensorBoard's event files."""

    def __init__(self, folder: Path) -> None:
        """Write below `folder`. Raises UserError if the writer is not installed."""
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            install = "pip install 'asr-lab-core[tensorboard]'"
            raise UserError(f"tracker tensorboard needs tensorboardX; {install}") from None
        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an optimizer step."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def finish(self) -> None:
        """Flush and close the file."""
        self._writer.close()


def open_tensorboard(folder: Path, config: Mapping[str, object]) -> TensorBoard:
    """Open the tracker `tensorboard`; its event file lies in `tensorboard/` of the run."""
    return TensorBoard(folder / "tensorboard")
