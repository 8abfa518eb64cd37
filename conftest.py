"""All tests run in one process per core, each with one thread: `-n 0` for one process."""

import os

import pytest

MOST = 8  # a process holds torch, and on a GPU they share its memory
# More threads than cores slow each other down. Set before torch starts, here and in what it starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes `-n auto` starts."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2, MOST)
