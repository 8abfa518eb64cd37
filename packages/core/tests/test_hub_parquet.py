"""Parquet of the hub: on disk it is read offline, and where it is not, one line says what to do."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data.corpora import CORPORA, Corpus
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.utterance import Utterance
from asr_lab.plugins import Registry
from asr_lab.plugins.builtin import asr_lab_register
from asr_lab.utils.errors import UnknownNameError, UserError

RATE = 16000


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("ASR_LAB_CACHE", str(tmp_path / "unpacked"))


def encoded(seconds: float = 0.25, kind: str = "FLAC") -> bytes:
    stream = io.BytesIO()
    samples = np.sin(np.arange(round(seconds * RATE)) * 0.05) * 0.3
    soundfile.write(stream, samples, RATE, format=kind)
    return stream.getvalue()


def write(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=2)
    return path


def row(corpus: Corpus | None = None, number: int = 0, **more: object) -> dict[str, object]:
    """Return a row with the columns of `corpus`."""
    audio = {"bytes": encoded(), "path": f"{number}.flac"}
    if corpus is None:
        return {"audio": audio, "text": "some words", "id": f"u{number}", **more}
    columns = corpus.columns
    fields: dict[str, object] = {columns.audio: audio, columns.text: f"words {number}"}
    fields |= {name: f"{name}-{number}" for name in columns.ids}
    fields |= {columns.speaker: f"s{number}"} if columns.speaker else {}
    return fields | ({columns.language: "de"} if columns.language else {}) | more


def snapshot(folder: Path, repository: str) -> Path:
    """Return a snapshot of the hub's cache, laid out as its client does."""
    base = folder / "hub" / f"datasets--{repository.replace('/', '--')}"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text("abc123")
    return base / "snapshots" / "abc123"


def read(name: str, language: str = "") -> list[Utterance]:
    registry = Registry()
    with registry.registering("core"):
        asr_lab_register(registry)
    return read_dataset(resolve(name, registry, "test", language))


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_every_corpus_is_read_from_the_cache_by_its_own_columns(
    corpus: Corpus, tmp_path: Path
) -> None:
    repository = corpus.repositories[0]
    folder = snapshot(tmp_path, repository)
    write(folder / "one" / "test-00000-of-00001.parquet", [row(corpus, n) for n in range(3)])
    found = read(f"hf/one/test:{repository}")
    assert [utterance.text for utterance in found] == ["words 0", "words 1", "words 2"]
    speakers = ["s0", "s1", "s2"] if corpus.columns.speaker else ["", "", ""]
    assert [utterance.speaker for utterance in found] == speakers
    assert found[1].id == f"{corpus.columns.ids[0]}-1"
    assert [utterance.duration for utterance in found] == [0.25] * 3
    if corpus.columns.language:
        assert found[0].language == "de"


@pytest.mark.parametrize("kind", ["FLAC", "WAV", "OGG", "MP3"])
def test_audio_comes_out_as_the_row_holds_it(kind: str, tmp_path: Path) -> None:
    content = encoded(0.5, kind)
    rows = [row(), row(number=1, audio={"bytes": content, "path": None})]
    write(tmp_path / "data" / "test.parquet", rows)
    plain = tmp_path / "plain"
    plain.write_bytes(content)
    utterance = read(f"hf:{tmp_path / 'data'}")[1]
    expected, _ = soundfile.read(plain, dtype="int16")
    found = read_audio(utterance.audio, RATE)
    assert len(found) == len(expected)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1  # compressed: rounding


def test_audio_that_is_damaged_is_left_to_the_policy_for_bad_utterances(tmp_path: Path) -> None:
    rows = [row(number=n) for n in range(50)]
    rows[7]["audio"] = {"bytes": b"no audio", "path": "7.flac"}
    rows[8]["audio"] = {"bytes": None, "path": "8.flac"}
    write(tmp_path / "test.parquet", rows)
    found = read(f"hf:{tmp_path}")
    assert len(found) == 50
    assert [n for n, utterance in enumerate(found) if utterance.duration == 0] == [7, 8]


def test_segments_that_are_not_scored_are_left_out_and_tags_are_punctuation(
    tmp_path: Path,
) -> None:
    folder = snapshot(tmp_path, "speechcolab/gigaspeech")
    texts = ["YES <COMMA> NO <PERIOD>", "<MUSIC>", "<SIL>"]
    rows = [
        {"audio": {"bytes": encoded(), "path": ""}, "text": text, "segment_id": text, "speaker": x}
        for text, x in zip(texts, ["N/A", "a", "b"], strict=True)
    ]
    write(folder / "xs" / "test-00000-of-00001.parquet", rows)
    (only,) = read("hf/xs:speechcolab/gigaspeech")
    assert (only.text, only.speaker) == ("YES, NO.", "")


def test_unpacked_audio_is_used_again_until_the_file_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "data" / "test.parquet", [row()])
    first = read(f"hf:{path.parent}")
    assert read(f"hf:{path.parent}") == first
    write(path, [row(), row(number=1)])
    assert len(read(f"hf:{path.parent}")) == 2


def test_what_is_not_in_the_cache_is_named_with_the_command_to_get_it() -> None:
    with pytest.raises(UserError, match="hf download google/fleurs --repo-type dataset") as said:
        read("hf:google/fleurs")
    assert "\n" not in str(said.value)


def test_a_wrong_split_or_configuration_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "english" / "test-00000-of-00001.parquet", [row()])
    with pytest.raises(UnknownNameError, match="english"):
        read(f"hf/englsh/test:{tmp_path}")
    with pytest.raises(UnknownNameError, match="test"):
        read(f"hf/english/tset:{tmp_path}")


def test_one_of_several_files_that_is_missing_is_an_error_and_no_smaller_set(
    tmp_path: Path,
) -> None:
    write(tmp_path / "test-00000-of-00002.parquet", [row()])
    with pytest.raises(UserError, match="has 1 of 2 files of test; number 00001 is missing"):
        read(f"hf:{tmp_path}")


def test_a_damaged_file_and_missing_columns_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="cannot be read as parquet") as said:
        read(f"hf:{tmp_path}")
    assert "\n" not in str(said.value)
    write(path, [{"text": "no sound"}])
    with pytest.raises(UserError, match=r"has no column of audio \(bytes and path\); it has text"):
        read(f"hf:{tmp_path}")
