"""Plots as SVG inside the page; colours and fonts come from its style sheet."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr_lab.evaluation.comparison.comparison import Comparison, Row
from asr_lab.evaluation.comparison.markup import Markup, element, join
from asr_lab.evaluation.comparison.slices import Slice
from asr_lab.evaluation.comparison.wording import rate, speed

WIDTH, LEFT, RIGHT = 440, 8, 432
"""Of the view box; a plot is hardly narrower on a telephone, so that texts stay readable."""
COLOURS = 8
LONGEST = 46
"""Characters of a name that a plot has room for."""


@dataclass(frozen=True)
class Scale:
    """Where a value stands on the horizontal axis."""

    low: float | int
    high: float | int
    logarithmic: bool = False

    def __call__(self, value: float | int) -> float:
        """Return the position of a value; those beyond the ends stand there."""
        low, high, here = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, here = math.log(low), math.log(high), math.log(here)
        return round(LEFT + 6 + (RIGHT - LEFT - 12) * (here - low) / (high - low or 1), 1)


def steps(high: float) -> list[float]:
    """Return round numbers from 0 to about `high`, four to eight of them."""
    high = high or 1.0
    power = 10.0 ** math.floor(math.log10(high))
    size = next(one * power for one in (0.1, 0.2, 0.25, 0.5, 1, 2) if high / (one * power) <= 6)
    return [round(size * index, 12) for index in range(math.ceil(high / size) + 1)]


def figure(title: str, caption: str, height: float | int, *drawn: Markup) -> Markup:
    """Return a plot with a title that is read aloud too."""
    drawing = element(
        "svg",
        element("title", title),
        *drawn,
        viewBox=f"0 0 {WIDTH} {height:.0f}",
        role="img",
        aria_label=title,
    )
    return element("figure", element("figcaption", element("b", title), " ", caption), drawing)


def axis(
    scale: Scale, ticks: Sequence[float], height: float | int, name: Callable[[float], str]
) -> Markup:
    """Return grid lines with their values below."""
    parts = []
    for tick in ticks:
        x = scale(tick)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=4, y2=height - 18))
        anchor = "start" if tick == ticks[0] else "end" if tick == ticks[-1] else "middle"
        parts.append(text(x, height - 5, name(tick), "tick", anchor))
    return join(*parts)


def text(
    x: float | int, y: float | int, content: str, class_: str = "", anchor: str = "start"
) -> Markup:
    """Return a line of text."""
    return element("text", content, x=x, y=round(y, 1), class_=class_, text_anchor=anchor)


def mark(
    scale: Scale, y: float | int, value: float, ends: tuple[float, float] | None, c: int
) -> Markup:
    """Return a value as a dot, with its interval as a line; a rate without words is no dot."""
    if not math.isfinite(value):
        return join()
    parts = []
    if ends is not None:
        low, high = map(scale, ends)
        parts.append(element("line", class_=f"whisker s{c}", x1=low, x2=high, y1=y, y2=y))
    parts.append(element("circle", class_=f"dot s{c}", cx=scale(value), cy=y, r=4.5))
    return join(*parts)


def short(name: str) -> str:
    """Return a name that fits; of a path the end says more."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def percent(value: float | int) -> str:
    """Return an axis value in percent."""
    return f"{100 * value:g} %"


def rates_plot(found: Comparison) -> Markup:
    """Return the error rates with their intervals."""
    rows, step = found.rows, 40
    highest = max(max(row.interval.high, row.words.rate) for row in rows)
    ticks = steps(highest if math.isfinite(highest) else 1.0)
    scale, height = Scale(0, ticks[-1]), step * len(rows) + 26
    drawn = [axis(scale, ticks, height, percent)]
    for index, row in enumerate(rows):
        top, ends = step * index, (row.interval.low, row.interval.high)
        colour = _colour(index)
        name = short(row.system.name) + (" (not comparable)" if row.reason else "")
        drawn.append(text(LEFT, top + 15, name, "name"))
        drawn.append(text(RIGHT, top + 15, rate(row.words.rate, None), "value", "end"))
        drawn.append(mark(scale, top + 28, row.words.rate, ends, colour))
    return figure("Word error rate", "with 95 % intervals", height, *drawn)


def kinds_plot(found: Comparison) -> Markup:
    """Return the errors of each system by kind."""
    rows, step = found.rows, 40
    ticks = steps(max(row.words.errors / max(row.words.reference_length, 1) for row in rows))
    scale, height = Scale(0, ticks[-1]), step * len(rows) + 26
    drawn = [axis(scale, ticks, height, percent)]
    for index, row in enumerate(rows):
        top, start, words = step * index, 0.0, max(row.words.reference_length, 1)
        drawn.append(text(LEFT, top + 15, short(row.system.name), "name"))
        for kind in ("substitutions", "deletions", "insertions"):
            number = getattr(row.words, kind)
            end = start + number / words
            width = round(scale(end) - scale(start), 1)
            bar = element("title", f"{number:,} {kind}")
            drawn.append(
                element(
                    "rect",
                    bar,
                    class_=f"bar {kind}",
                    x=scale(start),
                    y=top + 21,
                    width=width,
                    height=13,
                )
            )
            start = end
    key = join(
        element("span", "substituted", class_="key substitutions"),
        " ",
        element("span", "deleted", class_="key deletions"),
        " ",
        element("span", "inserted", class_="key insertions"),
    )
    return figure("Kinds of errors", key, height, *drawn)


