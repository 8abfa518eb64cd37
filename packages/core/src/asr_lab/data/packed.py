"""Utterances as arrays: millions of them in little memory, which forked loader processes share."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

from asr_lab.data.utterance import AudioSource, Utterance


class _Texts:
    """Texts one after the other, in UTF-8."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.ends = array("q", [0])

    def add(self, text: str) -> None:
        # Names of files that are not UTF-8 hold halves of pairs.
        self.content += text.encode("utf-8", "surrogatepass")
        self.ends.append(len(self.content))

    def __getitem__(self, position: int) -> str:
        part = self.content[self.ends[position] : self.ends[position + 1]]
        return part.decode("utf-8", "surrogatepass")


class _Names:
    """Texts of which there are few, each kept once."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.names: list[str] = []
        self._known: dict[str, int] = {}

    def add(self, name: str) -> None:
        code = self._known.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        self.codes.append(code)

    def __getitem__(self, position: int) -> str:
        return self.names[self.codes[position]]


class PackedUtterances(Sequence[Utterance]):
    """A row of utterances that are made when they are asked for.

    An utterance as objects takes a kilobyte, and a loader process that looks at it gets a copy of
    its page of memory, for the count of references is written there. Here it takes its texts and
    60 bytes, and nothing is written.
    """

    def __init__(self, utterances: Iterable[Utterance] = ()) -> None:
        """Take utterances, one at a time."""
        self._ids, self._texts, self._files = _Texts(), _Texts(), _Texts()
        self._folders, self._languages, self._speakers = _Names(), _Names(), _Names()
        self._durations, self._starts, self._parts = array("d"), array("d"), array("d")
        self._offsets, self._sizes, self._whole = array("q"), array("q"), array("b")
        for utterance in utterances:
            self.append(utterance)

    def append(self, utterance: Utterance) -> None:
        """Add one at the end."""
        audio = utterance.audio
        cut = audio.path.rfind("/") + 1
        self._ids.add(utterance.id)
        self._texts.add(utterance.text)
        self._folders.add(audio.path[:cut])
        self._files.add(audio.path[cut:])
        self._languages.add(utterance.language)
        self._speakers.add(utterance.speaker)
        self._durations.append(utterance.duration)
        self._starts.append(audio.start)
        self._parts.append(audio.duration or 0.0)
        self._whole.append(audio.duration is None)
        self._offsets.append(audio.offset)
        self._sizes.append(audio.size)

    def __len__(self) -> int:
        """Return the number of utterances."""
        return len(self._durations)

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
        audio = AudioSource(
            path=self._folders[position] + self._files[position],
            start=self._starts[position],
            duration=None if self._whole[position] else self._parts[position],
            offset=self._offsets[position],
            size=self._sizes[position],
        )
        return Utterance(
            id=self._ids[position],
            audio=audio,
            text=self._texts[position],
            duration=self._durations[position],
            language=self._languages[position],
            speaker=self._speakers[position],
        )
