"""A switch that makes torch use deterministic kernels only, and refuse what has none."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import TracebackType

import torch

from asr_lab.reproducibility.operations import refused
from asr_lab.utils.errors import UserError

REFUSAL = re.compile(r"(.+?) does not have a deterministic implementation")
WARN, ERROR = 1, 2
"""Modes of torch for operations that have no deterministic kernel."""
COMPILER = "torch._inductor.config"
"""Where torch's compiler has its own switch; importing that takes seconds."""
COMPILER_VARIABLE = "TORCHINDUCTOR_DETERMINISTIC"
"""What sets that switch when it is imported."""


class NondeterministicError(UserError, RuntimeError):
    """An operation has no deterministic kernel; the message names it and what to use instead."""


@contextmanager
def deterministic(enabled: bool = True) -> Iterator[None]:
    """Use deterministic kernels inside the block, and restore what was set before at its end.

    An operation that has no deterministic kernel raises RuntimeError, which leaves the block as
    NondeterministicError. On CUDA, torch asks for `CUBLAS_WORKSPACE_CONFIG=:4096:8` in the
    environment, set before the process starts. With `enabled` false nothing is changed.
    """
    if not enabled:
        yield
        return
    cudnn = torch.backends.cudnn
    before = torch.get_deterministic_debug_mode()
    switches = cudnn.deterministic, cudnn.benchmark
    # Filling is for finding uses of uninitialised memory; it costs a kernel per allocation.
    filled = _fill_memory(False)
    try:
        _set_mode(ERROR)
        cudnn.deterministic, cudnn.benchmark = True, False
        with _compiler_to_come():
            yield
    except RuntimeError as error:
        if (found := REFUSAL.match(str(error))) and not isinstance(error, UserError):
            raise NondeterministicError(_advice(found[1], error.__traceback__)) from error
        raise
    finally:
        _set_mode(before)
        cudnn.deterministic, cudnn.benchmark = switches
        _fill_memory(filled)


def _set_mode(mode: int) -> None:
    """Set torch's mode, and that of its compiler, if something has imported that."""
    if COMPILER in sys.modules:
        torch.use_deterministic_algorithms(mode > 0, warn_only=mode == WARN)
    else:
        torch.set_deterministic_debug_mode(mode)


class _CompilerToCome(MetaPathFinder):
    """Sets the variable as soon as something asks for torch's compiler."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        """Find nothing, but know who is looked for."""
        if name == COMPILER:
            os.environ[COMPILER_VARIABLE] = "1"


@contextmanager
def _compiler_to_come() -> Iterator[None]:
    """Let torch's compiler be deterministic if it is first imported inside the block."""
    before, finder = os.environ.get(COMPILER_VARIABLE), _CompilerToCome()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        if before is None:
            os.environ.pop(COMPILER_VARIABLE, None)
        else:
            os.environ[COMPILER_VARIABLE] = before


def _advice(kernel: str, trace: TracebackType | None) -> str:
    """Name an operation, where it was called, and what to use instead."""
    known = refused(kernel)
    name = known.name if known else kernel
    instead = f"use {known.instead}" if known else "replace it"
    return f"{name} has no deterministic kernel{_place(trace)}; {instead}, or say --repro off"


def _place(trace: TracebackType | None) -> str:
    """Return ` (model.py, line 7)`, the innermost code outside torch; empty for a backward pass."""
    own = Path(torch.__file__).parent
    found = None
    while trace is not None:
        code = trace.tb_frame.f_code
        if not Path(code.co_filename).is_relative_to(own):
            found = code, trace.tb_lineno
        trace = trace.tb_next
    if found is None or found[0].co_name == "backward":
        return ""
    return f" ({Path(found[0].co_filename).name}, line {found[1]})"


def kernel_facts() -> dict[str, str]:
    """Return what decides which kernels torch takes, as short texts by name."""
    cuda = torch.backends.cuda
    attention = {
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
        "plain": cuda.math_sdp_enabled(),
    }
    return {
        "deterministic": str(torch.are_deterministic_algorithms_enabled()).lower(),
        "matmul": torch.get_float32_matmul_precision(),
        "attention": " ".join(name for name, enabled in attention.items() if enabled),
        "cudnn.benchmark": str(torch.backends.cudnn.benchmark).lower(),
    }


def _fill_memory(enabled: bool) -> bool:
    """Set whether new memory is filled in deterministic mode, and return what was set before."""
    settings = torch.utils.deterministic
    before: bool = settings.fill_uninitialized_memory  # type: ignore[attr-defined]
    settings.fill_uninitialized_memory = enabled  # type: ignore[attr-defined]
    return before
