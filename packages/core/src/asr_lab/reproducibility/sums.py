"""Sums of many tensors at once, and what is remembered of them from one time to the next."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from asr_lab.reproducibility.words import Label, Piece, as_piece, label, plain_sums, words

Facts = tuple[list[object], list[object], list[object]]
"""What decides how a tensor is summed up, but for where in memory it is and what it holds."""


@runtime_checkable
class Fused(Protocol):
    """What sums up all tensors on a device at once."""

    def sums(self, pieces: Sequence[Tensor | Piece]) -> Int64[Tensor, "pieces 2"]:
        """Return the sums of tensors as they are now, in the layout that this was made for."""
        ...


class Layout:
    """Some tensors but for their contents and addresses, and what follows from that."""

    def __init__(self, facts: Facts, tensors: Mapping[str, Tensor | Piece]) -> None:
        """Work it out. Raises TypeError for a tensor that has no digest."""
        self.facts = facts
        self.labels = [label(name, tensor) for name, tensor in tensors.items()]
        self.places: dict[torch.device, list[int]] = {}
        pieces = list(map(as_piece, tensors.values()))
        for place, piece in enumerate(pieces):
            words(piece)
            self.places.setdefault(piece.tensor.device, []).append(place)
        self._fused = {
            device: _fused(device, [(pieces[at], self.labels[at].keys) for at in places])
            for device, places in self.places.items()
        }

    def sums(
        self, device: torch.device, tensors: Sequence[Tensor | Piece]
    ) -> Int64[Tensor, "pieces 2"]:
        """Return the sums of the tensors of this layout that are on a device."""
        places = self.places[device]
        here = [tensors[place] for place in places]
        if (fused := self._fused[device]) is not None:
            return fused.sums(here)
        keys = [self.labels[place].keys for place in places]
        pairs = zip(map(as_piece, here), keys, strict=True)
        return torch.stack([plain_sums(piece, key) for piece, key in pairs])


class Tables:
    """The layouts of sets of tensors, by group, as they were when they were last summed up.

    Names, keys and the kernel's tables take most of the time that the host needs, and the tensors
    of a training run are the same ones every time.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._known: dict[str, Layout] = {}

    def layout(self, group: str, tensors: Mapping[str, Tensor | Piece]) -> Layout:
        """Return the layout of some tensors: that of the last time, if nothing is different."""
        facts = _facts(tensors)
        known = self._known.get(group)
        if known is None or known.facts != facts:
            known = self._known[group] = Layout(facts, tensors)
        return known


@dataclass(frozen=True)
class _Found:
    """Sums of tensors on one device, and where these stand among all."""

    places: list[int]
    sums: Int64[Tensor, "pieces 2"]


class Sums:
    """Sums of many tensors, which stay on their devices until they are all asked for."""

    def __init__(self, tables: Tables | None = None) -> None:
        """Start with none. `tables` that have seen the same tensors before save time."""
        self._tables = Tables() if tables is None else tables
        self._added: list[tuple[str, Layout]] = []
        self._count = 0
        self._found: dict[torch.device, list[_Found]] = {}
        self._shared: torch.device | None = None
        """Where sums are added up over processes; None if they need not be."""

    @torch.no_grad()
    def add(self, group: str, tensors: Mapping[str, Tensor | Piece]) -> None:
        """Sum up named tensors as they are now, without waiting for their devices.

        Of a tensor that is distributed over processes, all of them must add their part.
        """
        if "torch.distributed.tensor" in sys.modules:
            from asr_lab.reproducibility.shards import own_parts

            device, tensors = own_parts(tensors)
            self._shared = self._shared or device
        layout, first = self._tables.layout(group, tensors), self._count
        self._added.append((group, layout))
        self._count += len(tensors)
        present = list(tensors.values())
        for device, places in layout.places.items():
            found = _Found([first + place for place in places], layout.sums(device, present))
            self._found.setdefault(device, []).append(found)

    def sums(self) -> dict[str, dict[Label, tuple[int, int]]]:
        """Return the sums by group; waits for each device once."""
        rows, at = self._total().tolist(), 0
        result: dict[str, dict[Label, tuple[int, int]]] = {}
        for group, layout in self._added:
            here, at = rows[at : at + len(layout.labels)], at + len(layout.labels)
            found = zip(layout.labels, here, strict=True)
            result.setdefault(group, {}).update({known: (row[0], row[1]) for known, row in found})
        return result

    def digests(self) -> dict[str, dict[str, str]]:
        """Return the digests by group and name; waits for each device once."""
        content, at = self._total().numpy().astype("<i8").tobytes(), 0
        result: dict[str, dict[str, str]] = {}
        for group, layout in self._added:
            found = result.setdefault(group, {})
            for known in layout.labels:
                found[known.name] = known.digest(content[at : at + 16])
                at += 16
        return result

    def _total(self) -> Int64[Tensor, "tensors 2"]:
        """Return the sums of all tensors, in order, on the CPU."""
        total = torch.zeros(self._count, 2, dtype=torch.int64)
        for parts in self._found.values():
            places = [place for one in parts for place in one.places]
            total[places] = torch.cat([one.sums for one in parts]).cpu()
        if self._shared is not None:
            from asr_lab.reproducibility.shards import summed_over_processes

            total = summed_over_processes(total, self._shared)
        return total


def _facts(tensors: Mapping[str, Tensor | Piece]) -> Facts:
    """Return the facts. Raises TypeError for a tensor that has no digest."""
    held: list[Tensor | Piece] = list(tensors.values())
    parts: list[object] = []
    if Piece in set(map(type, held)):
        parts = [(one.shape, one.offsets) if isinstance(one, Piece) else None for one in held]
        held = [one.tensor if isinstance(one, Piece) else one for one in held]
    try:  # in one go, because there are thousands
        kinds: list[object] = [
            (t.dtype, t.shape, t.stride(), t.device, t.is_conj(), t.is_neg())  # type: ignore[union-attr]
            for t in held
        ]
    except RuntimeError:  # a tensor without strides
        for one in tensors.values():
            words(as_piece(one))
        raise
    return list(tensors), kinds, parts


def _fused(device: torch.device, pieces: Sequence[tuple[Piece, tuple[int, int]]]) -> Fused | None:
    """Return what sums up pieces on a device at once, if there is such a thing."""
    if device.type != "cuda" or find_spec("triton") is None:
        return None
    from asr_lab.reproducibility.sums_triton import Launches

    return Launches(pieces)
