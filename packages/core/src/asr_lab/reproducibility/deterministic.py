"""A switch that makes torch use deterministic kernels only, and refuse what has none."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def deterministic(enabled: bool = True) -> Iterator[None]:
    """Use deterministic kernels inside the block, and restore what was set before at its end.

    An operation that has no deterministic kernel raises RuntimeError. On CUDA, torch asks for
    `CUBLAS_WORKSPACE_CONFIG=:4096:8` in the environment, set before the process starts. With
    `enabled` false nothing is changed.
    """
    if not enabled:
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    switches = cudnn.deterministic, cudnn.benchmark
    # Filling is for finding uses of uninitialised memory; it costs a kernel per allocation.
    filled = _fill_memory(False)
    try:
        torch.use_deterministic_algorithms(True)
        cudnn.deterministic, cudnn.benchmark = True, False
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
        cudnn.deterministic, cudnn.benchmark = switches
        _fill_memory(filled)


def _fill_memory(enabled: bool) -> bool:
    """Set whether new memory is filled in deterministic mode, and return what was set before."""
    settings = torch.utils.deterministic
    before: bool = settings.fill_uninitialized_memory  # type: ignore[attr-defined]
    settings.fill_uninitialized_memory = enabled  # type: ignore[attr-defined]
    return before
