"""Work for processes, which they import without torch."""

import os
import signal


def name(rank: int) -> str:
    """Say who this is; the fourth is not there to be had."""
    if rank == 3:
        raise ValueError("there is no fourth")
    return f"process {rank}"


def die(rank: int) -> int:
    """Be killed, unless it is the first."""
    if rank:
        os.kill(os.getpid(), signal.SIGKILL)
    return rank
