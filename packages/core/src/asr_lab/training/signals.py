"""Signals that end a run early, but not before it is saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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
