"""Subtitles of a length that can be read."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from asr_lab.evaluation.transcription.transcripts import Transcript, Word, join_words

LINE, LINES = 42, 2
"""Characters of a line and lines of a cue, as broadcasters ask for."""
LONGEST, SHORTEST = 7.0, 1.0
"""Seconds that a cue is shown: at most, and at least where the next one leaves time."""
FLASH = 0.04
"""Seconds that even a word at the very end is shown: WebVTT takes no cue without a length."""
PAUSE = 0.8
"""Seconds of silence that end a cue."""


@dataclass(frozen=True)
class Cue:
    """Text to show, from `start` to `end` in seconds; lines are broken."""

    text: str
    start: float
    end: float


def cues(transcript: Transcript) -> list[Cue]:
    """Return the subtitles of a transcript; without word times, one for each of its segments."""
    if not transcript.words:
        return [
            Cue(_lines(segment.text), segment.start, segment.end) for segment in transcript.segments
        ]
    groups = list(_groups(transcript.words))
    starts = [group[0].start for group in groups]
    last = max(transcript.duration, starts[-1] + FLASH)
    found = []
    for group, following in zip(groups, [*starts[1:], last], strict=True):
        start, end = group[0].start, group[-1].end
        shown = max(end, min(start + SHORTEST, following))
        found.append(Cue(_lines(join_words([word.text for word in group])), start, shown))
    return found


def _groups(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Yield the words of each cue."""
    group: list[Word] = []
    for word in words:
        if group and not _fits(group, word):
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _fits(group: Sequence[Word], word: Word) -> bool:
    """Return True if a word can be shown together with those before it."""
    lines = _lines(join_words([*(one.text for one in group), word.text])).count("\n") + 1
    short = word.end - group[0].start <= LONGEST
    return lines <= LINES and short and word.start - group[-1].end < PAUSE


def _lines(text: str) -> str:
    """Break text into lines, no word apart unless it is longer than a line."""
    return "\n".join(textwrap.wrap(text, LINE, break_on_hyphens=False))
