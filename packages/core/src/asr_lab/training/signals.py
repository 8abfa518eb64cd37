"""Signals that end a run early, but not before it is saved."""

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 (no error: the run was asked to stop, and is saved)
    """The run was asked to stop, and is saved."""

    def __init__(self, folder: Path, step: int) -> None:
        """Keep where to go on."""
        self.folder, self.step = folder, step
        command = shlex.join(["asr-lab", "resume", str(folder)])
        super().__init__(f"step {step:,} is safe. Go on with: {command}")


class StopRequest:
    """Remembers the signal that asked for the end."""

    name: str = ""
    """`SIGINT` or `SIGTERM`; empty if nobody asked."""

    def __bool__(self) -> bool:
        """Return True if somebody asked."""
        return bool(self.name)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; at the second, give up at once."""
        if self.name:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Catch SIGINT and SIGTERM for a stretch of code (in the main thread; elsewhere do nothing)."""
    request = StopRequest()
    try:
        before = {number: signal.signal(number, request.receive) for number in SIGNALS}
    except ValueError:  # not the main thread: whoever runs us handles signals
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
