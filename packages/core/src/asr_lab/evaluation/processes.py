"""Work that several processes share: a failure of one is told once, and no other waits for it."""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Generic, Protocol, TypeVar, cast, runtime_checkable

from asr_lab.utils.errors import UserError

T = TypeVar("T")


@runtime_checkable
class Team(Protocol):
    """Processes that somebody else started, torchrun for one, seen from one of them."""

    @property
    def rank(self) -> int:
        """Number of this process, from 0 on."""

    @property
    def size(self) -> int:
        """Number of processes."""

    def gather(self, thing: object) -> list[object]:
        """Return what every process has, in order of rank."""


@dataclass(frozen=True)
class Alone:
    """A process that shares nothing."""

    rank: int = 0
    size: int = 1

    def gather(self, thing: object) -> list[object]:
        """Return the thing alone."""
        return [thing]


class ToldElsewhereError(UserError):
    """Another process failed, and tells so itself."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What came out of the work of a process: a value, or why there is none."""

    value: T | None = None
    problem: str = ""


def attempt(work: Callable[[], T]) -> Outcome[T]:
    """Work, and return what came of it; print a traceback unless a user is to blame."""
    try:
        return Outcome(work())
    except UserError as error:
        return Outcome(problem=str(error))
    except Exception as error:
        traceback.print_exc()
        return Outcome(problem=" ".join(f"{type(error).__name__}: {error}".split()))


def agree(team: Team, work: Callable[[], T]) -> T:
    """Work in every process of a team; return what came of it in this one.

    If it fails in one, all raise: the first process UserError, with what is to be told, and the
    others ToldElsewhereError. Alone, whatever the work raises is raised.
    """
    if team.size == 1:
        return work()
    mine = attempt(work)
    _exchange(team, Outcome(problem=mine.problem))
    return cast(T, mine.value)


def share(team: Team, work: Callable[[], T]) -> list[T]:
    """Work in every process of a team; return what came of it in all of them.

    Values are pickled. Raises as `agree` does.
    """
    if team.size == 1:
        return [work()]
    return _exchange(team, attempt(work))


def _exchange(team: Team, mine: Outcome[T]) -> list[T]:
    try:
        found = cast(list[Outcome[T]], team.gather(mine))
    except RuntimeError as error:  # the connection broke
        reason = mine.problem or f"another process ended without a word ({type(error).__name__})"
        raise UserError(f"{reason}; nothing was written") from error
    return _values(found, told=team.rank == 0)


def _values(outcomes: Sequence[Outcome[T]], told: bool) -> list[T]:
    """Return all values; raise for the first problem."""
    for one in outcomes:
        if one.problem:
            raise UserError(one.problem) if told else ToldElsewhereError(one.problem)
    return [cast(T, one.value) for one in outcomes]


def in_processes(work: Callable[[int], T], count: int) -> list[T]:
    """Start `count` processes that call `work` with 0, 1, …; return what they return, in order.

    Work and values are pickled. At the first failure the others are stopped; raises UserError,
    also for a process that was killed.
    """
    context = get_context("spawn")  # a fork could not use a GPU
    processes: list[BaseProcess] = []
    receivers: list[Connection] = []
    try:
        for rank in range(count):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(work, rank, sender))
            process.start()
            sender.close()
            processes.append(process)
            receivers.append(receiver)
        found: list[T] = _collect(processes, receivers)
        for child in processes:
            child.join()
        return found
    finally:
        for child in processes:
            child.terminate()
        for child in processes:
            child.join()


def _collect(processes: Sequence[BaseProcess], receivers: Sequence[Connection]) -> list[T]:
    """Wait for all values, in whatever order they come."""
    found: dict[int, Outcome[T]] = {}
    while len(found) < len(processes):
        waiting = [receivers[rank] for rank in range(len(processes)) if rank not in found]
        for ready in connection.wait(waiting):
            rank = receivers.index(cast(Connection, ready))
            try:
                found[rank] = receivers[rank].recv()
            except EOFError:
                found[rank] = Outcome(problem=_last_words(processes[rank], rank, len(processes)))
            _values([found[rank]], told=True)
    return _values([found[rank] for rank in range(len(processes))], told=True)


def _last_words(process: BaseProcess, rank: int, count: int) -> str:
    """Return what is said of a process that ended without an outcome."""
    process.join()
    code = process.exitcode or 0
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
    hint = "; if memory ran out, use fewer --devices or a lower --batch-seconds"
    return f"process {rank + 1} of {count} {how}{hint if code == -9 else ''}; nothing was written"


def _child(work: Callable[[int], T], rank: int, sender: Connection) -> None:
    """Work in a new process, send what comes of it, and end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    threading.Thread(target=_follow_parent, daemon=True).start()
    sender.send(attempt(lambda: work(rank)))
    sender.close()


def _follow_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
