"""Corpora and leaderboards on the hub: what their columns mean, and what is in their names."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data.corpora import (
    CORPORA,
    LEADERBOARDS,
    LONG_FORM,
    MULTILINGUAL_LEADERBOARDS,
    Corpus,
    of_repository,
)
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.utterance import Utterance
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UserError

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

Put = Callable[[str, str, Sequence[Mapping[str, object]]], None]
COMMIT = "c0ffee"


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Return what puts a test set into the hub's cache, which is below the test's folder."""
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ASR_LAB_CACHE", str(tmp_path / "unpacked"))

    def write(repository: str, config: str, content: Sequence[Mapping[str, object]]) -> None:
        folder = tmp_path / "hf" / "hub" / f"datasets--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / "main").write_text(COMMIT)
        below = folder / "snapshots" / COMMIT / config
        below.mkdir(parents=True)
        table = pyarrow.Table.from_pylist(list(content))
        pyarrow.parquet.write_table(table, below / "test-00000-of-00001.parquet")

    return write


def sound(name: str | None = "x.flac") -> dict[str, object]:
    """Return three tenths of a second as parquet has them."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.linspace(0, 0.5, 4800), 16000, format="FLAC")
    return {"bytes": buffer.getvalue(), "path": name}


def row(text: str, *, column: str = "text", **others: object) -> dict[str, object]:
    return {"audio": sound(), column: text, **others}


def found(name: str) -> Sequence[Utterance]:
    return read_dataset(resolve(name, installed_plugins().registry, "test"))


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_every_corpus_is_read_from_its_repository_on_the_hub(put: Put, corpus: Corpus) -> None:
    columns = corpus.columns
    config = next(iter(corpus.hub), corpus.languages[0] if corpus.languages else "de")
    content = row("It 's good", column=columns.text, raw_text="WRONG", translation="WRONG")
    if columns.speaker:
        content[columns.speaker] = "anna" if corpus.speakers else "N/A"
    content.update(dict.fromkeys(columns.ids, "1089-1-0001"))
    speaker = content.get(columns.speaker, "N/A")
    put(corpus.repository, config, [content])
    (utterance,) = found(f"hf/{config}/test:{corpus.repository}")
    text = "It's good" if corpus.name.startswith("tedlium") else "It 's good"
    assert (utterance.text, utterance.id) == (text, "1089-1-0001")
    assert utterance.speaker == ("" if speaker == "N/A" else speaker)
    only = corpus.languages[0] if len(corpus.languages) == 1 else config
    assert utterance.language == {"german": "de", "de_en": "de"}.get(only, only)
    assert len(read_audio(utterance.audio, 16000)) == 4800


@pytest.mark.parametrize("repository", LEADERBOARDS)
def test_marks_of_a_corpus_are_understood_on_the_leaderboard_too(put: Put, repository: str) -> None:
    texts = {
        "gigaspeech": ("WELL <COMMA> YES <PERIOD>", "<MUSIC>"),
        "tedlium": ("so <unk> that 's it(2) {NOISE}", "ignore_time_segment_in_scoring"),
        "ami": ("Mm-hmm .", "<SIL>"),
        "earnings22": ("Uh, <crosstalk>, $5.", "<inaudible>."),
    }
    for config, both in texts.items():
        put(repository, config, [row(text, id=f"u{n}") for n, text in enumerate(both)])
    read = {each: [u.text for u in found(f"hf/{each}:{repository}")] for each in texts}
    assert read == {
        "gigaspeech": ["WELL, YES."],
        "tedlium": ["so that's it"],
        "ami": ["Mm-hmm .", "<SIL>"],
        "earnings22": ["Uh, $5."],
    }


@pytest.mark.parametrize("repository", MULTILINGUAL_LEADERBOARDS)
def test_the_multilingual_leaderboard_has_corpus_and_language_in_one_name(
    put: Put, repository: str
) -> None:
    put(repository, "mcv_de", [row("ja", id=0, file_name=f"f{n}.wav") for n in range(2)])
    first, second = found(f"hf/mcv_de/test:{repository}")
    assert (first.language, first.id, second.id) == ("de", "f0", "f1")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        (
            f"hf/ami/test:{LEADERBOARDS[0]}",
            f"{LEADERBOARDS[0]} --repo-type dataset --include 'ami/",
        ),
        (f"hf/ami:{LEADERBOARDS[0]}", f"{LEADERBOARDS[0]} --repo-type dataset --include 'ami/*'`"),
        (f"hf/test:{LEADERBOARDS[0]}", f"{LEADERBOARDS[0]} --repo-type dataset`"),
        ("hf/release3/test:LIUM/tedlium", "LIUM/tedlium --repo-type dataset`"),
    ],
)
def test_one_test_set_of_many_can_be_downloaded_alone(put: Put, name: str, command: str) -> None:
    with pytest.raises(UserError) as told:
        found(name)
    assert "is not in the hub's cache" in str(told.value)
    assert f"download it with `hf download {command}" in str(told.value)


def test_a_test_set_that_was_not_downloaded_is_told_with_what_to_do(put: Put) -> None:
    put(LEADERBOARDS[0], "ami", [row("yes", id="a")])
    assert found(f"hf/ami:{LEADERBOARDS[0]}")[0].text == "yes"
    message = r"no configuration or split .*'tedlium'.*; or download it with .* 'tedlium/\*'`"
    with pytest.raises(UserError, match=message) as told:
        found(f"hf/tedlium/test:{LEADERBOARDS[0]}")
    assert "\n" not in str(told.value)


def test_whole_calls_of_the_leaderboard_are_read_without_marks(put: Put) -> None:
    call = row("Good <inaudible>. Day", company_name="A", unique_speakers=2)
    put(LONG_FORM, "earnings21", [{**call, "audio": sound(None)}])
    (utterance,) = found(f"hf/earnings21/test:{LONG_FORM}")
    assert (utterance.text, utterance.language) == ("Good Day", "en")
    assert (utterance.id, utterance.speaker) == ("test-0000000", "")


def test_segments_that_are_numbered_within_their_call_are_named_by_both(put: Put) -> None:
    places = ((1, 0), (1, 1), (2, 0))
    content = [
        row("yes", column="transcription", file_id=call, segment_id=segment, start_ts=0.5)
        for call, segment in places
    ]
    put("distil-whisper/earnings22", "chunked", content)
    segments = found("hf/chunked/test:distil-whisper/earnings22")
    assert [each.id for each in segments] == ["1-0", "1-1", "2-0"]


@pytest.mark.parametrize(
    ("repository", "config", "corpus", "language"),
    [
        ("fixie-ai/covost2", "sv-SE_en", "covost2", "sv-SE"),
        ("fixie-ai/covost2", "en_zh-CN", "covost2", "en"),
        ("google/fleurs", "de_de", "fleurs", "de_de"),
        ("facebook/multilingual_librispeech", "polish", "mls", "pl"),
        ("bezzam/coraal", "ATL", "coraal", "en"),
        ("edinburghcstr/ami", "sdm", "ami", "en"),
        ("distil-whisper/tedlium-long-form", "default", "tedlium_long", "en"),
        ("someone/words", "de_en", "", "de_en"),
        ("someone/words", "Words", "", ""),
    ],
)
def test_repository_and_configuration_say_what_is_spoken(
    repository: str, config: str, corpus: str, language: str
) -> None:
    source = of_repository(repository, config)
    assert (source.corpus, source.language) == (corpus, language)
