"""What is known of every corpus that has a name here: one table, for readers, lists and docs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from asr_lab.data.config import (
    COMMON_VOICE_SPLITS,
    FLEURS_CONFIGS,
    GIGASPEECH_SPLITS,
    LIBRISPEECH_SPLITS,
    MLS_FOLDERS,
    SPGISPEECH_SPLITS,
    SPLIT_TRIPLE,
    VOXPOPULI_CONFIGS,
)

ENGLISH = ("en",)
LANGUAGE_CODES = {name: code for code, name in MLS_FOLDERS.items()}
"""Language tag by the name that configurations of MLS have on the hub."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns of a corpus on the hub; empty for what it does not have."""

    audio: str = "audio"
    text: str = "text"
    speaker: str = ""
    language: str = ""
    ids: tuple[str, ...] = ()
    """What may be an id, the best first."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus of the English or the multilingual leaderboards."""

    name: str
    """Name of the reader of its archive, if it has one."""
    title: str
    languages: tuple[str, ...]
    """Configurations of the reader, or the one language; empty where folders decide."""
    splits: tuple[str, ...]
    archive: str
    """Layout of the original archive below the location; empty if it is read from the hub only."""
    repository: str
    """ORG/NAME on the hub."""
    columns: Columns
    licence: str
    speakers: str
    """Who a speaker label stands for; empty if speakers are not known."""
    skipped: str = ""
    """What the reader leaves out or rewrites."""
    hub: tuple[str, ...] = ()
    """Configurations on the hub, where they are no language tags."""


CORPORA = (
    Corpus(
        name="fleurs",
        title="FLEURS",
        languages=FLEURS_CONFIGS,
        splits=SPLIT_TRIPLE,
        archive="[data/]LANGUAGE/SPLIT.tsv, LANGUAGE/audio/SPLIT.tar.gz",
        repository="google/fleurs",
        columns=Columns(text="transcription", ids=("path",)),
        licence="CC-BY-4.0",
        speakers="",
        skipped="lines that name a file again",
    ),
    Corpus(
        name="librispeech",
        title="LibriSpeech",
        languages=ENGLISH,
        splits=LIBRISPEECH_SPLITS,
        archive="[LibriSpeech/]SPLIT/SPEAKER/CHAPTER/*.flac, *.trans.txt",
        repository="openslr/librispeech_asr",
        columns=Columns(speaker="speaker_id", ids=("id",)),
        licence="CC-BY-4.0",
        speakers="reader",
        hub=("clean", "other", "all"),
    ),
    Corpus(
        name="common_voice",
        title="Common Voice",
        languages=(),
        splits=COMMON_VOICE_SPLITS,
        archive="LANGUAGE/SPLIT.tsv, LANGUAGE/clips/*.mp3",
        repository="mozilla-foundation/common_voice_17_0",
        columns=Columns(text="sentence", speaker="client_id", language="locale", ids=("path",)),
        licence="CC0-1.0",
        speakers="volunteer",
    ),
    Corpus(
        name="mls",
        title="Multilingual LibriSpeech",
        languages=tuple(MLS_FOLDERS),
        splits=SPLIT_TRIPLE,
        archive="mls_NAME[_opus]/SPLIT/transcripts.txt, audio/SPEAKER/BOOK/*.flac or *.opus",
        repository="facebook/multilingual_librispeech",
        columns=Columns(text="transcript", speaker="speaker_id", ids=("id",)),
        licence="CC-BY-4.0",
        speakers="reader",
        hub=tuple(LANGUAGE_CODES),
    ),
    Corpus(
        name="voxpopuli",
        title="VoxPopuli",
        languages=VOXPOPULI_CONFIGS,
        splits=SPLIT_TRIPLE,
        archive="[transcribed_data/]LANGUAGE/asr_SPLIT.tsv, LANGUAGE/YEAR/*.ogg",
        repository="facebook/voxpopuli",
        columns=Columns(text="normalized_text", speaker="speaker_id", ids=("audio_id",)),
        licence="CC0-1.0",
        speakers="member of parliament",
        skipped="utterances whose normalised text is empty",
    ),
    Corpus(
        name="tedlium",
        title="TED-LIUM 3",
        languages=ENGLISH,
        splits=SPLIT_TRIPLE,
        archive="[TEDLIUM_release-3/][legacy/]SPLIT/stm/*.stm, SPLIT/sph/*.sph",
        repository="LIUM/tedlium",
        columns=Columns(speaker="speaker_id", ids=("id",)),
        licence="CC-BY-NC-ND-3.0",
        speakers="talk",
        skipped="`ignore_time_segment_in_scoring`; `<unk>`, `{NOISE}` and the like, numbers of "
        "pronunciations; `that 's` becomes `that's`",
    ),
    Corpus(
        name="gigaspeech",
        title="GigaSpeech",
        languages=ENGLISH,
        splits=GIGASPEECH_SPLITS,
        archive="GigaSpeech.json, audio/SOURCE/…/*.opus",
        repository="speechcolab/gigaspeech",
        columns=Columns(speaker="speaker", ids=("segment_id",)),
        licence="Apache-2.0 (the audio is its owners')",
        speakers="",
        skipped="utterances of `<SIL>`, `<MUSIC>`, `<NOISE>`, `<OTHER>`; `<COMMA>` and the like "
        "become punctuation",
        hub=("xs", "s", "m", "l", "xl", "dev", "test"),
    ),
    Corpus(
        name="spgispeech",
        title="SPGISpeech",
        languages=ENGLISH,
        splits=SPGISPEECH_SPLITS,
        archive="[spgispeech/]SPLIT.csv, SPLIT/CALL/*.wav",
        repository="kensho/spgispeech",
        columns=Columns(text="transcript", ids=("wav_filename",)),
        licence="Kensho's own, not commercial",
        speakers="",
    ),
    Corpus(
        name="ami",
        title="AMI, cut into utterances",
        languages=ENGLISH,
        splits=("train", "validation", "test"),
        archive="",
        repository="edinburghcstr/ami",
        columns=Columns(speaker="speaker_id", ids=("audio_id",)),
        licence="CC-BY-4.0",
        speakers="participant",
        hub=("ihm", "sdm"),
    ),
    Corpus(
        name="earnings22",
        title="Earnings-22",
        languages=ENGLISH,
        splits=("test",),
        archive="",
        repository="distil-whisper/earnings22",
        columns=Columns(text="transcription", ids=("segment_id", "file_id")),
        licence="CC-BY-SA-4.0",
        speakers="",
        hub=("chunked", "full"),
    ),
)
"""Every corpus, those with a reader of their archive first."""

