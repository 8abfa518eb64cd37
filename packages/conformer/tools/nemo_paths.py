"""Draw the decisions that a recogniser in miniature is taught: blanks, tokens, durations."""

import random
from itertools import groupby
from typing import NamedTuple

BLANK = 28
DURATIONS = [0, 1, 2, 3, 4]
"""What a token may last; a blank lasts 1 or 2 encoder steps."""


class Decision(NamedTuple):
    """One choice of a greedy search."""

    row: int
    step: int
    position: int
    """Tokens said before."""
    token: int
    """The blank included."""
    duration: int
    """Encoder steps to move on by."""


def draw_path(kind: str, texts: list[list[int]], steps: list[int], seed: int) -> list[Decision]:
    """Draw decisions of `ctc`, `rnnt` or `tdt` that say each text in exactly so many steps."""
    draw, found = random.Random(seed), []
    for row, (text, end) in enumerate(zip(texts, steps, strict=True)):
        attempt: list[Decision] = []
        while not _fits(kind, attempt, text, end):
            if kind == "ctc":
                attempt = _draw_ctc(draw, row, text, end)
            else:
                attempt = _draw_transducer(draw, row, text, end, durations=kind == "tdt")
        found += attempt
    return found


def _fits(kind: str, path: list[Decision], text: list[int], end: int) -> bool:
    """Return True if the path ends where it should, and says what it should."""
    said = [one.token for one in path]
    if kind == "ctc":
        said = [token for token, _ in groupby(said)]
    return sum(one.duration for one in path) == end and [t for t in said if t != BLANK] == text


def _draw_ctc(draw: random.Random, row: int, text: list[int], end: int) -> list[Decision]:
    """Draw a token for one step or two, and a blank for every other step."""
    path = [BLANK] * end
    places = sorted(draw.sample(range(0, end - 1, 2), len(text)))
    for place, token in zip(places, text, strict=True):
        for step in range(place, place + draw.choice([1, 1, 2])):
            path[step] = token
    return [Decision(row, step, 0, token, 1) for step, token in enumerate(path)]


def _draw_transducer(
    draw: random.Random, row: int, text: list[int], end: int, *, durations: bool
) -> list[Decision]:
    """Draw up to three blanks before each token, and as many as it takes behind the last."""
    found: list[Decision] = []
    step = position = 0
    waiting = draw.randint(1, 3)
    while step < end:
        blank = waiting > 0 or position == len(text)
        duration = int(blank)
        if durations:
            duration = draw.choice(DURATIONS[1:3] if blank else DURATIONS)
        token = BLANK if blank else text[position]
        found.append(Decision(row, step, position, token, duration))
        step, waiting = step + duration, waiting - 1
        if not blank:
            position, waiting = position + 1, draw.choice([1, 2] if durations else [0, 2, 3])
    return found
