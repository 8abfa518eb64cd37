"""Utterances as columns: millions of them in little memory, which processes share."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from asr_lab.data.utterance import AudioSource, Utterance

if TYPE_CHECKING:
    import numpy  # readers of manifests start without it

Column: TypeAlias = "memoryview[Any] | array[Any]"
NUMBERS = {
    "durations": "d",
    "starts": "d",
    "parts": "d",
    "offsets": "q",
    "sizes": "q",
    "whole": "i",
}
"""Columns of numbers, and the letter of what is kept in them."""


class _Texts:
    """Texts one after the other, in UTF-8."""

    def __init__(self) -> None:
        self.content: bytearray | memoryview = bytearray()
        self.ends: Column = array("q", [0])

    def add(self, text: str) -> None:
        assert isinstance(self.content, bytearray) and isinstance(self.ends, array)
        # Names of files that are not UTF-8 hold halves of pairs.
        self.content += text.encode("utf-8", "surrogatepass")
        self.ends.append(len(self.content))

    def __getitem__(self, position: int) -> str:
        part = self.content[self.ends[position] : self.ends[position + 1]]
        return str(part, "utf-8", "surrogatepass")

    def __len__(self) -> int:
        return len(self.ends) - 1


class _Names:
    """Texts of which there are few, each kept once."""

    def __init__(self) -> None:
        self.codes: Column = array("i")
        self.names = _Texts()
        self._known: dict[str, int] = {}

    def add(self, name: str) -> None:
        assert isinstance(self.codes, array)
        code = self._known.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.add(name)
        self.codes.append(code)

    def __getitem__(self, position: int) -> str:
        return self.names[self.codes[position]]


class PackedUtterances(Sequence[Utterance]):
    """A row of utterances that are made when they are asked for.

    An utterance as objects takes a kilobyte, and a loader process that looks at it gets a copy of
    its page of memory, for the count of references is written there. Here it takes its texts and
    80 bytes, and nothing is written. The columns may be those of a file that is mapped.
    """

    def __init__(self, utterances: Iterable[Utterance] = ()) -> None:
        """Take utterances, one at a time."""
        self._texts = {name: _Texts() for name in ("ids", "texts", "files")}
        self._names = {name: _Names() for name in ("folders", "languages", "speakers")}
        self._numbers: dict[str, Column] = {n: array(code) for n, code in NUMBERS.items()}
        self.digest = ""
        """That of `index.facts` of all, where it is known already."""
        self.witnesses = memoryview(b"")
        """`index.witness` of each, where they are known already."""
        for utterance in utterances:
            self.append(utterance)

    def append(self, utterance: Utterance) -> None:
        """Add one at the end; not to columns that are mapped."""
        audio, texts, names, numbers = utterance.audio, self._texts, self._names, self._numbers
        cut = audio.path.rfind("/") + 1
        texts["ids"].add(utterance.id)
        texts["texts"].add(utterance.text)
        texts["files"].add(audio.path[cut:])
        names["folders"].add(audio.path[:cut])
        names["languages"].add(utterance.language)
        names["speakers"].add(utterance.speaker)
        for name, value in (
            ("durations", utterance.duration),
            ("starts", audio.start),
            ("parts", audio.duration or 0.0),
            ("offsets", audio.offset),
            ("sizes", audio.size),
            ("whole", audio.duration is None),
        ):
            column = numbers[name]
            assert isinstance(column, array)
            column.append(value)

    def columns(self) -> dict[str, memoryview]:
        """Return all that is kept, as `mapped` takes it."""
        found: dict[str, Column | bytearray] = dict(self._numbers)
        for name, names in self._names.items():
            found[f"{name}.codes"] = names.codes
        for name, texts in {**self._texts, **_names_of(self._names)}.items():
            found |= {f"{name}.content": texts.content, f"{name}.ends": texts.ends}
        found["digest"] = bytearray(self.digest.encode())
        found["witnesses"] = bytearray(self.witnesses)
        return {name: memoryview(column) for name, column in found.items()}

    @classmethod
    def mapped(cls, columns: Mapping[str, memoryview]) -> "PackedUtterances":
        """Take what `columns` gave, as it is, without a copy."""
        found = cls()
        found._numbers = {name: columns[name] for name in found._numbers}
        for name, names in found._names.items():
            names.codes = columns[f"{name}.codes"]
        for name, texts in {**found._texts, **_names_of(found._names)}.items():
            texts.content, texts.ends = columns[f"{name}.content"], columns[f"{name}.ends"]
        found.digest = bytes(columns["digest"]).decode()
        found.witnesses = columns["witnesses"]
        return found

    def __getstate__(self) -> dict[str, object]:
        """Copy what is mapped where a process is not forked: a map cannot be sent."""
        return {name: array(c.format, c.tobytes()) for name, c in self.columns().items()}

    def __setstate__(self, state: Mapping[str, "array[Any]"]) -> None:
        """Take what `__getstate__` gave."""
        columns = {name: memoryview(column) for name, column in state.items()}
        self.__dict__ = PackedUtterances.mapped(columns).__dict__

    @property
    def durations(self) -> "numpy.ndarray":
        """Seconds of each, in FP64; can be written to, unless they are mapped."""
        import numpy as np

        return np.frombuffer(self._numbers["durations"], np.float64)

    def codes(self, column: str) -> "numpy.ndarray":
        """Return the number, an int32, of everybody's name among the `languages` or `speakers`."""
        import numpy as np

        return np.frombuffer(self._names[column].codes, np.int32)

    def name(self, column: str, code: int) -> str:
        """Return the language or the speaker that has a code."""
        return self._names[column].names[code]

    def id(self, position: int) -> str:
        """Return the id of one utterance."""
        return self._texts["ids"][position]

    def text(self, position: int) -> str:
        """Return the text of one utterance."""
        return self._texts["texts"][position]

    def rename(self, ids: Iterable[str]) -> None:
        """Give every utterance another id, in their order."""
        found = _Texts()
        for name in ids:
            found.add(name)
        assert len(found) == len(self)
        self._texts["ids"] = found

    def same_ids(self) -> tuple[int, int] | None:
        """Return the first utterance whose id was there before, behind the one that has it too."""
        import numpy as np

        hashes = np.fromiter(map(hash, map(self.id, range(len(self)))), np.int64, len(self))
        order = np.argsort(hashes, kind="stable")
        same = hashes[order][1:] == hashes[order][:-1]
        first: dict[str, int] = {}
        for position in np.union1d(order[1:][same], order[:-1][same]).tolist():
            if (before := first.setdefault(self.id(position), position)) != position:
                return before, position
        return None

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._numbers["durations"])

    @overload
    def __getitem__(self, position: int) -> Utterance: ...

    @overload
    def __getitem__(self, position: slice) -> list[Utterance]: ...

    def __getitem__(self, position: int | slice) -> Utterance | list[Utterance]:
        """Return one utterance, or a list of some."""
        if isinstance(position, slice):
            return [self._one(one) for one in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        return self._one(position % len(self))

    def __iter__(self) -> Iterator[Utterance]:
        """Make one utterance after the other."""
        return map(self._one, range(len(self)))

    def _one(self, position: int) -> Utterance:
        numbers, texts, names = self._numbers, self._texts, self._names
        audio = AudioSource(
            path=names["folders"][position] + texts["files"][position],
            start=numbers["starts"][position],
            duration=None if numbers["whole"][position] else numbers["parts"][position],
            offset=numbers["offsets"][position],
            size=numbers["sizes"][position],
        )
        return Utterance(
            id=texts["ids"][position],
            audio=audio,
            text=texts["texts"][position],
            duration=numbers["durations"][position],
            language=names["languages"][position],
            speaker=names["speakers"][position],
        )


def _names_of(columns: Mapping[str, _Names]) -> dict[str, _Texts]:
    return {f"{name}.names": names.names for name, names in columns.items()}