LEADERBOARDS = ("hf-audio/esb-datasets-test-only-sorted", "hf-audio/open-asr-leaderboard")
"""The test sets of the English leaderboard; configurations are named as corpora are."""
MULTILINGUAL_LEADERBOARD = "nithinraok/asr-leaderboard-datasets"
"""The test sets of the multilingual one; a configuration is CORPUS_LANGUAGE, such as mcv_de."""
TAG = re.compile(r"[a-z]{2,3}([_-]\w+)?")
"""What a configuration that names a language looks like."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of a configuration of a repository on the hub."""

    corpus: str = ""
    """Name of the corpus; empty if it is none of ours."""
    columns: Columns | None = None
    language: str = ""


def of_repository(repository: str, config: str) -> Source:
    """Return what is known of a repository ORG/NAME and one of its configurations."""
    if repository in LEADERBOARDS:
        return Source(corpus=config, columns=Columns(ids=("id",)), language="en")
    if repository == MULTILINGUAL_LEADERBOARD:
        name, _, language = config.partition("_")
        return Source(corpus=name, columns=Columns(), language=language)
    language = LANGUAGE_CODES.get(config, config if TAG.fullmatch(config) else "")
    found = next((corpus for corpus in CORPORA if corpus.repository == repository), None)
    if found is None:
        return Source(language=language)
    only = found.languages[0] if len(found.languages) == 1 else language
    return Source(corpus=found.name, columns=found.columns, language=only)


HEADER = (
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


def table() -> str:
    """Return all corpora as the table of the documentation."""
    lines = [HEADER, ["---"] * len(HEADER), *map(_cells, CORPORA)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(corpus: Corpus) -> Sequence[str]:
    languages, columns = corpus.languages, corpus.columns
    named = (columns.audio, columns.text, columns.speaker, columns.ids[0])
    return (
        f"`{corpus.name}`" if corpus.archive else "`hf`",
        corpus.title,
        " ".join(languages) if 0 < len(languages) < 20 else f"{len(languages) or 'folders'}",
        " ".join(corpus.splits),
        f"`{corpus.archive}`" if corpus.archive else "-",
        f"`{corpus.repository}`" + (f" ({', '.join(corpus.hub)})" if corpus.hub else ""),
        ", ".join(f"`{name}`" if name else "-" for name in named),
        corpus.licence,
        corpus.speakers or "not known",
        corpus.skipped or "-",
    )
