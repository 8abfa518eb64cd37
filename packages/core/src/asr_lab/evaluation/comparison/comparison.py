"""Everything that is found out about several results, ready to be told."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from asr_lab.evaluation.comparison.matching import Match, match, remedy
from asr_lab.evaluation.comparison.options import CompareOptions
from asr_lab.evaluation.comparison.pairs import Pair, compare_pairs, letters
from asr_lab.evaluation.comparison.reading import System
from asr_lab.evaluation.comparison.slices import Slice, slices
from asr_lab.evaluation.comparison.sounds import contrasts, find_utterances, players
from asr_lab.evaluation.statistics import Interval, rate_interval
from asr_lab.utils.metrics import ErrorCounts, total


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    system: System
    words: ErrorCounts
    interval: Interval
    characters: ErrorCounts
    utterances: int
    reason: str = ""
    """Why the system cannot be compared with the others; empty if it can."""
    letters: str = ""
    """Comparable systems that share one are not told apart."""
    pair: Pair | None = None
    """The tests against the best system; None for that itself, and for what is not comparable."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Several results side by side."""

    match: Match
    rows: tuple[Row, ...]
    """Comparable systems from the best on, then the others."""
    pairs: tuple[Pair, ...]
    slices: tuple[Slice, ...]
    worst: tuple[str, ...]
    """Ids of utterances, those with most errors of all comparable systems together first."""
    audio: Mapping[str, str]
    """Addresses of audio, by id."""
    facts: Mapping[str, tuple[str, ...]]
    """What is known of the worst utterances besides their texts, by id."""
    notes: tuple[str, ...]
    """What a reader must know, a line each."""

    @property
    def comparable(self) -> tuple[Row, ...]:
        """The rows of systems that can be compared, best first."""
        return tuple(row for row in self.rows if not row.reason)

    @property
    def detectable(self) -> tuple[float, float]:
        """Least and largest difference to the best that this test set can show, over the systems.

        Infinity if there is no pair.
        """
        found = [row.pair.difference.detectable for row in self.rows if row.pair]
        return (min(found), max(found)) if found else (math.inf, math.inf)


def compare(systems: Sequence[System], options: CompareOptions) -> Comparison:
    """Compare results. Raises UserError where they have no utterance in common."""
    matched = match(systems)
    ids, comparable = matched.ids, matched.systems
    utterances, silent = find_utterances(options.dataset, comparable, ids)
    speakers = _known(
        {name: matched.base.heard[name].speaker for name in ids},
        {name: one.speaker for name, one in utterances.items()},
    )
    labels = [speakers[name] for name in ids]
    rows = [_row(one, ids, labels) for one in comparable]
    rows.sort(key=lambda row: (row.words.rate, row.system.name))
    ordered = [row.system for row in rows]
    pairs = compare_pairs(ordered, ids, labels if all(labels) else ()) if len(rows) > 1 else []
    contrast, unmeasured = contrasts(comparable, ids, utterances)
    languages = {name: one.language for name, one in utterances.items()}
    worst = _worst(comparable, ids)[: options.utterances]
    audio, unheard = players(worst[: options.players], utterances) if utterances else ({}, "")
    others = [one for one in systems if one.name in matched.reasons]
    return Comparison(
        match=matched,
        rows=(*_marked(rows, pairs), *(_other(one, matched) for one in others)),
        pairs=tuple(pairs),
        slices=tuple(slices(comparable, ids, languages, speakers, contrast)),
        worst=tuple(worst),
        audio=audio,
        facts={
            name: _facts(matched.base, name, speakers[name], languages, contrast) for name in worst
        },
        notes=tuple(filter(None, (*_notes(matched, others, rows), silent, unmeasured, unheard))),
    )


