"""What is known of every corpus that has a name here: one table, for readers, lists and docs."""

import re
from dataclasses import dataclass

from asr_lab.data.config import (
    AMI_CONFIGS,
    COMMON_VOICE_SPLITS,
    CORAAL_CONFIGS,
    COVOST_CONFIGS,
    FLEURS_CONFIGS,
    GIGASPEECH_SPLITS,
    LIBRISPEECH_SPLITS,
    MLS_FOLDERS,
    SPGISPEECH_SPLITS,
    SPLIT_TRIPLE,
    TEST_ONLY,
    VOXPOPULI_CONFIGS,
)

ENGLISH = ("en",)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of columns of a corpus on the hub; empty for what it does not have."""

    audio: str = "audio"
    text: str = "text"
    speaker: str = ""
    language: str = ""
    ids: tuple[str, ...] = ()
    """What may be an id, the best first; where none will do, all of them together."""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A corpus of the English or the multilingual leaderboards."""

    name: str
    """Name of the reader of its archive."""
    title: str
    archive: str
    """Layout of the original archive below the location."""
    repository: str
    """ORG/NAME on the hub."""
    columns: Columns
    licence: str
    languages: tuple[str, ...] = ENGLISH
    """Configurations of the reader, or the one language; empty where folders decide."""
    configs: tuple[str, ...] = ()
    """Configurations of the reader that are no languages."""
    splits: tuple[str, ...] = SPLIT_TRIPLE
    speakers: str = ""
    """Who a speaker label stands for; empty if speakers are not known."""
    skipped: str = ""
    """What the reader leaves out or rewrites."""
    hub: tuple[str, ...] = ()
    """Configurations on the hub, where they are no language tags."""


TEDLIUM_SKIPPED = (
    "`ignore_time_segment_in_scoring`; `<unk>`, `{NOISE}` and the like, numbers of "
    "pronunciations; `that 's` becomes `that's`"
)
EARNINGS_ARCHIVE = "media/*.mp3, transcripts/nlp_references/*.nlp"
EARNINGS_SKIPPED = "`<inaudible>` and the like"

CORPORA = (
    Corpus(
        name="fleurs",
        title="FLEURS",
        languages=FLEURS_CONFIGS,
        archive="[data/]LANGUAGE/SPLIT.tsv, LANGUAGE/audio/SPLIT.tar.gz",
        repository="google/fleurs",
        columns=Columns(text="transcription", ids=("path",)),
        licence="CC-BY-4.0",
        skipped="lines that name a file again",
    ),
    Corpus(
        name="librispeech",
        title="LibriSpeech",
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
        name="covost2",
        title="CoVoST 2, transcripts",
        languages=COVOST_CONFIGS,
        archive="covost_v2.LANGUAGE_TARGET.tsv, LANGUAGE/validated.tsv, LANGUAGE/clips/*.mp3",
        repository="fixie-ai/covost2",
        columns=Columns(text="sentence", speaker="client_id", ids=("id",)),
        licence="CC0-1.0",
        speakers="volunteer",
        hub=("de_en", "fr_en", "it_en", "…", "en_de"),
    ),
    Corpus(
        name="mls",
        title="Multilingual LibriSpeech",
        languages=tuple(MLS_FOLDERS),
        archive="mls_NAME[_opus]/SPLIT/transcripts.txt, audio/SPEAKER/BOOK/*.flac or *.opus",
        repository="facebook/multilingual_librispeech",
        columns=Columns(text="transcript", speaker="speaker_id", ids=("id",)),
        licence="CC-BY-4.0",
        speakers="reader",
        hub=tuple(MLS_FOLDERS.values()),
    ),
    Corpus(
        name="voxpopuli",
        title="VoxPopuli",
        languages=VOXPOPULI_CONFIGS,
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
        archive="[TEDLIUM_release-3/][legacy/]SPLIT/stm/*.stm, SPLIT/sph/*.sph",
        repository="LIUM/tedlium",
        columns=Columns(speaker="speaker_id", ids=("id",)),
        licence="CC-BY-NC-ND-3.0",
        speakers="talk",
        skipped=TEDLIUM_SKIPPED,
    ),
    Corpus(
        name="tedlium_long",
        title="TED-LIUM 3, whole talks",
        archive="as `tedlium`",
        repository="distil-whisper/tedlium-long-form",
        columns=Columns(speaker="speaker_id", ids=("speaker_id",)),
        licence="CC-BY-NC-ND-3.0",
        speakers="talk",
        skipped=TEDLIUM_SKIPPED,
        hub=("default",),
    ),
    Corpus(
        name="gigaspeech",
        title="GigaSpeech",
        splits=GIGASPEECH_SPLITS,
        archive="GigaSpeech.json, audio/SOURCE/…/*.opus",
        repository="speechcolab/gigaspeech",
        columns=Columns(speaker="speaker", ids=("segment_id",)),
        licence="Apache-2.0 (the audio is its owners')",
        skipped="utterances of `<SIL>`, `<MUSIC>`, `<NOISE>`, `<OTHER>`; `<COMMA>` and the like "
        "become punctuation",
        hub=("xs", "s", "m", "l", "xl", "dev", "test"),
    ),
    Corpus(
        name="spgispeech",
        title="SPGISpeech",
        splits=SPGISPEECH_SPLITS,
        archive="[spgispeech/]SPLIT.csv, SPLIT/CALL/*.wav",
        repository="kensho/spgispeech",
        columns=Columns(text="transcript", ids=("wav_filename",)),
        licence="Kensho's own, not commercial",
    ),
    Corpus(
        name="ami",
        title="AMI, cut into utterances",
        configs=AMI_CONFIGS,
        archive="[annotations/ or ami_public_manual_1.6.2/]words, segments, corpusResources; "
        "[amicorpus/ or wav_db/]MEETING/audio/*.wav",
        repository="edinburghcstr/ami",
        columns=Columns(speaker="speaker_id", ids=("audio_id",)),
        licence="CC-BY-4.0",
        speakers="participant",
        skipped="segments without words; `T_V_` becomes `T V`",
        hub=("ihm", "sdm"),
    ),
    Corpus(
        name="earnings21",
        title="Earnings-21, whole calls",
        splits=TEST_ONLY,
        archive=f"[earnings21/]{EARNINGS_ARCHIVE}, earnings21-file-metadata.csv",
        repository="distil-whisper/earnings21",
        columns=Columns(text="transcription", ids=("file_id",)),
        licence="CC-BY-SA-4.0",
        skipped=EARNINGS_SKIPPED,
        hub=("full",),
    ),
    Corpus(
        name="earnings22",
        title="Earnings-22, whole calls",
        splits=TEST_ONLY,
        archive=f"[earnings22/]{EARNINGS_ARCHIVE}, metadata.csv",
        repository="distil-whisper/earnings22",
        columns=Columns(text="transcription", ids=("file_id", "segment_id")),
        licence="CC-BY-SA-4.0",
        skipped=EARNINGS_SKIPPED,
        hub=("chunked", "full"),
    ),
    Corpus(
        name="coraal",
        title="CORAAL, whole interviews",
        configs=CORAAL_CONFIGS,
        splits=TEST_ONLY,
        archive="[COMPONENT/]…/COMPONENT_se*.wav, COMPONENT_se*.txt",
        repository="bezzam/coraal",
        columns=Columns(speaker="CORAAL.Spkr", ids=("file_id",)),
        licence="CC-BY-NC-SA-4.0",
        speakers="interviewed",
        skipped="pauses, `<laugh>` and the like, `(breathy)`, `/RD-NAME-1/`; brackets of speech "
        "that overlaps",
        hub=CORAAL_CONFIGS,
    ),
)
"""Every corpus, read speech first."""

