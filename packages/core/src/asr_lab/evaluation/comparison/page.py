"""A comparison as one HTML file that needs nothing else: no network, no server, no other file."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import cast

from asr_lab.evaluation.comparison.alignments import alignment, legend
from asr_lab.evaluation.comparison.comparison import Comparison, Row
from asr_lab.evaluation.comparison.markup import Markup, element, join
from asr_lab.evaluation.comparison.plots import (
    COLOURS,
    differences_plot,
    kinds_plot,
    rates_plot,
    slices_plot,
    speed_plot,
)
from asr_lab.evaluation.comparison.wording import (
    closing,
    count,
    difference,
    probability,
    rate,
    size,
    slice_rate,
    speed,
    standing,
)
from asr_lab.utils.metrics import Rule

COLUMNS = (
    *("system", "WER", "letters", "vs best", "CER", "sub. / del. / ins."),
    *("RTFx", "params", "memory", "size"),
)
TEXTS = ("system", "letters", "vs best")
"""Columns that are no numbers."""
EMPTY = "></td>"
"""How a cell ends that says nothing; a column of such is left out."""


def page(found: Comparison) -> str:
    """Return the whole page."""
    style, script = (_resource(name) for name in ("page.css", "page.js"))
    names = ", ".join(row.system.name for row in found.rows)
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy(style, script)}">'),
        Markup('<link rel="icon" href="data:,">'),
        element("title", f"Comparison of {names}"),
        element("style", Markup(style)),
    )
    body = element(
        "main",
        element("h1", f"Comparison of {len(found.rows)} systems"),
        *(element("p", _sentence(line), class_="lead") for line in closing(found)),
        _notes(found.notes),
        systems_table(found),
        _plots(found),
        _pairs(found),
        _slices(found),
        _utterances(found),
        element("footer", "Made by asr-lab compare. The file holds all that it shows."),
    )
    script_element = element("script", Markup(script))
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n'
        f"<body>{body}{script_element}</body>\n</html>\n"
    )


def policy(style: str, script: str) -> str:
    """Return what the browser may do: show this style, run this script, play what is inside."""
    hashes = [
        base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, script)
    ]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}';"
        " media-src data:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}."


def _resource(name: str) -> str:
    return files("asr_lab.evaluation.comparison").joinpath(name).read_text("utf-8")


def _notes(notes: Sequence[str]) -> Markup:
    return element("ul", *(element("li", note) for note in notes), class_="notes")


def sortable(headings: Sequence[str], rows: Sequence[Markup], texts: Sequence[str]) -> Markup:
    """Return a table whose headings sort it."""
    head = [
        element(
            "th",
            element("button", name, type="button"),
            scope="col",
            class_="" if name in texts else "number",
        )
        for name in headings
    ]
    body = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    return element("div", body, class_="scroll", tabindex=0, role="group", aria_label="table")


def number(shown: str, value: float | int, **more: str) -> Markup:
    """Return a cell that sorts by its value."""
    return element("td", shown, class_="number", data_value=value, **more)


def named(name: str, index: int) -> Markup:
    """Return a system's name with its colour."""
    return join(element("span", class_=f"chip s{index % COLOURS}", aria_hidden="true"), name)


def systems_table(found: Comparison) -> Markup:
    """Return the table of all systems, those that cannot be compared included."""
    cells = [_system_cells(row, index) for index, row in enumerate(found.rows)]
    kept = [one for one in range(len(COLUMNS)) if any(EMPTY not in row[one] for row in cells)]
    rows = [
        element("tr", *(line[one] for one in kept), class_="other" if row.reason else "")
        for row, line in zip(found.rows, cells, strict=True)
    ]
    table = sortable([COLUMNS[one] for one in kept], rows, TEXTS)
    return join(element("h2", "Systems"), table)


def _system_cells(row: Row, index: int) -> tuple[Markup, ...]:
    """Return a cell for each of `COLUMNS`."""
    one, words = row.system, row.words
    below = " · ".join(filter(None, (one.model, one.device)))
    more = [element("span", below, class_="small")] if below else []
    more += [element("span", "not comparable", class_="badge")] if row.reason else []
    standing_class = "reason" if row.reason else ""
    kinds = (words.substitutions, words.deletions, words.insertions)
    return (
        element("th", named(one.name, index), *more, scope="row", title=str(one.result)),
        number(rate(words.rate, row.interval), words.rate, title=row.interval.method),
        element("td", row.letters),
        element("td", standing(row), class_=standing_class),
        number(rate(row.characters.rate, None), row.characters.rate),
        number(" / ".join(f"{kind:,}" for kind in kinds), words.errors),
        number(speed(one.rtfx), one.rtfx),
        number(count(one.parameters), one.parameters),
        number(size(one.memory), one.memory),
        number(size(one.size), one.size),
    )


