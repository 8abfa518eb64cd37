"""Some utterances of one or more data sets, as positions in their columns, in the sets' order."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias, overload

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from asr_lab.data.checks import least_steps
from asr_lab.data.index import WITNESS, Index, facts, witness
from asr_lab.data.packed import PackedUtterances
from asr_lab.data.stored import Columns, stored
from asr_lab.data.utterance import Utterance
from asr_lab.reproducibility.hash import dataset_digest
from asr_lab.utils.errors import UserError

Positions: TypeAlias = NDArray[np.int64]
"""Places in a row."""


class Selection(Sequence[Utterance]):
    """Chosen utterances of several rows; they are made when they are asked for."""

    def __init__(self, rows: Sequence[PackedUtterances], positions: Sequence[Positions]) -> None:
        """Take the positions that are chosen in each row."""
        self.rows, self.positions = tuple(rows), tuple(positions)
        self._starts = [0, *accumulate(map(len, positions))]

    @classmethod
    def whole(cls, utterances: Sequence[Utterance]) -> "Selection":
        """Choose all utterances of a data set."""
        packed = isinstance(utterances, PackedUtterances)
        row = utterances if packed else PackedUtterances(utterances)
        assert isinstance(row, PackedUtterances)
        return cls([row], [np.arange(len(row))])

    @classmethod
    def joined(cls, parts: Sequence["Selection"]) -> "Selection":
        """Choose what is chosen by any of the parts, one after the other."""
        return cls(
            [row for part in parts for row in part.rows],
            [chosen for part in parts for chosen in part.positions],
        )

    def only(self, wanted: Bool[np.ndarray, " utterances"]) -> "Selection":
        """Choose those of the chosen that are wanted."""
        parts = zip(self.positions, np.split(wanted, self._starts[1:-1]), strict=True)
        return Selection(self.rows, [chosen[part] for chosen, part in parts])

    def __len__(self) -> int:
        """Return the number of utterances."""
        return self._starts[-1]

    @overload
    def __getitem__(self, position: int) -> Utterance: ...

    @overload
    def __getitem__(self, position: slice) -> list[Utterance]: ...

    def __getitem__(self, position: int | slice) -> Utterance | list[Utterance]:
        """Return one utterance, or a list of some."""
        if isinstance(position, slice):
            return [self[one] for one in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        position %= len(self)
        part = bisect_right(self._starts, position) - 1
        return self.rows[part][int(self.positions[part][position - self._starts[part]])]

    def __iter__(self) -> Iterator[Utterance]:
        """Make one utterance after the other."""
        for row, chosen in zip(self.rows, self.positions, strict=True):
            yield from map(row.__getitem__, chosen.tolist())

    def texts(self) -> Iterator[str]:
        """Yield the text of each."""
        for row, chosen in zip(self.rows, self.positions, strict=True):
            yield from map(row.text, chosen.tolist())

    @property
    def durations(self) -> Float64[np.ndarray, " utterances"]:
        """Seconds of each."""
        parts = zip(self.rows, self.positions, strict=True)
        return np.concatenate([row.durations[chosen] for row, chosen in parts])

    def names(self, column: str) -> dict[str, int]:
        """Return how many utterances each language or speaker has, as `languages` or `speakers`.

        Those that come first are first.
        """
        found: dict[str, int] = {}
        for row, chosen in zip(self.rows, self.positions, strict=True):
            codes = row.codes(column)[chosen]
            counts = np.bincount(codes)
            first = np.zeros(len(counts), np.int64)
            first[codes[::-1]] = np.arange(len(codes))[::-1]  # what is written last stays
            there = np.flatnonzero(counts)
            for code in there[np.argsort(first[there])].tolist():
                name = row.name(column, code)
                found[name] = found.get(name, 0) + int(counts[code])
        return found

    def stored(self, made_of: Sequence[object], make: Callable[[], Columns]) -> Columns:
        """Return what `make` makes of these utterances and of plain values; see `stored.stored`."""
        known = all(row.digest for row in self.rows)
        if not known or not len(self):
            return make()
        chosen = [hashlib.sha256(part.data).hexdigest() for part in self.positions]
        return stored(len(self), [[row.digest for row in self.rows], chosen, *made_of], make)

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of what is said and where, as `Index.build` has it."""
        if len(self.rows) == 1 and len(self) == len(self.rows[0]) and self.rows[0].digest:
            return self.rows[0].digest
        found = self.stored(
            ["digest"],
            lambda: {"digest": memoryview(dataset_digest(map(facts, self)).encode())},
        )
        return bytes(found["digest"]).decode()

    def witnesses(self) -> bytes:
        """Return `index.witness` of each, one after the other."""
        found = bytearray()
        for row, chosen in zip(self.rows, self.positions, strict=True):
            if len(row.witnesses):
                found += np.frombuffer(row.witnesses, f"V{WITNESS}")[chosen].tobytes()
            else:
                found += b"".join(map(witness, map(row.__getitem__, chosen.tolist())))
        return bytes(found)

    @property
    def witnessed(self) -> bool:
        """Whether the witnesses are there, so that they cost nothing."""
        return all(len(row.witnesses) for row in self.rows)

    def indexed(self, token_counts: Int64[np.ndarray, " utterances"]) -> Index:
        """Return these utterances, which are all usable, as an index."""
        return Index(
            utterances=self,
            durations=np.rint(self.durations * 1000).astype(np.int64),
            token_counts=token_counts,
            digest=self.digest,
        )


def count_tokens(
    texts: Iterable[str], encode: Callable[[str], Sequence[int]], count: int
) -> Columns:
    """Return tokens and least CTC steps of every text, and why some cannot be encoded.

    The reasons are JSON: pairs of a position and what `encode` said.
    """
    tokens, least = np.zeros(count, np.int64), np.zeros(count, np.int64)
    refused: list[tuple[int, str]] = []
    for position, text in enumerate(texts):
        try:
            found = encode(text)
        except UserError as error:
            refused.append((position, str(error)))
        else:
            tokens[position], least[position] = len(found), least_steps(found)
    reasons = json.dumps(refused).encode()
    return {
        "tokens": tokens.data.cast("B").cast("q"),
        "least": least.data.cast("B").cast("q"),
        "refused": memoryview(reasons),
    }
