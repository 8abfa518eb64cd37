"""The folder of a run: what is written there, when, and what is read back to go on."""

from dataclasses import dataclass
from pathlib import Path

from asr_lab.plugins import Plugins
from asr_lab.plugins.observers import Observers
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.distributed import Group
from asr_lab.training.setup import Setup
from asr_lab.training.trackers import Tracker

OUTPUTS = Path("outputs")
RECORD, METRICS, BEST = "run.json", "metrics.jsonl", "best.pt"


@dataclass
class RunFolder:
    """The files of a run; only the first process writes."""

    path: Path
    setup: Setup
    group: Group
    plugins: Plugins
    record: RunRecord
    observers: Observers
    trackers: tuple[Tracker, ...] = ()

    @classmethod
    def open(
        cls, setup: Setup, group: Group, plugins: Plugins, resume: Path | None
    ) -> "RunFolder":
        """Make the folder of a new run, or find that of the run to resume, and record the start.

        Raises UserError if the folder is taken, or if the data of a resumed run have changed.
        """
        path = str(resume or "")
        if not resume and group.first:
            path = str(_claim(setup))
        path = str(group.gather(path)[0])
        ...
