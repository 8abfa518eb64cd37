"""Join what was heard in overlapping windows, so that no word is lost or doubled at a seam.

Both windows hear the middle of their overlap well, and each the words at its own end badly. A seam
is therefore put at a token that both of them heard, as near to the middle as there is one: what
stands before comes from the left window, what follows from the right one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

TOLERANCE = 0.3
"""Seconds by which two windows may differ about when a token starts."""
TOKENS_PER_SECOND = 25
"""Nobody speaks faster than this, in characters; bounds what can lie in an overlap."""
CLEAR_RUN = 3
"""Tokens in a row that both windows heard, from which on a longer run is no better."""

Pair = tuple[int, int]


@dataclass(frozen=True)
class Token:
    """A token, where it was heard."""

    id: int
    time: float | None
    """Start in the recording, in seconds; None where the decoder does not know."""
    window: int
    """Number of the window it was heard in."""
    starts_run: bool = False
    """True if it does not go on from the token before: a word cannot span the two."""


@dataclass(frozen=True)
class Heard:
    """The tokens of one window, which spans `start` to `end` of the recording, in seconds."""

    tokens: Sequence[int]
    times: Sequence[float]
    """Start of each token in the recording; empty where the decoder does not know."""
    start: float
    end: float


def merge(heard: Sequence[Heard]) -> list[Token]:
    """Return the tokens of a recording, of which the windows are given in order."""
    merged: list[Token] = []
    last: list[Token] = []
    for number, window in enumerate(heard):
        tokens = _tokens(window, number)
        if number:
            start, end = window.start, heard[number - 1].end
            keep, skip, joined = seam(last, tokens, start, end)
            del merged[len(merged) - len(last) + keep :]
            tokens = tokens[skip:]
            if tokens and not joined:
                tokens[0] = replace(tokens[0], starts_run=True)
        merged += tokens
        last = tokens
    return merged


def _tokens(window: Heard, number: int) -> list[Token]:
    times: Sequence[float | None] = window.times or [None] * len(window.tokens)
    pairs = zip(window.tokens, times, strict=True)
    return [Token(token, time, number) for token, time in pairs]


def seam(
    left: Sequence[Token], right: Sequence[Token], start: float, end: float
) -> tuple[int, int, bool]:
    """Return how many tokens of `left` to keep and of `right` to skip; the overlap is in seconds.

    The third is False if the two heard nothing in common there, and so do not go on in a word.
    """
    if any(token.time is None for token in (*left, *right)):
        return _seam_without_times(left, right, end - start)
    return _seam_by_times(left, right, start, end)


def _seam_by_times(
    left: Sequence[Token], right: Sequence[Token], start: float, end: float
) -> tuple[int, int, bool]:
    """Cut at a common token, or where there is none in the middle of the overlap."""
    middle = (start + end) / 2
    first = next((i for i, one in enumerate(left) if _time(one) >= start - TOLERANCE), len(left))
    behind = sum(_time(token) <= end + TOLERANCE for token in right)
    ours, theirs = left[first:], right[:behind]

    def same(i: int, j: int) -> bool:
        near = abs(_time(ours[i]) - _time(theirs[j])) <= TOLERANCE
        return near and ours[i].id == theirs[j].id

    def distance(pair: Pair) -> float:
        return abs(_time(ours[pair[0]]) + _time(theirs[pair[1]]) - 2 * middle)

    if pairs := common(len(ours), len(theirs), same, penalty=0):
        i, j = clearest(pairs, distance)
        return first + i + 1, j + 1, True
    kept = sum(_time(token) < middle for token in left)
    return kept, sum(_time(token) < middle for token in right), False


def _seam_without_times(
    left: Sequence[Token], right: Sequence[Token], overlap: float
) -> tuple[int, int, bool]:
    """Cut where the end of the left tokens looks like the beginning of the right ones.

    Where it does not, nobody spoke in the overlap, and everything is kept.
    """
    reach = round(overlap * TOKENS_PER_SECOND)
    ours, theirs = left[-reach:], right[:reach]
    pairs = common(len(ours), len(theirs), lambda i, j: ours[i].id == theirs[j].id, penalty=1)
    if not pairs:
        return len(left), 0, False
    centre = (len(pairs) - 1) / 2
    places = {pair: place for place, pair in enumerate(pairs)}
    i, j = clearest(pairs, lambda pair: abs(places[pair] - centre))
    return len(left) - len(ours) + i + 1, j + 1, True


def _time(token: Token) -> float:
    assert token.time is not None
    return token.time


def common(ours: int, theirs: int, same: Callable[[int, int], bool], *, penalty: int) -> list[Pair]:
    """Return the places in two sequences, of so many tokens, that an alignment makes equal.

    Without a `penalty` it is the longest common subsequence. With one, an end of ours is laid over
    a beginning of theirs, and each token in there without an equal costs that many equal ones; an
    alignment that costs more than it finds is none.
    """
    scores = [[-penalty * j for j in range(theirs + 1)]]
    for i in range(ours):
        above, row = scores[-1], [0]
        for j in range(theirs):
            matched = above[j] + (1 if same(i, j) else -penalty)
            row.append(max(matched, above[j + 1] - penalty, row[j] - penalty))
        scores.append(row)
    i, j = ours, max(range(theirs + 1), key=lambda place: scores[ours][place])
    if scores[i][j] <= 0:
        return []
    pairs = []
    while i and j:
        score, equal = scores[i][j], same(i - 1, j - 1)
        if score == scores[i - 1][j - 1] + (1 if equal else -penalty):
            i, j = i - 1, j - 1
            if equal:
                pairs.append((i, j))
        elif score == scores[i - 1][j] - penalty:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def clearest(pairs: Sequence[Pair], distance: Callable[[Pair], float]) -> Pair:
    """Return the pair with the least `distance` among those in the longest runs of neighbours."""
    run_of: dict[Pair, int] = {}
    run: list[Pair] = []
    for pair in pairs:
        if run and pair != (run[-1][0] + 1, run[-1][1] + 1):
            run = []
        run.append(pair)
        run_of.update(dict.fromkeys(run, min(len(run), CLEAR_RUN)))
    return min(pairs, key=lambda pair: (-run_of[pair], distance(pair)))
