"""Run a function in a forked copy of this process, which may be killed; torch is there already."""

import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass

LARGEST = 60_000
"""Bytes of an answer: what a pipe holds without a reader."""


@dataclass(frozen=True)
class Ended:
    """How a forked process ended."""

    status: int
    """Exit status, or minus the number of the signal that killed it."""
    value: object = None
    """What the function returned, as JSON has it; None if it did not return."""


def start(work: Callable[[], object]) -> tuple[int, int]:
    """Fork, and run `work` in the child; return its process id and where its answer comes from.

    The child computes on one thread: those of a pool do not survive a fork.
    """
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # From Python 3.12 on; the child goes on with the thread that forked.
        warnings.filterwarnings("ignore", ".*is multi-threaded, use of fork", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reader)
        _run(work, writer)
    os.close(writer)
    return child, reader


def finish(child: int, reader: int) -> Ended:
    """Wait for a child that `start` made."""
    _, status = os.waitpid(child, 0)
    # Not until its end: processes that it started may hold the pipe open.
    os.set_blocking(reader, False)
    try:
        answer = os.read(reader, LARGEST)
    except BlockingIOError:
        answer = b""
    os.close(reader)
    code = os.waitstatus_to_exitcode(status)
    return Ended(code, json.loads(answer) if answer else None)


def forked(work: Callable[[], object]) -> Ended:
    """Run `work` in a copy of this process, and wait for it; what it returns must be plain.

    A traceback goes to standard error, and the status is then 1.
    """
    return finish(*start(work))


def _run(work: Callable[[], object], writer: int) -> None:
    status = 1
    try:
        if torch := sys.modules.get("torch"):
            torch.set_num_threads(1)
        answer = json.dumps(work()).encode()
        assert len(answer) < LARGEST, "an answer must fit into a pipe"
        os.write(writer, answer)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit: what is open in the parent is not ours to close.
        os._exit(status)


def kill_at(point: int, event: str) -> None:
    """Kill this process, SIGKILL, when an audit event is raised for the `point`th time from now."""
    left = point

    def count(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if name == event:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