def differences_plot(found: Comparison) -> Markup | None:
    """Return how much worse than the best the others are; None for a single system."""
    rows = [(index, row) for index, row in enumerate(found.comparable) if row.pair]
    if not rows:
        return None
    ends = [(-one.pair.difference.high, -one.pair.difference.low) for _, one in rows if one.pair]
    furthest = max(abs(value) for pair in ends for value in pair)
    right = steps(furthest if math.isfinite(furthest) else 1.0)
    left = min(low for low, _ in ends)
    ticks = [-one for one in right[:0:-1] if one < right[1] + max(0.0, -left)] if left < 0 else []
    ticks = [*ticks, *right]
    scale, step = Scale(ticks[0], ticks[-1]), 40
    height = step * len(rows) + 26
    drawn = [axis(scale, ticks, height, lambda value: f"{100 * value:+g}" if value else "0")]
    drawn.append(element("line", class_="zero", x1=scale(0), x2=scale(0), y1=4, y2=height - 18))
    for place, ((index, row), limits) in enumerate(zip(rows, ends, strict=True)):
        assert row.pair
        top, value = step * place, -row.pair.difference.difference
        drawn.append(text(LEFT, top + 15, short(row.system.name), "name"))
        told = "differs" if row.pair.differ else "not told apart"
        drawn.append(text(RIGHT, top + 15, told, "value", "end"))
        drawn.append(mark(scale, top + 28, value, limits, _colour(index)))
    best = short(found.rows[0].system.name)
    return figure("Difference to the best", f"points above {best}", height, *drawn)


def speed_plot(found: Comparison) -> Markup | None:
    """Return error rates over speed; None unless two systems have one."""
    rows: list[tuple[int, Row]] = [
        (index, row)
        for index, row in enumerate(found.rows)
        if math.isfinite(row.system.rtfx) and row.system.rtfx > 0 and math.isfinite(row.words.rate)
    ]
    if len(rows) < 2:
        return None
    speeds = [row.system.rtfx for _, row in rows]
    scale = Scale(
        10 ** math.floor(math.log10(min(speeds))),
        10 ** math.ceil(math.log10(max(speeds) * 1.01)),
        True,
    )
    powers = range(round(math.log10(scale.low)), round(math.log10(scale.high)) + 1)
    height, ticks = 220, steps(max(row.words.rate for _, row in rows))
    drawn = [axis(scale, [10.0**power for power in powers], height, speed)]
    for tick in ticks:
        y = round(190 - 170 * tick / ticks[-1], 1)
        drawn.append(element("line", class_="grid", x1=LEFT, x2=RIGHT, y1=y, y2=y))
        drawn.append(text(LEFT, y - 3, percent(tick), "tick"))
    points = [(scale(row.system.rtfx), 190 - 170 * row.words.rate / ticks[-1]) for _, row in rows]
    labels = apart([y - 6 for _, y in points], 15.0)
    for (index, row), (x, y), line in zip(rows, points, labels, strict=True):
        right = x > WIDTH / 2
        dot = element("circle", class_=f"dot s{_colour(index)}", cx=x, cy=round(y, 1), r=5.5)
        drawn.append(dot)
        anchor = "end" if right else "start"
        name = short(row.system.name)
        drawn.append(text(x - 10 if right else x + 10, line, name, "name", anchor))
    return figure(
        "Errors and speed", "seconds of audio in a second, right is faster", height, *drawn
    )


def slices_plot(found: Comparison, by: str, chosen: Sequence[Slice]) -> Markup:
    """Return the error rates of each system on each slice."""
    names = [row.system.name for row in found.comparable]
    finite = [
        max(one.rate, one.interval.high if one.interval else 0.0)
        for part in chosen
        for one in part.rates.values()
    ]
    ticks = steps(max((one for one in finite if math.isfinite(one)), default=1.0))
    scale, step = Scale(0, ticks[-1]), 26 + 11 * len(names)
    height = step * len(chosen) + 26
    drawn = [axis(scale, ticks, height, percent)]
    for place, part in enumerate(chosen):
        top = step * place
        drawn.append(text(LEFT, top + 15, short(part.name), "name"))
        drawn.append(text(RIGHT, top + 15, f"{part.utterances:,} utt.", "value", "end"))
        for index, name in enumerate(names):
            one = part.rates[name]
            ends = (one.interval.low, one.interval.high) if one.interval else None
            drawn.append(mark(scale, top + 27 + 11 * index, one.rate, ends, _colour(index)))
    return figure(f"By {by}", "word error rate", height, *drawn)


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Return heights moved down until no two are nearer than `least`; their order stays."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=lambda index: moved[index])
    for above, index in pairwise(order):
        moved[index] = max(moved[index], moved[above] + least)
    return moved


def _colour(index: int) -> int:
    return index % COLOURS
