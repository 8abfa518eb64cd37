"""TRN, STM and CTM, the text files of NIST's SCTK: written so that they can be read again.

A word of ours may hold what sclite takes for something else than a letter, and it has no way to
say that a letter is meant: `{` ends it with a segmentation fault, `\\` vanishes, `@` is no word,
`;;` starts a comment. These characters are written as `%` and their code (`%7B`), as in addresses
of the web; both sides are, so that sclite counts the same errors.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_lab.utils.errors import UserError

MARKUP = "%(){}<>@*;\\"
"""What sclite reads as markup, and the sign that stands before a code."""
IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
"""What a stretch of an STM file holds in which nothing is scored."""
_CODED_IGNORED = f"%{ord(IGNORED[0]):02X}{IGNORED[1:]}"
_CODED = re.compile(rf"[{re.escape(MARKUP)}\s\x00-\x1f\x7f\ud800-\udfff]")
_CODE = re.compile("%u([0-9A-F]{4})|%([0-7][0-9A-F])")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A text that was said in a stretch of a recording."""

    id: str
    """Of the utterance; in STM and CTM the recording of that name."""
    text: str
    speaker: str = ""
    start: float = 0.0
    """Seconds from the start of the recording."""
    duration: float = 0.0
    """Seconds."""
    times: tuple[tuple[float, float], ...] = ()
    """Start and end of each word, in seconds from the start of the stretch; empty if unknown."""
    ignored: bool = False
    """True for a stretch that is not to be scored."""

    @property
    def end(self) -> float:
        """Seconds from the start of the recording."""
        return self.start + self.duration


def coded(text: str) -> str:
    """Return words with a space between them, as sclite reads them."""
    words = " ".join(_CODED.sub(_code, word) for word in text.split())
    return words.replace(IGNORED, _CODED_IGNORED)


def coded_name(name: str) -> str:
    """Return a name of an utterance or a speaker as one word."""
    return _CODED.sub(_code, name)


def decoded(text: str) -> str:
    """Return what was coded; percent signs that stand for nothing are left as they are."""
    return _CODE.sub(_character, text.replace(_CODED_IGNORED, IGNORED))


def _code(found: re.Match[str]) -> str:
    number = ord(found[0])
    return f"%{number:02X}" if number < 128 else f"%u{number:04X}"


def _character(found: re.Match[str]) -> str:
    """Return the character of a code, or the code if we would not have written it."""
    one = chr(int(found[1] or found[2], 16))
    return one if _CODED.fullmatch(one) else found[0]


def trn(lines: Iterable[Line]) -> str:
    """Return a TRN file: the words, and the name in parentheses."""
    return "".join(f"{coded(one.text)} ({coded_name(one.id)})\n".lstrip(" ") for one in lines)


def stm(lines: Iterable[Line]) -> str:
    """Return an STM file, sorted as sclite wants it: recording, channel, speaker, times, words."""
    return "".join(_stm(one) for one in _sorted(lines))


def _stm(one: Line) -> str:
    head = f"{coded_name(one.id)} 1 {coded_name(one.speaker) or 'unknown'}"
    return f"{head} {one.start:.3f} {one.end:.3f} {coded(one.text)}".rstrip(" ") + "\n"


def ctm(lines: Iterable[Line]) -> str:
    """Return a CTM file, sorted: each word with its start and its duration.

    Where nothing is known of when words were said, they share the time out evenly.
    """
    return "".join(_ctm(one) for one in _sorted(lines))


def _ctm(one: Line) -> str:
    words, name = coded(one.text).split(), coded_name(one.id)
    each = one.duration / max(len(words), 1)
    times = one.times or [(place * each, place * each + each) for place in range(len(words))]
    return "".join(
        f"{name} 1 {one.start + start:.3f} {end - start:.3f} {word}\n"
        for (start, end), word in zip(times, words, strict=True)
    )


def _sorted(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda one: (coded_name(one.id).encode(), one.start))


def read_trn(path: Path) -> list[Line]:
    """Read a TRN file. Raises UserError, with the number of the line, for what is none."""
    found = []
    for where, line in _lines(path):
        ended = re.fullmatch(r"(.*?)\(([^()\s]+)\)\s*", line)
        if ended is None:
            raise UserError(f"{where} does not end in the name of an utterance, in parentheses")
        found.append(Line(id=decoded(ended[2]), text=_plain(ended[1], where)))
    return found


def read_stm(path: Path) -> list[Line]:
    """Read an STM file; labels are passed over. Raises UserError as `read_trn` does."""
    found = []
    for where, line in _lines(path):
        fields = line.split(None, 5)
        if len(fields) < 5:
            raise UserError(f"{where} is not: recording, channel, speaker, start, end, words")
        start, end = _seconds(fields[3], where), _seconds(fields[4], where)
        text = re.sub(r"^<[^>\s]*>(\s+|$)", "", fields[5] if len(fields) > 5 else "").strip()
        ignored = IGNORED in text
        found.append(
            Line(
                id=decoded(fields[0]),
                text="" if ignored else _plain(text, where),
                ignored=ignored,
                speaker="" if fields[2] == "unknown" else decoded(fields[2]),
                start=start,
                duration=end - start,
            )
        )
    return found


def read_ctm(path: Path) -> list[Line]:
    """Read a CTM file, a line for each word; what follows the word is its confidence."""
    found = []
    for where, line in _lines(path):
        fields = line.split()
        if len(fields) not in (5, 6):
            raise UserError(f"{where} is not: recording, channel, start, duration, word")
        start, duration = _seconds(fields[2], where), _seconds(fields[3], where)
        text = _plain(fields[4], where)
        found.append(Line(id=decoded(fields[0]), text=text, start=start, duration=duration))
    return found


def _lines(path: Path) -> list[tuple[str, str]]:
    """Return where each line stands, and the line; without comments and empty ones."""
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    numbered = ((f"{path}:{number}", line) for number, line in enumerate(text.split("\n"), 1))
    return [(w, line) for w, line in numbered if line.strip() and not line.startswith(";;")]


def _plain(text: str, where: str) -> str:
    """Return coded words as they were; raises UserError for markup that we do not follow."""
    if re.search(r"[{}]", text):
        raise UserError(f"{where} has alternatives in braces; score counts plain words, name one")
    return " ".join(decoded(word) for word in text.split() if word != "@")


def _seconds(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{where} has {text!r} where seconds stand") from None


def words_by_line(spoken: Sequence[Line], words: Sequence[Line]) -> list[str]:
    """Return what was recognised in each stretch: the words whose middle is not behind its end.

    What comes behind the last stretch of a recording belongs to it: all of this is sclite's way.
    Raises UserError for words of a recording of which nothing is said in `spoken`.
    """
    stretches: dict[str, list[int]] = {}
    for place, one in sorted(enumerate(spoken), key=lambda item: item[1].start):
        stretches.setdefault(one.id, []).append(place)
    found: list[list[str]] = [[] for _ in spoken]
    for word in sorted(words, key=lambda one: one.start):
        places = stretches.get(word.id)
        if places is None:
            raise UserError(f"there is no reference for {word.id!r}, of which words are recognised")
        middle = word.start + word.duration / 2
        place = next((at for at in places if middle < spoken[at].end), places[-1])
        found[place].append(word.text)
    return [" ".join(one) for one in found]
