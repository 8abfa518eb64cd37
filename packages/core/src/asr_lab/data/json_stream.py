"""Members of a list in a JSON file, one after the other: the file is never whole in memory."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from asr_lab.data.reading import open_text
from asr_lab.utils.errors import UserError

CHUNK = 2**20
"""Characters that are read at a time; of a member that is longer, as many again as are there."""
NEAR = 16
"""What is as close to the end of what was read may be a word or a number that is cut in two."""
BLANK = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


def members(path: Path, key: str) -> Iterator[object]:
    """Yield the members of the list `key` of the object in a file, in order.

    What stands behind the list is not read. Raises UserError for a file that is no JSON up to
    there or has no such list, and as `open_text`.
    """
    with open_text(path) as file:
        content = _Content(file.read, path)
        if not _enter(content, key):
            raise UserError(f"{path} has no list {key!r}; download it again")
        if content.sign() == "]":
            return
        while True:
            yield content.value()
            if content.take(",]") == "]":
                return


def _enter(content: "_Content", key: str) -> bool:
    """Go behind the bracket that opens the list; return false where there is none."""
    if content.sign() != "{":
        return False
    content.take("{")
    while content.sign() != "}":
        name = content.value()
        content.take(":")
        if name == key:
            return content.sign() == "[" and bool(content.take("["))
        content.value()
        if content.take(",}") == "}":
            return False
    return False


class _Content:
    """The text of a file, of which a part is in memory."""

    def __init__(self, read: Callable[[int], str], path: Path) -> None:
        self._read, self._path = read, path
        self._text, self._at, self._before = "", 0, 0

    def sign(self) -> str:
        """Return the next character that is not blank, and stay there; empty at the end."""
        while True:
            found = BLANK.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, signs: str) -> str:
        """Return the next character and go on; raises UserError if it is none of `signs`."""
        found = self.sign()
        if not found or found not in signs:
            expected = " or ".join(map(repr, signs))
            raise self._bad(f"{expected} is missing", self._at)
        self._at += 1
        return found

    def value(self) -> object:
        """Return the next value and go behind it; raises UserError if there is none."""
        self.sign()
        while True:
            cut: json.JSONDecodeError | None = None
            value, end = None, len(self._text)
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                cut = error
                if error.pos < len(self._text) - NEAR and "Unterminated" not in error.msg:
                    raise self._bad(error.msg, error.pos) from error
            except RecursionError as error:
                raise self._bad("it is nested too deeply", self._at) from error
            # A number that ends near the end of the text may go on: 1.5e is 1.5, until -7 follows.
            if end <= len(self._text) - NEAR or not self._more():
                if cut:
                    raise self._bad(cut.msg, cut.pos) from cut
                self._at = end
                return value

    def _more(self) -> bool:
        """Read on, and forget what was taken; return false at the end of the file."""
        part = self._read(max(CHUNK, len(self._text) - self._at))
        if not part:
            return False
        self._text = self._text[self._at :] + part
        self._before, self._at = self._before + self._at, 0
        return True

    def _bad(self, reason: str, at: int) -> UserError:
        where = f"{self._path}: character {self._before + at + 1}"
        return UserError(f"{where} is not JSON ({reason}); download the file again")