LEADERBOARDS = ("hf-audio/open-asr-leaderboard", "hf-audio/esb-datasets-test-only-sorted")
"""The test sets of the English leaderboard; configurations are named as corpora are."""
LONG_FORM = "hf-audio/asr-leaderboard-longform"
"""Those of whole calls; configurations are named as corpora are."""
MULTILINGUAL_LEADERBOARDS = (
    "hf-audio/open-asr-leaderboard-multilingual-datasets",
    "nithinraok/asr-leaderboard-datasets",
)
"""Those of the multilingual one; a configuration is CORPUS_LANGUAGE, such as mcv_de."""
FOLDERED = (
    *LEADERBOARDS,
    LONG_FORM,
    *MULTILINGUAL_LEADERBOARDS,
    "bezzam/coraal",
    "distil-whisper/earnings22",
    "edinburghcstr/ami",
    "fixie-ai/covost2",
)
"""Repositories in which a configuration is a folder, so that it can be downloaded alone."""
TAG = re.compile(r"[a-z]{2,3}([_-]\w+)?")
"""What a configuration that names a language looks like."""
PAIR = re.compile(r"([a-z]{2}(?:-[A-Z]{2})?)_[a-z]{2}(?:-[A-Z]{2})?")
"""A configuration that names a language and another that it is translated to."""
LANGUAGE_CODES = {name: code for code, name in MLS_FOLDERS.items()}
"""Language tag by the name that configurations of MLS have on the hub."""


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
    if repository == LONG_FORM:
        return Source(corpus=config, columns=Columns(), language="en")
    if repository in MULTILINGUAL_LEADERBOARDS:
        name, _, language = config.partition("_")
        return Source(corpus=name, columns=Columns(), language=language)
    language = LANGUAGE_CODES.get(config, config if TAG.fullmatch(config) else "")
    found = next((corpus for corpus in CORPORA if corpus.repository == repository), None)
    if found is None:
        return Source(language=language)
    if found.languages == ENGLISH:
        language = "en"
    elif found.name == "covost2" and (pair := PAIR.fullmatch(config)):
        language = pair[1]
    return Source(corpus=found.name, columns=found.columns, language=language)
