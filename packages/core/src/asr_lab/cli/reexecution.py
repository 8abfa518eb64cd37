"""Start a command again, once, with the environment variables that must be there from the start."""

import os
import sys
from collections.abc import Sequence

from asr_lab.reproducibility.levels import assignments, missing_variables

GUARD = "ASR_LAB_REEXECUTED"
"""Set in a process that was started again, so that it is not started a third time."""
LAUNCHED = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK", "WORLD_SIZE")
"""Variables of processes that somebody else starts, watches and counts."""
HOSTS = ("pytest", "ipykernel", "IPython")
"""Modules of programs that run commands inside themselves."""


def with_variables(level: str, words: Sequence[str]) -> None:
    """Start `asr-lab WORDS` again if `level` needs variables that are missing.

    Returns where nothing is missing, and where the process is not the command's own (torchrun,
    pytest, a notebook, a script): there the trainer refuses, with the line to export.
    """
    if level in ("auto", "off"):
        return
    missing = missing_variables("anywhere", "cuda")
    if missing and may_restart(words):
        sys.stdout.flush()
        sys.stderr.flush()
        variables = {**os.environ, **assignments(missing), GUARD: "1"}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)


def may_restart(words: Sequence[str]) -> bool:
    """Say whether this process was started for `asr-lab WORDS` alone, and for the first time."""
    if GUARD in os.environ or sys.platform == "win32" or not sys.executable:
        return False
    if any(name in os.environ for name in LAUNCHED) or any(name in sys.modules for name in HOSTS):
        return False
    return sys.orig_argv[-len(words) :] == list(words)