def _plots(found: Comparison) -> Markup:
    drawn = [rates_plot(found), differences_plot(found), kinds_plot(found), speed_plot(found)]
    return join(
        element("h2", "At a glance"),
        element("div", *(one for one in drawn if one is not None), class_="plots"),
    )


def _pairs(found: Comparison) -> Markup:
    if not found.pairs:
        return join()
    headings = (
        "first",
        "second",
        "difference",
        "paired p",
        "MAPSSWE p",
        "detectable",
        "told apart",
    )
    rows = []
    for one in found.pairs:
        found_difference, segments = one.difference, one.segments
        rows.append(
            element(
                "tr",
                element("th", one.first, scope="row"),
                element("th", one.second, scope="row"),
                number(
                    difference(
                        found_difference.difference, found_difference.low, found_difference.high
                    ),
                    found_difference.difference,
                ),
                number(probability(one.p_difference), one.p_difference),
                number(
                    probability(one.p_segments),
                    one.p_segments,
                    title=f"{segments.segments:,} segments, z {segments.z:.2f}; {segments.warning}",
                ),
                number(f"{100 * found_difference.detectable:.2g}", found_difference.detectable),
                element("td", "yes" if one.differ else "no"),
            )
        )
    table = sortable(headings, rows, ("first", "second", "told apart"))
    lead = element(
        "p", "First minus second, in points, with intervals. Hover for segments.", class_="lead"
    )
    return join(element("h2", "Pairs"), lead, table)


def _slices(found: Comparison) -> Markup:
    kinds = list(dict.fromkeys(one.by for one in found.slices))
    if not kinds:
        return join()
    names = [row.system.name for row in found.comparable]
    plots, tables = [], []
    for by in kinds:
        chosen = [one for one in found.slices if one.by == by]
        plots.append(slices_plot(found, by, chosen))
        rows = [
            element(
                "tr",
                element("th", one.name, scope="row", data_value=place),
                number(f"{one.utterances:,}", one.utterances),
                number(f"{one.words:,}", one.words),
                *(number(slice_rate(one.rates[name]), one.rates[name].rate) for name in names),
            )
            for place, one in enumerate(chosen)
        ]
        tables.append(element("h3", f"By {by}"))
        tables.append(sortable((by, "utterances", "words", *names), rows, (by,)))
    details = element("details", element("summary", "Slices as tables"), *tables)
    who = (element("span", named(name, index)) for index, name in enumerate(names))
    lead = element("p", *who, class_="who")
    return join(element("h2", "Slices"), lead, element("div", *plots, class_="plots"), details)


def _utterances(found: Comparison) -> Markup:
    if not found.worst:
        return join()
    systems = [(f"system-{i}", row.system.name) for i, row in enumerate(found.comparable)]
    show = [("all", "all"), ("differ", "where systems differ"), ("audio", "with audio")]
    show += [(key, f"errors of {name}") for key, name in systems]
    order = [("errors", "most errors"), ("spread", "largest difference"), ("longest", "longest")]
    order += [(key, f"errors of {name}") for key, name in systems]
    tools = element(
        "div",
        element(
            "label",
            "find",
            element("input", id="find", type="search", placeholder="word, speaker or id"),
            class_="grow",
        ),
        element("label", "show", _choice("show", show)),
        element("label", "sort by", _choice("order", order)),
        element("output", id="count"),
        class_="tools",
    )
    cards = [_card(found, name) for name in found.worst]
    return join(
        element("h2", "Utterances with most errors"),
        legend(),
        tools,
        element("div", *cards, id="list"),
    )


def _choice(name: str, choices: Sequence[tuple[str, str]]) -> Markup:
    options = (element("option", shown, value=value) for value, shown in choices)
    return element("select", *options, id=name)


def _card(found: Comparison, name: str) -> Markup:
    base = found.match.base
    errors = [row.system.heard[name].words.errors for row in found.comparable]
    heading = [element("b", name), *(element("span", f, class_="small") for f in found.facts[name])]
    if address := found.audio.get(name):
        heading.append(_audio(address, name))
    reference = base.heard[name].reference_normalised
    lines = [element("dt", "said"), element("dd", reference, dir="auto")]
    for index, (row, wrong) in enumerate(zip(found.comparable, errors, strict=True)):
        heard = row.system.heard[name].hypothesis_normalised
        counted = element("small", f"{wrong} error{'' if wrong == 1 else 's'}")
        lines.append(element("dt", named(row.system.name, index), counted))
        shown = alignment(reference, heard, cast(Rule, base.rule))
        lines.append(element("dd", shown, dir="auto"))
    return element(
        "article",
        element("header", *heading),
        element("dl", *lines),
        data_errors=" ".join(map(str, errors)),
        data_duration=base.heard[name].duration,
    )


def _audio(address: str, name: str) -> Markup:
    return element(
        "audio", controls="", preload="metadata", src=address, aria_label=f"audio of {name}"
    )
