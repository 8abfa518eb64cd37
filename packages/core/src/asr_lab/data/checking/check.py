"""Check a data set: decode everything once, then look at utterances one by one and together."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from asr_lab.data.checking.facts import audio_facts, crashed, text_key
from asr_lab.data.checking.findings import DataFinding, DataReport
from asr_lab.data.checking.processes import in_order
from asr_lab.data.checking.rules import Demands, hertz, problems
from asr_lab.data.checking.table import Table, outliers, repeated, shared
from asr_lab.data.utterance import Utterance

UNUSUAL = 6.0
"""Deviations from the usual speaking rate that are worth a note."""
LEAK_LETTERS = 20
"""Letters from which on the same text in two data sets is no chance."""

Utterances = Sequence[Utterance]


def check_data(
    dataset: str,
    utterances: Utterances,
    demands: Demands | None = None,
    *,
    against: Mapping[str, Utterances] | None = None,
    workers: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> DataReport:
    """Return what is wrong with `utterances`, in whatever number of processes it is found.

    `against` are data sets that they may have nothing in common with; of these only what is needed
    to compare is looked at. `progress` is called after each utterance of any of them.
    """
    demands = demands or Demands()
    others = against or {}
    checked = _Checked(utterances, demands)
    checked.measure(workers, progress)
    found = [*checked.findings, *_together(utterances, checked.table)]
    for name, them in others.items():
        other = _Checked(them, None)
        other.measure(workers, progress)
        found += _leaks(utterances, checked.table, name, them, other.table)
    return DataReport(
        dataset=dataset,
        utterances=len(utterances),
        hours=checked.seconds / 3600,
        sample_rates=dict(sorted(checked.sample_rates.items())),
        channels=dict(sorted(checked.channels.items())),
        characters=dict(sorted(checked.characters.items())),
        against=tuple(others),
        not_checked=tuple(_not_checked(demands, bool(others))),
        findings=tuple(sorted(found)),
    )


def _not_checked(demands: Demands, compared: bool) -> Iterator[str]:
    if demands.tokenizer is None:
        yield "characters (--checkpoint, --model or --tokenizer)"
    if demands.steps is None:
        yield "steps for CTC (--checkpoint or --model)"
    if not compared:
        yield "leaks (--against)"


class _Checked:
    """Measures a data set, and with demands judges its utterances one by one."""

    def __init__(self, utterances: Utterances, demands: Demands | None) -> None:
        self.utterances, self.demands = utterances, demands
        self.table = Table(len(utterances))
        self.findings: list[DataFinding] = []
        self.seconds = 0.0
        self.sample_rates: Counter[int] = Counter()
        self.channels: Counter[int] = Counter()
        self.characters: Counter[str] = Counter()

    def measure(self, workers: int, progress: Callable[[], None]) -> None:
        sources = (utterance.audio for utterance in self.utterances)
        measured = in_order(audio_facts, sources, workers, crashed)
        for position, (utterance, facts) in enumerate(zip(self.utterances, measured, strict=True)):
            self.table.put(position, facts, utterance.text, text_key(utterance.text))
            if not facts.problem:
                self.sample_rates[facts.sample_rate] += 1
                self.channels[facts.channels] += 1
                self.seconds += facts.seconds
            if self.demands is not None:
                self.characters.update(utterance.text)
                self.findings += (
                    DataFinding(position=position, kind=kind, id=utterance.id, detail=detail)
                    for kind, detail in problems(utterance, facts, self.demands)
                )
            progress()


def _together(utterances: Utterances, table: Table) -> Iterator[DataFinding]:
    """Yield what shows only beside the other utterances of the data set."""

    def finding(position: int, kind: str, detail: str) -> DataFinding:
        return DataFinding(position=position, kind=kind, id=utterances[position].id, detail=detail)

    for position, first in repeated(table.audio):
        same = bool((table.text[position] == table.text[first]).all())
        kind, text = ("duplicate", "audio and text") if same else ("conflict", "audio")
        more = "" if same else f", which has the text {_quoted(utterances[first].text)}"
        yield finding(position, kind, f"the {text} of {utterances[first].id!r}{more}")
    known = table.sample_rates[table.sample_rates > 0]
    if len(known):
        values, counts = np.unique(known, return_counts=True)
        usual = int(values[counts.argmax()])
        others = (table.sample_rates > 0) & (table.sample_rates != usual)
        for position in np.flatnonzero(others).tolist():
            rate = int(table.sample_rates[position])
            detail = f"{hertz(rate)}, and most have {hertz(usual)}"
            yield finding(position, "sampling", detail)
    rates = table.rates
    for group in _groups(utterances, table):
        for place in np.flatnonzero(outliers(rates[group], UNUSUAL)):
            position, usual_rate = (
                int(group[place]),
                float(np.median(rates[group][rates[group] > 0])),
            )
            detail = f"{rates[position]:.1f} letters a second of sound; usual are {usual_rate:.1f}"
            yield finding(position, "unusual", detail)


def _groups(utterances: Utterances, table: Table) -> Iterator[np.ndarray]:
    """Yield the positions of each language and kind of script, which have rates of their own."""
    names = [utterance.language for utterance in utterances]
    for name in sorted(set(names)):
        here = np.asarray([language == name for language in names])
        for dense in (False, True):
            yield np.flatnonzero(here & (table.dense == dense))


def _leaks(
    utterances: Utterances, table: Table, name: str, them: Utterances, other: Table
) -> Iterator[DataFinding]:
    """Yield what a data set has in common with the one called `name`; speakers once each."""
    audio = dict(shared(table.audio, other.audio))
    for position, place in audio.items():
        detail = f"the audio of {them[place].id!r} in {name}"
        yield DataFinding(position=position, kind="leak", id=utterances[position].id, detail=detail)
    for position, place in shared(table.text, other.text):
        if position in audio:
            continue
        kind = "leak" if table.spoken[position] >= LEAK_LETTERS else "short text"
        detail = f"the text of {them[place].id!r} in {name}: {_quoted(them[place].text)}"
        yield DataFinding(position=position, kind=kind, id=utterances[position].id, detail=detail)
    speakers = {utterance.speaker for utterance in them} - {""}
    first: dict[str, int] = {}
    for position, utterance in enumerate(utterances):
        if utterance.speaker in speakers:
            first.setdefault(utterance.speaker, position)
    for speaker, position in first.items():
        yield DataFinding(
            position=position, kind="speaker", id=speaker, detail=f"speaks in {name} too"
        )


def _quoted(text: str) -> str:
    """Return the start of a text in quotation marks."""
    return repr(text if len(text) <= 40 else f"{text[:39]}…")
