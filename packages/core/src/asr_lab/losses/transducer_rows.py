"""Which rows of a lattice the backward pass computes together: all, or those that matter."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from asr_lab.losses.transducer_chunks import Chunk


class Group(NamedTuple):
    """Neighbouring chunks of which the kept rows are computed together."""

    first: int
    """Its first row among those that are kept."""
    rows: int
    chunks: range


class Kept(NamedTuple):
    """The rows that are kept, and where each row is among them."""

    groups: list[Group]
    numbers: Int[Tensor, " kept"]
    """Where these rows stand among all."""
    place: Int[Tensor, " rows"]
    """Place of each row among them; -1 for one that is left out."""


def all_rows(chunks: tuple[Chunk, ...]) -> list[Group]:
    """Return a group for every chunk, with all its rows."""
    return [
        Group(chunk.first, chunk.rows, range(number, number + 1))
        for number, chunk in enumerate(chunks)
    ]


def keep(bounds: Float[Tensor, " rows"], chunks: tuple[Chunk, ...], part: float, most: int) -> Kept:
    """Leave out rows whose bound is below `part` of the mean; groups have up to `most` rows.

    Waits for the device. One chunk alone may have more rows.
    """
    total = bounds.sum(dtype=torch.float64)
    chosen = ~(bounds * float(len(bounds)) < part * total)  # so that NaN is kept
    counted = chosen.cumsum(0, dtype=torch.int32)
    lasts = [chunk.first + chunk.rows - 1 for chunk in chunks]
    ends = counted[torch.tensor(lasts, device=bounds.device)].tolist()
    place = torch.where(chosen, counted - 1, -1)
    return Kept(group(ends, most), chosen.nonzero()[:, 0], place)


def group(ends: list[int], most: int) -> list[Group]:
    """Group neighbouring chunks, given how many rows are kept up to the end of each."""
    found: list[Group] = []
    first = begin = 0
    for number, end in enumerate(ends):
        following = ends[number + 1] if number + 1 < len(ends) else end + most + 1
        if following - first > most:
            found.append(Group(first, end - first, range(begin, number + 1)))
            first, begin = end, number + 1
    return [one for one in found if one.rows]
