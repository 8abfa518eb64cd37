"""How a report of a data set is read by people."""

from collections.abc import Iterator

from asr_lab.data.checking.findings import BAD, NOTES, DataFinding, DataReport
from asr_lab.data.checking.rules import hertz

ALSO = 2
"""Utterances that are named beside the one that is shown."""
RARE, SHOWN_RARE = 0.0001, 8
"""Share of all characters below which one is rare, and how many of those are shown."""
WIDTH = max(map(len, (*BAD, *NOTES)))


def lines(report: DataReport, everything: bool = False) -> Iterator[str]:
    """Yield the lines of a report: what was checked, a line for each kind, the verdict.

    With `everything`, a line for each finding.
    """
    yield " · ".join(_header(report))
    yield f"{'ok':{WIDTH}} {report.utterances - len(report.bad):>9,}"
    counts = report.counts()
    for kind, meaning in BAD.items():
        if kind in counts:
            yield from _kind(report, kind, meaning, everything)
    if any(kind in counts for kind in NOTES):
        yield "notes, which leave an utterance as good as it was:"
    for kind, meaning in NOTES.items():
        if kind in counts:
            yield from _kind(report, kind, meaning, everything)
    yield f"text: {_characters(report)}"
    if report.not_checked:
        yield f"not checked: {', '.join(report.not_checked)}"


def _header(report: DataReport) -> Iterator[str]:
    yield report.dataset
    yield f"{report.utterances:,} {'utterance' if report.utterances == 1 else 'utterances'}"
    yield f"{report.hours:,.1f} h" if report.hours >= 1 else f"{60 * report.hours:,.1f} min"
    total = sum(report.sample_rates.values())
    for rate, count in report.sample_rates.items():
        yield hertz(rate) if count == total else f"{hertz(rate)} ({count:,})"
    names = {1: "mono", 2: "stereo"}
    for number, count in report.channels.items():
        name = names.get(number, f"{number} channels")
        yield name if count == total else f"{name} ({count:,})"


def _kind(report: DataReport, kind: str, meaning: str, everything: bool) -> Iterator[str]:
    found = report.of_kind(kind)
    start = f"{kind:{WIDTH}} {len(found):>9,}  "
    if everything:
        yield f"{start}{meaning}"
        yield from (f"{'':{WIDTH}} {'':9}  {told(one)}" for one in found)
        return
    also = ", ".join(one.id for one in found[1 : 1 + ALSO])
    more = ", …" if len(found) > 1 + ALSO else ""
    yield f"{start}{told(found[0])}{f'; also {also}{more}' if also else ''}"


def told(finding: DataFinding) -> str:
    """Return what is said of a finding, on one line."""
    return " ".join(f"{finding.id}: {finding.detail}".split())


def _characters(report: DataReport) -> str:
    total = sum(report.characters.values())
    ranked = sorted(report.characters.items(), key=lambda item: (item[1], item[0]))
    rare = [f"{character!r} ({count})" for character, count in ranked if count < RARE * total]
    more = f" and {len(rare) - SHOWN_RARE:,} more" if len(rare) > SHOWN_RARE else ""
    shown = f"; rare: {', '.join(rare[:SHOWN_RARE])}{more}" if rare else ""
    return f"{len(ranked):,} different characters{shown}"
