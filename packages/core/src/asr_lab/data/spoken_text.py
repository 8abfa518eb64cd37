"""Transcripts of corpora with marks in them, as what is spoken."""

import re
from collections.abc import Callable, Mapping

GIGASPEECH_MARKS = {
    " <COMMA>": ",",
    " <PERIOD>": ".",
    " <QUESTIONMARK>": "?",
    " <EXCLAMATIONPOINT>": "!",
}
GIGASPEECH_GARBAGE = {"<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>"}
"""What is not speech; an utterance of it has nothing else (Chen et al. 2021, arXiv 2106.06909)."""
TEDLIUM_IGNORED = ("ignore_time_segment_in_scoring", "ignore time segment in scoring")
TEDLIUM_MARKS = re.compile(r"<[^<> ]*>|\{[^{} ]*\}|\[[^][ ]*\]|(?<=\w)\(\d+\)")
EARNINGS_MARKS = re.compile(r"<[^<>\s]*>[^\w\s<]*")
"""What is no word, such as `<inaudible>` and `<crosstalk>`, and the punctuation behind it."""
CORAAL_MARKS = re.compile(r"<[^>]+>|/RD-[^/]+/|\((?:[a-zA-Z]+|pause [\d.]+)\)")
"""Noises, names that were taken out, how something is said, and pauses."""
BRACKETS = str.maketrans("", "", "[]")
APOSTROPHE = re.compile(r"(?<=\w) '(?=(?:s|t|d|m|ll|re|ve)(?: |$))", re.IGNORECASE)


def gigaspeech(text: str) -> str | None:
    """Return a transcript with punctuation for its tags; None for what is no speech."""
    if set(text.split()) & GIGASPEECH_GARBAGE:
        return None
    for mark, sign in GIGASPEECH_MARKS.items():
        text = text.replace(mark, sign)
    return text


def tedlium(text: str) -> str | None:
    """Return the words of a transcript of TED-LIUM; None for a segment that is not scored."""
    if text.strip().lower() in TEDLIUM_IGNORED:
        return None
    words = " ".join(TEDLIUM_MARKS.sub(" ", text).split())
    return APOSTROPHE.sub("'", words) or None


def earnings(text: str) -> str | None:
    """Return a transcript of Rev without what is no word; None if nothing is left."""
    return " ".join(EARNINGS_MARKS.sub(" ", text).split()) or None


def coraal(text: str) -> str | None:
    """Return a turn without marks, words in brackets (two speak at a time) kept; None if empty."""
    return " ".join(CORAAL_MARKS.sub("", text.translate(BRACKETS)).split()) or None


def spoken(text: str) -> str | None:
    """Return a transcript that has no marks as it is, None for an empty one."""
    return text or None


CLEANERS: Mapping[str, Callable[[str], str | None]] = {
    "earnings21": earnings,
    "earnings22": earnings,
    "gigaspeech": gigaspeech,
    "tedlium": tedlium,
    "tedlium_long": tedlium,
    "voxpopuli": spoken,
}
"""By name of the corpus; the transcripts of others are taken as they are."""
