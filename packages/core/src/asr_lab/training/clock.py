"""How long this process has been running: what a person waits for, imports included."""

import os
import time
from pathlib import Path


def process_seconds() -> float:
    """Return the seconds since this process was started; 0 where the system does not tell."""
    try:
        # The name of the program stands in brackets and may hold spaces: proc(5), field 22.
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, 0.0)
    except (OSError, ValueError, IndexError, AttributeError):  # no Linux
        return 0.0
