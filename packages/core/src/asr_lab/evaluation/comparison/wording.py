"""A comparison in words: the table of the terminal, and the Markdown that goes into a report."""

import math
import unicodedata
from collections.abc import Sequence

from asr_lab.evaluation.comparison.comparison import Comparison, Row
from asr_lab.evaluation.comparison.slices import Rate
from asr_lab.evaluation.statistics import Interval

LEAST_P = 0.001


def lines(found: Comparison) -> list[str]:
    """Return what the terminal shows, without the files."""
    table = [cells for cells in zip(*_columns(found), strict=True) if any(cells[1:])]
    rows = [[plain(cell) for cell in row] for row in zip(*table, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [*padded, *map(plain, [*closing(found), *found.notes])]


def _columns(found: Comparison) -> list[tuple[str, ...]]:
    """Return the table by rows, the heading first; columns of which nothing is known are empty."""
    heading = ("system", "params", "WER", "", "vs best", "RTFx", "memory", "size")
    return [heading, *(_cells(row) for row in found.rows)]


def _cells(row: Row) -> tuple[str, ...]:
    one = row.system
    return (
        one.name,
        count(one.parameters),
        rate(row.words.rate, row.interval),
        row.letters,
        standing(row),
        speed(one.rtfx),
        size(one.memory),
        size(one.size),
    )


def closing(found: Comparison) -> list[str]:
    """Return the lines below the table: on what, by which tests, and what can be told apart."""
    base, number = found.match.base, len(found.match.ids)
    told = [f"{number:,} {'utterance' if number == 1 else 'utterances'}, {base.normalizer},"]
    told += [f"errors by {base.rule}"]
    lines = [" ".join(told)]
    if found.pairs:
        method = found.pairs[0].difference.method
        several = f", Holm over {len(found.pairs)} pairs" if len(found.pairs) > 1 else ""
        lines.append(
            f"p: the larger of MAPSSWE's and that of the {method}{several};"
            " systems that share a letter are not told apart"
        )
        few = [one for one in found.pairs if one.segments.warning]
        if few:
            lines.append(
                f"MAPSSWE of {few[0].first} and {few[0].second}: {few[0].segments.warning}"
            )
    if power := power_hint(found):
        lines.append(power)
    return lines


def power_hint(found: Comparison) -> str:
    """Return the sentence that says which differences this test set can show."""
    least, most = (100 * one for one in found.detectable)
    if not math.isfinite(most) or not most:
        return ""
    shown = f"{least:.2g}", f"{most:.2g}"
    apart = shown[0] if shown[0] == shown[1] else " to ".join(shown)
    return f"this test set can tell these systems apart from about {apart} points on"


def standing(row: Row) -> str:
    """Return how a system stands to the best one."""
    if row.reason:
        return f"not comparable: {row.reason}"
    if row.pair is None:
        return "–"
    return f"+{-100 * row.pair.difference.difference:.2f}, {probability(row.pair.p)}"


def probability(p: float) -> str:
    """Return a probability as people write it."""
    return f"p < {LEAST_P:g}" if p < LEAST_P else f"p = {p:.2g}"


def rate(value: float, interval: Interval | None) -> str:
    """Return an error rate with its interval, in percent."""
    if not math.isfinite(value):
        return "no words"
    if interval is None:
        return f"{100 * value:.2f} %"
    return f"{100 * value:.2f} % [{100 * interval.low:.2f}, {100 * interval.high:.2f}]"


def count(number: int) -> str:
    """Return a number of parameters as people say it; nothing for 0."""
    if not number:
        return ""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def size(number: int) -> str:
    """Return bytes as people say them; nothing for 0."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else mebibytes(number)


def mebibytes(number: int) -> str:
    """Return bytes in MiB; nothing for 0."""
    return f"{number / 2**20:,.1f} MiB" if number else ""


def speed(value: float) -> str:
    """Return a speed in seconds of audio in a second; nothing if it was not measured."""
    if not math.isfinite(value):
        return ""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def plain(text: str) -> str:
    """Return text without control characters, which would rule a terminal."""
    return "".join(
        "\ufffd" if unicodedata.category(one) in ("Cc", "Cf", "Cs") else one for one in text
    )


def markdown(found: Comparison) -> str:
    """Return the comparison as Markdown."""
    parts = ["# Comparison", *(f"* {_text(line)}" for line in [*closing(found), *found.notes]), ""]
    heading = "system|WER|letters|vs best|CER|sub.|del.|ins.|RTFx|device|params|memory|size"
    rows = [
        (
            row.system.name,
            rate(row.words.rate, row.interval),
            row.letters,
            standing(row),
            rate(row.characters.rate, None),
            f"{row.words.substitutions:,}",
            f"{row.words.deletions:,}",
            f"{row.words.insertions:,}",
            speed(row.system.rtfx),
            row.system.device,
            count(row.system.parameters),
            size(row.system.memory),
            size(row.system.size),
        )
        for row in found.rows
    ]
    parts += [*_table(heading.split("|"), rows), ""]
    if found.pairs:
        parts += ["## Pairs", "", *_pairs(found), ""]
    for by in dict.fromkeys(one.by for one in found.slices):
        names = [row.system.name for row in found.comparable]
        cells = [
            (one.name, f"{one.utterances:,}", *(slice_rate(one.rates[name]) for name in names))
            for one in found.slices
            if one.by == by
        ]
        parts += [f"## By {by}", "", *_table([by, "utterances", *names], cells), ""]
    return "\n".join(parts)


def slice_rate(found: Rate) -> str:
    """Return the rate of a slice, with the interval that it may have."""
    return rate(found.rate, found.interval)


def _pairs(found: Comparison) -> list[str]:
    heading = ["first", "second", "difference", "paired p", "MAPSSWE p", "segments", "told apart"]
    rows = [
        (
            one.first,
            one.second,
            difference(one.difference.difference, one.difference.low, one.difference.high),
            probability(one.p_difference),
            probability(one.p_segments),
            f"{one.segments.segments:,}",
            "yes" if one.differ else "no",
        )
        for one in found.pairs
    ]
    return _table(heading, rows)


def difference(value: float, low: float, high: float) -> str:
    """Return a difference of error rates with its interval, in points."""
    return f"{100 * value:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heading, ["---"] * len(heading), *rows]
    return [f"| {' | '.join(_text(cell) for cell in line)} |" for line in lines]


def _text(text: str) -> str:
    """Return text that Markdown takes as it is."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return plain(text) if text != "---" else text
