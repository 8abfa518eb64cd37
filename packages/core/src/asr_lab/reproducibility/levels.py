"""Levels of reproducibility, and the environment variables that each needs; torch-free."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Level = Literal["off", "replay", "exact", "elastic"]
"""`off`: seeds and nothing else. `replay`: the same run again has the same bits. `exact`: so has a
run that was stopped anywhere and went on. `elastic`: so has one on another number of processes."""
LEVELS: tuple[Level, ...] = get_args(Level)
Place = Literal["anywhere", "cuda", "nccl"]
"""Where a variable matters: in every process, on GPUs, or where several GPUs train together."""


@dataclass(frozen=True, kw_only=True)
class Variable:
    """An environment variable that must be set before Python or CUDA starts."""

    name: str
    value: str
    """What to set it to."""
    others: tuple[str, ...] = ()
    """Values that serve as well."""
    place: Place
    why: str
    """What is not the same twice without it."""

    @property
    def is_set(self) -> bool:
        """True if the process was started with it."""
        if self.name == "PYTHONHASHSEED" and sys.flags.hash_randomization:
            return False  # set after the start, it says nothing about this process
        return os.environ.get(self.name) in (self.value, *self.others)


VARIABLES = (
    Variable(
        name="PYTHONHASHSEED",
        value="0",
        place="anywhere",
        why="the order of sets, which compilers and plugins may walk",
    ),
    Variable(
        name="CUBLAS_WORKSPACE_CONFIG",
        value=":4096:8",
        others=(":16:8",),
        place="cuda",
        why="sums of matrix products that share a workspace",
    ),
    Variable(
        name="NCCL_ALGO",
        value="Ring",
        place="nccl",
        why="the order in which gradients of several GPUs are added",
    ),
)


def resolve_level(asked: str, device_type: str) -> Level:
    """Return the level that `asked` means on a device; `auto` is `exact` where that is free.

    That is on the CPU, where kernels are deterministic as they are; on GPUs it is `off`.
    """
    if asked == "auto":
        return "exact" if device_type == "cpu" else "off"
    (level,) = (one for one in LEVELS if one == asked)
    return level


def missing_variables(*places: Place) -> list[Variable]:
    """Return the variables that matter in some places, and that this process lacks."""
    return [one for one in VARIABLES if one.place in places and not one.is_set]


def assignments(variables: list[Variable]) -> Mapping[str, str]:
    """Return names and values to set."""
    return {one.name: one.value for one in variables}


def export_line(variables: list[Variable]) -> str:
    """Return the line that sets them in a shell."""
    return f"export {' '.join(f'{one.name}={one.value}' for one in variables)}"
