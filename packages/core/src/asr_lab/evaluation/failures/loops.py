"""Repetition loops: a phrase said over and over, as decoders do that have lost their place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_PERIOD = 20
"""Longest phrase, in words, whose repetition is looked for."""
COPIES = {1: 6, 2: 4}
"""Copies in a row from which a phrase of so many words is a loop; 3 for longer ones.

Of 15,162 different sentences that people said, 2 have a loop: docs/results/finders.md.
"""
LETTERS, MOST_LETTERS = 24, 12
"""Within a word, which is a text where there are no spaces: letters that a loop covers, and at most
of its phrase."""
LETTER_COPIES = 5
"""Copies in a row of a phrase of letters."""
THRICE = re.compile(r"(?<!\S)((?:\S++ ){1,20}?)\1\1")
FIVE_TIMES = re.compile(r"(.{1,12}?)\1{4}")
"""What every loop of words, or of letters, has in it: most texts have none and cost no more."""


@dataclass(frozen=True)
class Loop:
    """A phrase, and how often it comes in a row."""

    phrase: str
    copies: int


def word_loop(words: Sequence[str]) -> Loop | None:
    """Return the loop of words that covers most, if there is any."""
    if THRICE.search(" ".join([*words, ""])) is None:
        return None
    found = None
    for period in range(1, min(MOST_PERIOD, len(words) // 2) + 1):
        start, copies = _longest(words, period)
        if copies >= COPIES.get(period, 3) and (found is None or copies * period > found[0]):
            found = (copies * period, Loop(" ".join(words[start : start + period]), copies))
    return found[1] if found else None


def letter_loop(text: str) -> Loop | None:
    """Return the loop of letters that covers most of the longest word, if there is any."""
    letters = max(text.split(), key=len, default="")
    if len(letters) < LETTERS or FIVE_TIMES.search(letters) is None:
        return None
    found = None
    for period in range(1, min(MOST_LETTERS, len(letters) // 2) + 1):
        start, copies = _longest(letters, period)
        covered = copies * period
        if copies >= LETTER_COPIES and covered >= LETTERS and (not found or covered > found[0]):
            found = (covered, Loop(letters[start : start + period], copies))
    return found[1] if found else None


def _longest(units: Sequence[str], period: int) -> tuple[int, int]:
    """Return where the most copies of a phrase of `period` units start, and how many they are."""
    best, run, start = 0, 0, 0
    for place in range(period, len(units)):
        run = run + 1 if units[place] == units[place - period] else 0
        if run > best:
            best, start = run, place - run - period + 1
    return start, best // period + 1
