"""Runs commands in groups of processes, one group after the other, with torch imported once.

`python -m probe_asr.groups FILE` takes a JSON list of objects: `size` of the group, `command`, and
`variables` of its environment. It prints a JSON list with the exit statuses of each group.
"""

import json
import os
import socket
import sys
from pathlib import Path

import torch._dynamo  # noqa: F401 (an optimizer imports it, and no fork shall do that again)

from asr_lab.cli import main
from asr_lab.testing.forks import finish, start


def free_port() -> str:
    """Return a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def together(size: int, command: list[str], variables: dict[str, str]) -> list[object]:
    """Run a command in `size` processes that know of each other; return their exit statuses."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "WORLD_SIZE": str(size)}

    def one(rank: int) -> int:
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        os.environ.update({**variables, **shared, **own})
        return main(command)

    children = [start(lambda rank=rank: one(rank)) for rank in range(size)]  # type: ignore[misc]
    return [finish(*child).value for child in children]


if __name__ == "__main__":
    groups = json.loads(Path(sys.argv[1]).read_text())
    print(json.dumps([together(**group) for group in groups]))
