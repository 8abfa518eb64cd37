"""Do the same with many things in several processes, in order, though one of them may crash."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 16
"""Things that a process takes at a time."""
AHEAD = 3
"""Chunks for each process that are given out before their results are taken."""


def in_order(
    work: Callable[[T], R], items: Iterable[T], workers: int, crashed: Callable[[T], R]
) -> Iterator[R]:
    """Yield `work(item)` for each item, in order; `workers` processes share it, 0 for this one.

    Where a process dies, the items that it may have had are done again, each in a process of its
    own, and `crashed(item)` stands for the one that kills that too. Only a few chunks are held at
    a time. `work` must be a function that can be sent to another process.
    """
    if not workers:
        yield from map(work, items)
        return
    chunks = _chunks(items)
    pool, waiting = _pool(workers), deque[tuple[list[T], Future[list[R]]]]()
    try:
        while True:
            for chunk in islice(chunks, workers * AHEAD - len(waiting)):
                waiting.append((chunk, _submit(pool, work, chunk)))
            if not waiting:
                return
            chunk, future = waiting.popleft()
            try:
                yield from future.result()
            except BrokenProcessPool:
                pool.shutdown()
                yield from (_alone(work, item, crashed) for item in chunk)
                pool = _pool(workers)
                waiting = deque((later, _submit(pool, work, later)) for later, _ in waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Callable[[T], R], chunk: list[T]) -> "Future[list[R]]":
    """Give out a chunk; a pool that has died meanwhile says so in the result."""
    try:
        return pool.submit(_each, work, chunk)
    except BrokenProcessPool as error:
        failed: Future[list[R]] = Future()
        failed.set_exception(error)
        return failed


def _alone(work: Callable[[T], R], item: T, crashed: Callable[[T], R]) -> R:
    """Do one thing in a process of its own."""
    with _pool(1) as pool:
        try:
            return pool.submit(work, item).result()
        except BrokenProcessPool:
            return crashed(item)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, get_context("spawn"), _leave_interrupts)


def _leave_interrupts() -> None:
    """Leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _each(work: Callable[[T], R], chunk: Sequence[T]) -> list[R]:
    return list(map(work, chunk))


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while chunk := list(islice(left, CHUNK)):
        yield chunk
