"""The corpora of the public leaderboards: layouts, hub repositories, columns; data only."""

from dataclasses import dataclass

from asr_lab.data.config import FLEURS_CONFIGS, MLS_FOLDERS, VOXPOPULI_CONFIGS
from asr_lab.data.spoken_text import GIGASPEECH_GARBAGE, GIGASPEECH_MARKS, TEDLIUM_IGNORED


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What the columns of a parquet file are called; empty where there is none."""

    audio: str = "audio"
    text: str = "text"
    speaker: str = ""
    language: str = ""
    ids: tuple[str, ...] = ("id",)
    """What may be the id, the best first."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """One named corpus."""

    name: str
    languages: tuple[str, ...]
    """Language tags; a corpus of one language gives it to every utterance."""
    splits: tuple[str, ...]
    """Splits as the hub repository calls them."""
    repositories: tuple[str, ...]
    """Where it is on the hub."""
    columns: Columns
    licence: str
    archive: str = ""
    """Registered data set that reads the original archive; empty where only parquet is read."""
    skipped: tuple[str, ...] = ()
    """Texts that mark what is no speech to be recognised; such utterances are left out."""
    marks: tuple[tuple[str, str], ...] = ()
    """Tags in the text, and what they stand for."""


ENGLISH = ("en",)
SPLITS = ("train", "validation", "test")
LANGUAGE_CODES = {name: language for language, name in MLS_FOLDERS.items()}
"""Configurations of Multilingual LibriSpeech on the hub, and their language tags."""
GARBAGE = tuple(sorted(GIGASPEECH_GARBAGE))
MARKS = tuple(GIGASPEECH_MARKS.items())

CORPORA = (
    Corpus(
        name="AMI",
        languages=ENGLISH,
        splits=SPLITS,
        repositories=("edinburghcstr/ami",),
        columns=Columns(speaker="speaker_id", ids=("audio_id",)),
        licence="CC BY 4.0",
    ),
    Corpus(
        name="Common Voice",
        languages=(),
        splits=SPLITS,
        repositories=("mozilla-foundation/common_voice_17_0",),
        columns=Columns(text="sentence", speaker="client_id", language="locale", ids=("path",)),
        licence="CC0",
        archive="common_voice",
    ),
    Corpus(
        name="Earnings22",
        languages=ENGLISH,
        splits=("test",),
        repositories=("distil-whisper/earnings22",),
        columns=Columns(text="transcription", ids=("segment_id", "file_id")),
        licence="CC BY-SA 4.0",
    ),
    Corpus(
        name="English leaderboard (all its sets)",
        languages=ENGLISH,
        splits=("test", "test.clean", "test.other"),
        repositories=("hf-audio/esb-datasets-test-only-sorted", "hf-audio/open-asr-leaderboard"),
        columns=Columns(ids=("id",)),
        licence="each set its own",
        skipped=(*TEDLIUM_IGNORED, *GARBAGE),
        marks=MARKS,
    ),
    Corpus(
        name="FLEURS",
        languages=FLEURS_CONFIGS,
        splits=SPLITS,
        repositories=("google/fleurs",),
        columns=Columns(text="transcription", ids=("path", "id")),
        licence="CC BY 4.0",
        archive="fleurs",
    ),
    Corpus(
        name="GigaSpeech",
        languages=ENGLISH,
        splits=SPLITS,
        repositories=("speechcolab/gigaspeech",),
        columns=Columns(speaker="speaker", ids=("segment_id",)),
        licence="Apache 2.0 for the texts; the audio has its owners' terms",
        archive="gigaspeech",
        skipped=GARBAGE,
        marks=MARKS,
    ),
    Corpus(
        name="LibriSpeech",
        languages=ENGLISH,
        splits=("train.100", "train.360", "validation", "test"),
        repositories=("openslr/librispeech_asr",),
        columns=Columns(speaker="speaker_id", ids=("id",)),
        licence="CC BY 4.0",
        archive="librispeech",
    ),
    Corpus(
        name="Multilingual LibriSpeech",
        languages=tuple(MLS_FOLDERS),
        splits=("train", "dev", "test"),
        repositories=("facebook/multilingual_librispeech",),
        columns=Columns(text="transcript", speaker="speaker_id", ids=("id",)),
        licence="CC BY 4.0",
        archive="mls",
    ),
    Corpus(
        name="SPGISpeech",
        languages=ENGLISH,
        splits=SPLITS,
        repositories=("kensho/spgispeech",),
        columns=Columns(text="transcript", ids=("wav_filename",)),
        licence="Kensho's own, not commercial",
        archive="spgispeech",
    ),
    Corpus(
        name="TED-LIUM",
        languages=ENGLISH,
        splits=SPLITS,
        repositories=("LIUM/tedlium",),
        columns=Columns(speaker="speaker_id", ids=("id",)),
        licence="CC BY-NC-ND 3.0",
        archive="tedlium",
        skipped=TEDLIUM_IGNORED,
    ),
    Corpus(
        name="VoxPopuli",
        languages=VOXPOPULI_CONFIGS,
        splits=SPLITS,
        repositories=("facebook/voxpopuli",),
        columns=Columns(text="normalized_text", speaker="speaker_id", ids=("audio_id",)),
        licence="CC0",
        archive="voxpopuli",
    ),
)


def of_repository(name: str) -> Corpus | None:
    """Return the corpus that a hub repository ORG/NAME holds, or None."""
    return next((corpus for corpus in CORPORA if name in corpus.repositories), None)


def table() -> str:
    """Return all corpora as the table of the documentation."""
    head = "| corpus | languages | hub | splits | text, speaker | archive | skipped | licence |"
    return "\n".join([head, "|" + "---|" * 8, *map(_row, CORPORA)])


def _row(corpus: Corpus) -> str:
    count = len(corpus.languages)
    languages = " ".join(corpus.languages) if 0 < count < 20 else f"{count or 'many'}"
    columns = f"`{corpus.columns.text}`, " + (
        f"`{corpus.columns.speaker}`" if corpus.columns.speaker else "unknown"
    )
    cells = (
        corpus.name,
        languages,
        " ".join(f"`{name}`" for name in corpus.repositories),
        " ".join(corpus.splits),
        columns,
        f"`{corpus.archive}`" if corpus.archive else "-",
        " ".join(f"`{text}`" for text in corpus.skipped) or "-",
        corpus.licence,
    )
    return f"| {' | '.join(cells)} |"
