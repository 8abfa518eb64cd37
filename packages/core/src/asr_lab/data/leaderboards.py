"""Test sets of the leaderboards, and how each is named here; the tables of the documentation."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asr_lab.data.config import CORAAL_CONFIGS
from asr_lab.data.corpora import (
    CORPORA,
    LEADERBOARDS,
    LONG_FORM,
    MULTILINGUAL_LEADERBOARDS,
    Corpus,
)

SHORT, LONG, MULTILINGUAL = "English", "English, long", "multilingual"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A test set of a leaderboard, in one language or several."""

    board: str
    title: str
    hub: tuple[str, ...]
    """Names of its parquet files, one for each language or part; empty if there are none."""
    archive: tuple[str, ...] = ()
    """Names in the original archive, without the location; empty if it was cut otherwise."""


def _english(title: str, hub: str, *archive: str) -> Entry:
    return Entry(board=SHORT, title=title, hub=(f"hf/{hub}:{LEADERBOARDS[0]}",), archive=archive)


def _languages(title: str, prefix: str, form: str, configs: Sequence[str]) -> Entry:
    """Return an entry of several languages; `form` has a place for a configuration."""
    tags = [config[:2] for config in configs]
    return Entry(
        board=MULTILINGUAL,
        title=f"{title} ({', '.join(tags)})",
        hub=tuple(f"hf/{prefix}_{tag}/test:{MULTILINGUAL_LEADERBOARDS[0]}" for tag in tags),
        archive=tuple(form.format(config) for config in configs),
    )


BOARDS = (
    _english("LibriSpeech, clean", "librispeech/test.clean", "librispeech/test-clean"),
    _english("LibriSpeech, other", "librispeech/test.other", "librispeech/test-other"),
    _english("GigaSpeech", "gigaspeech/test", "gigaspeech/test"),
    _english("SPGISpeech", "spgispeech/test", "spgispeech/test"),
    _english("TED-LIUM 3", "tedlium/test", "tedlium/test"),
    _english("VoxPopuli", "voxpopuli/test", "voxpopuli/en/test"),
    _english("AMI, headsets", "ami/test", "ami/ihm/test"),
    _english("Earnings-22, cut at punctuation", "earnings22/test"),
    Entry(
        board=SHORT,
        title="Common Voice, in the older collection",
        hub=(f"hf/common_voice/test:{LEADERBOARDS[1]}",),
        archive=("common_voice/en/test",),
    ),
    Entry(
        board=LONG,
        title="Earnings-21",
        hub=(f"hf/earnings21/test:{LONG_FORM}",),
        archive=("earnings21/test",),
    ),
    Entry(
        board=LONG,
        title="Earnings-22",
        hub=(f"hf/earnings22/test:{LONG_FORM}",),
        archive=("earnings22/test",),
    ),
    Entry(
        board=LONG,
        title="TED-LIUM 3",
        hub=("hf/default/test:distil-whisper/tedlium-long-form",),
        archive=("tedlium_long/test",),
    ),
    Entry(
        board=LONG,
        title="CORAAL",
        hub=tuple(f"hf/{part}/test:bezzam/coraal" for part in CORAAL_CONFIGS),
        archive=tuple(f"coraal/{part}/test" for part in CORAAL_CONFIGS),
    ),
    _languages(
        "FLEURS", "fleurs", "fleurs/{}/test", "de_de fr_fr it_it es_419 pt_br nl_nl".split()
    ),
    _languages("Common Voice", "mcv", "common_voice/{}/test", "de fr it es nl".split()),
    _languages("MLS", "mls", "mls/{}/test", "fr it es pt nl".split()),
    Entry(
        board=MULTILINGUAL,
        title="CoVoST 2, often reported beside these (de, fr, it, es, pt)",
        hub=tuple(f"hf/{tag}_en/test:fixie-ai/covost2" for tag in "de fr it es pt".split()),
        archive=tuple(f"covost2/{tag}/test" for tag in "de fr it es pt".split()),
    ),
)
"""Every test set of the Open ASR Leaderboard that is public (July 2026)."""

CORPUS_HEADER = (
    "name",
    "corpus",
    "languages",
    "splits",
    "archive",
    "on the hub",
    "columns: audio, text, speaker, id",
    "licence",
    "speakers",
    "left out or rewritten",
)
BOARD_HEADER = ("leaderboard", "test set", "parquet of the hub", "original archive")


def corpus_table() -> str:
    """Return all corpora as the table of the documentation."""
    return _table(CORPUS_HEADER, map(_corpus_cells, CORPORA))


def board_table() -> str:
    """Return all test sets as the table of the documentation."""
    return _table(
        BOARD_HEADER,
        (
            (
                entry.board,
                entry.title,
                _together(entry.hub),
                _together([f"{name}:ROOT" for name in entry.archive]),
            )
            for entry in BOARDS
        ),
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _together(names: Sequence[str]) -> str:
    """Return names as a shell would expand them, `a/{x,y}/b`; a dash for none."""
    if len(names) < 2:
        return f"`{names[0]}`" if names else "-"
    head = os.path.commonprefix(names)
    tail = os.path.commonprefix([name[len(head) :][::-1] for name in names])[::-1]
    inside = ",".join(name[len(head) : len(name) - len(tail)] for name in names)
    return f"`{head}{{{inside}}}{tail}`"


def _corpus_cells(corpus: Corpus) -> Sequence[str]:
    languages, columns = corpus.languages, corpus.columns
    named = (columns.audio, columns.text, columns.speaker, "-".join(columns.ids))
    few = " ".join(languages) if 0 < len(languages) < 20 else f"{len(languages) or 'folders'}"
    return (
        f"`{corpus.name}`",
        corpus.title,
        f"{few}: {' '.join(corpus.configs)}" if corpus.configs else few,
        " ".join(corpus.splits),
        corpus.archive if "`" in corpus.archive else f"`{corpus.archive}`",
        f"`{corpus.repository}`" + (f" ({', '.join(corpus.hub)})" if corpus.hub else ""),
        ", ".join(f"`{name}`" if name else "-" for name in named),
        corpus.licence,
        corpus.speakers or "not known",
        corpus.skipped or "-",
    )