def _known(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    return {name: value or second.get(name, "") for name, value in first.items()}


def _row(system: System, ids: Sequence[str], speakers: Sequence[str]) -> Row:
    heard = [system.heard[name] for name in ids]
    words = [one.words for one in heard]
    return Row(
        system=system,
        words=total(words),
        interval=rate_interval(words, speakers),
        characters=total(one.characters for one in heard),
        utterances=len(heard),
    )


def _marked(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Row]:
    """Say of each row how it stands to the first, and which ones are not told apart."""
    names = [row.system.name for row in rows]
    marks = letters(names, pairs)
    of_best = {one.second: one for one in pairs if one.first == names[0]}
    return [
        replace(
            row, letters=marks[row.system.name] if pairs else "", pair=of_best.get(row.system.name)
        )
        for row in rows
    ]


def _other(system: System, matched: Match) -> Row:
    """Return the row of a system that is not comparable: its rate on all that it has heard."""
    speakers = [one.speaker for one in system.heard.values()]
    return replace(_row(system, list(system.heard), speakers), reason=matched.reasons[system.name])


def _worst(systems: Sequence[System], ids: Sequence[str]) -> list[str]:
    """Return ids by errors of all systems, then by how much systems differ, then by name."""
    errors = {name: [one.heard[name].words.errors for one in systems] for name in ids}
    return sorted(
        ids, key=lambda name: (-sum(errors[name]), min(errors[name]) - max(errors[name]), name)
    )


def _facts(
    base: System,
    name: str,
    speaker: str,
    languages: Mapping[str, str],
    contrast: Mapping[str, float],
) -> tuple[str, ...]:
    duration = base.heard[name].duration
    found = (
        f"{duration:.1f} s" if duration else "",
        f"speaker {speaker}" if speaker else "",
        languages.get(name, ""),
        f"{contrast[name]:.0f} dB" if name in contrast else "",
    )
    return tuple(filter(None, found))


def _notes(matched: Match, others: Sequence[System], rows: Sequence[Row]) -> list[str]:
    notes = [
        f"{one.name} is not comparable: {matched.reasons[one.name]} ({remedy(matched.base, one)})"
        for one in others
    ]
    if matched.left_out:
        notes.append(
            f"counted on the {len(matched.ids):,} utterances that all have;"
            f" {matched.left_out:,} more are left out"
        )
    if warning := rows[0].interval.warning:
        notes.append(warning)
    trained = [row.system.name for row in rows if row.system.while_training]
    if trained:
        notes.append(f"memory of {', '.join(trained)}: with what training needs; evaluate has less")
    return notes


def to_dict(found: Comparison) -> dict[str, object]:
    """Return the numbers as plain values, ready for JSON."""
    least, most = found.detectable
    return finite(
        {
            "utterances": len(found.match.ids),
            "normalizer": found.match.base.normalizer,
            "rule": found.match.base.rule,
            "systems": [_row_to_dict(row) for row in found.rows],
            "pairs": [one.to_dict() for one in found.pairs],
            "detectable": [least, most],
            "slices": [asdict(one) for one in found.slices],
            "worst": list(found.worst),
            "notes": list(found.notes),
        }
    )


def finite(value: dict[str, object]) -> dict[str, object]:
    """Return a copy in which numbers that JSON lacks are None."""

    def plain(one: object) -> object:
        if isinstance(one, dict):
            return {key: plain(item) for key, item in one.items()}
        if isinstance(one, list | tuple):
            return [plain(item) for item in one]
        return None if isinstance(one, float) and not math.isfinite(one) else one

    return {key: plain(item) for key, item in value.items()}


def _row_to_dict(row: Row) -> dict[str, object]:
    system = row.system
    return {
        "name": system.name,
        "result": str(system.result),
        "model": system.model,
        "dataset": system.dataset,
        "normalizer": system.normalizer,
        "rule": system.rule,
        "comparable": not row.reason,
        "reason": row.reason,
        "utterances": row.utterances,
        "word_error_rate": row.words.rate,
        "interval": asdict(row.interval),
        "character_error_rate": row.characters.rate,
        **asdict(row.words),
        "letters": row.letters,
        "p_vs_best": row.pair.p if row.pair else None,
        "rtfx": system.rtfx,
        "device": system.device,
        "parameters": system.parameters or None,
        "memory": system.memory or None,
        "size": system.size or None,
    }
