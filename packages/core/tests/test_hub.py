"""Data sets of the hub: parquet files in its cache or in a folder, made here in the same form."""

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data import hub, parquet
from asr_lab.data.hub_files import layout
from asr_lab.data.names import parse, read_dataset, resolve
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UnknownNameError, UserError

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

REGISTRY = installed_plugins().registry
NAME = "someone/words"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put both caches below the test's folder, and return that of the hub."""
    for name in ("HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("ASR_LAB_CACHE", str(tmp_path / "unpacked"))
    return tmp_path / "hf" / "hub"


def tone(number: int, form: str = "FLAC") -> bytes:
    """Return an encoded sound that is a tenth of a second longer for each number."""
    samples = np.sin(np.arange(1600 * (number + 1)) * 0.01 * (number + 1)) * 0.5
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16000, format=form)
    return buffer.getvalue()


def rows(count: int, first: int = 0, text: str = "text") -> list[dict[str, object]]:
    return [
        {
            "audio": {"bytes": tone(number), "path": f"{number}.flac"},
            text: f"word {number}",
            "id": f"u{number}",
            "speaker_id": number // 2,
        }
        for number in range(first, first + count)
    ]


def write(path: Path, content: Sequence[Mapping[str, object]], group: int = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(list(content)), path, row_group_size=group
    )
    return path


def snapshot(cache: Path, name: str = NAME, revision: str = "main") -> Path:
    """Make the folders that the hub's client makes, and return the one for the files."""
    repository = cache / f"datasets--{name.replace('/', '--')}"
    reference = repository / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    commit = f"c0ffee{len(revision)}"
    reference.write_text(commit)
    folder = repository / "snapshots" / commit
    folder.mkdir(parents=True)
    return folder


def found(name: str, split: str = "test", language: str = "") -> Sequence[Utterance]:
    return read_dataset(resolve(name, REGISTRY, split, language))


def test_a_data_set_in_the_hubs_cache_is_read_shard_by_shard(caches: Path) -> None:
    folder = snapshot(caches)
    write(folder / "data" / "test-00000-of-00002.parquet", rows(3))
    write(folder / "data" / "test-00001-of-00002.parquet", rows(2, first=3))
    utterances = found(f"hf:{NAME}")
    assert [u.id for u in utterances] == [f"u{n}" for n in range(5)]
    assert [u.text for u in utterances] == [f"word {n}" for n in range(5)]
    assert [u.speaker for u in utterances] == ["0", "0", "1", "1", "2"]
    for number, utterance in enumerate(utterances):
        expected, _ = soundfile.read(io.BytesIO(tone(number)), dtype="int16")
        np.testing.assert_array_equal(read_audio(utterance.audio, 16000), expected)
        assert utterance.duration == pytest.approx(0.1 * (number + 1))


def test_files_are_linked_from_snapshots_as_the_hubs_client_does(caches: Path) -> None:
    folder = snapshot(caches)
    blob = write(caches / f"datasets--{NAME.replace('/', '--')}" / "blobs" / "abc", rows(2))
    (folder / "test.parquet").symlink_to(blob)
    assert len(found(f"hf:{NAME}")) == 2


def test_what_was_unpacked_is_read_again_without_pyarrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own" / "test.parquet", rows(2))
    first = found(f"hf:{path.parent}")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert found(f"hf:{path.parent}") == first
    monkeypatch.setenv("ASR_LAB_CACHE", str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"needs pyarrow .*pip install 'asr-lab-core\[parquet\]'"):
        found(f"hf:{path.parent}")


def test_files_that_changed_are_unpacked_again(tmp_path: Path) -> None:
    path = write(tmp_path / "own" / "test.parquet", rows(2))
    assert len(found(f"hf:{path.parent}")) == 2
    write(path, rows(3))
    assert len(found(f"hf:{path.parent}")) == 3


def test_only_a_few_rows_are_in_memory_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most: list[int] = []
    original = pyarrow.RecordBatch.to_pylist

    class Watching(pyarrow.parquet.ParquetFile):  # type: ignore[misc, name-defined]
        def iter_batches(self, *arguments: object) -> object:
            for batch in super().iter_batches(*arguments):
                most.append(len(original(batch)))
                yield batch

    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", Watching)
    monkeypatch.setattr(parquet, "ROWS", 3)
    path = write(tmp_path / "own" / "test.parquet", rows(10), group=5)
    assert len(found(f"hf:{path.parent}")) == 10
    assert most == [3, 2, 3, 2]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("hf/de/test", ("de", "test")),
        ("hf/de", ("de", "test")),
        ("hf", ("en_us", "test")),
        ("hf/validation", ("en_us", "validation")),
    ],
)
def test_configuration_and_split_are_found_by_the_names_of_files(
    tmp_path: Path, typed: str, read: tuple[str, str]
) -> None:
    for name in ("de/test-00000-of-00001", "en_us/test", "en_us/validation/0000"):
        write(tmp_path / "own" / f"{name}.parquet", rows(1))
    resolved = resolve(f"{typed}:{tmp_path / 'own'}", REGISTRY, "test", "en")
    assert (resolved.config, resolved.split) == read
    assert len(read_dataset(resolved)) == 1
    again = resolve(resolved.typed, REGISTRY, "test")
    assert (again.config, again.split, again.location) == (*read, resolved.location)
    assert parse(f"{typed}:x*2", REGISTRY).weight == 2


def test_dev_and_test_have_other_names_too(tmp_path: Path) -> None:
    for split in ("train", "validation", "test.clean"):
        write(tmp_path / f"{split}.parquet", rows(1))
    splits = [resolve(f"hf:{tmp_path}", REGISTRY, w).split for w in ("train", "dev", "test")]
    assert splits == ["train", "validation", "test.clean"]


CARD = """---
configs:
- config_name: short
  data_files:
  - split: test
    path: some/odd-*
  - split: train
    path: [some/more.parquet]
- config_name: outside
  data_files: ../../*.parquet
---
# Words
"""


def test_the_card_of_a_data_set_says_which_files_are_of_which_split(tmp_path: Path) -> None:
    write(tmp_path / "secret.parquet", rows(1))
    folder = tmp_path / "a" / "own"
    for name in ("odd-1", "odd-2", "more"):
        write(folder / "some" / f"{name}.parquet", rows(1))
    (folder / "README.md").write_text(CARD)
    there = layout(folder)
    assert {split: len(files) for split, files in there["short"].items()} == {"test": 2, "train": 1}
    assert list(there) == ["short"]
    (folder / "README.md").write_text("---\nconfigs: [\n---\n")
    assert list(layout(folder)) == ["some"]


def test_what_the_hub_made_of_a_script_is_found_too(caches: Path) -> None:
    snapshot(caches)
    write(snapshot(caches, NAME, "refs/convert/parquet") / "en" / "test" / "0000.parquet", rows(1))
    assert len(found(f"hf/en:{NAME}")) == 1


def test_what_is_not_there_is_told_with_what_to_download(caches: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"hf download {NAME} --repo-type dataset`"):
        found(f"hf:{NAME}")
    snapshot(caches)
    with pytest.raises(UserError, match="--repo-type dataset --revision refs/convert/parquet`"):
        found(f"hf:{NAME}")
    with pytest.raises(UserError, match="no folder 'words' .* ORG/NAME"):
        found("hf:words")
    with pytest.raises(UserError, match="holds no parquet file"):
        found(f"hf:{tmp_path}")


def test_one_file_of_several_that_is_missing_is_named(tmp_path: Path) -> None:
    write(tmp_path / "test-00001-of-00003.parquet", rows(1))
    with pytest.raises(UserError, match="1 of 3 files of test; number 00000 is missing"):
        found(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("hf/en_uk", "no configuration or split of .*'en_uk'; did you mean en_us"),
        ("hf/en_us/tset", "no split of .*/en_us: 'tset'; did you mean test"),
        ("hf/de/dev", "no split of .*/de: 'dev'; choose from test"),
        ("hf", "needs a configuration; say hf/CONFIG with one of de, en_us"),
    ],
)
def test_a_wrong_part_is_told_with_what_comes_close(
    tmp_path: Path, typed: str, message: str
) -> None:
    for config in ("de", "en_us"):
        write(tmp_path / config / "test.parquet", rows(1))
    with pytest.raises(UserError, match=message) as error:
        found(f"{typed}:{tmp_path}")
    assert "\n" not in str(error.value)


def test_a_split_that_is_not_there_is_no_other_one(tmp_path: Path) -> None:
    write(tmp_path / "test.parquet", rows(1))
    with pytest.raises(UserError, match="has no split 'train'; say one of test"):
        found(f"hf:{tmp_path}", "train")
    with pytest.raises(UnknownNameError, match="no configuration and split"):
        hub.read(tmp_path, "default", "dev")


def test_damaged_files_and_missing_columns_are_told_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "test.parquet", rows(4))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1" + bytes(100) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as parquet") as error:
            found(f"hf:{tmp_path}")
        assert "\n" not in str(error.value)
    write(path, [{"text": "a"}])
    with pytest.raises(UserError, match=r"no column of audio \(bytes and path\); it has text"):
        found(f"hf:{tmp_path}")
    write(path, [{"audio": {"bytes": b"", "path": ""}, "words": "a"}])
    with pytest.raises(UserError, match="no column of text; it has audio, words"):
        found(f"hf:{tmp_path}")
    assert not list((tmp_path / "unpacked").rglob("*.shard"))


def test_a_bad_audio_among_good_ones_is_left_to_the_policy(tmp_path: Path) -> None:
    content = rows(4)
    content[1]["audio"] = {"bytes": b"no audio", "path": "1.flac"}
    content[2]["audio"] = {"bytes": None, "path": "away/2.flac"}
    content[3]["audio"] = None
    write(tmp_path / "test.parquet", content)
    good, damaged, away, none = found(f"hf:{tmp_path}")
    assert (good.duration, damaged.duration, away.duration, none.duration) == (0.1, 0, 0, 0)
    assert away.audio.path == str(tmp_path / "away" / "2.flac")
    for bad, message in ((damaged, "known format"), (away, "is not there"), (none, "row 3 has no")):
        with pytest.raises(UserError, match=message):
            read_audio(bad.audio, 16000)


def test_audio_files_beside_the_table_are_read_where_they_are(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16000)
    content = [{"audio": {"bytes": None, "path": "a.wav"}, "text": "a"}]
    schema = pyarrow.schema(
        [
            ("audio", pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])),
            ("text", pyarrow.string()),
        ]
    )
    table = pyarrow.Table.from_pylist(content, schema=schema)
    pyarrow.parquet.write_table(table, tmp_path / "test.parquet")
    (utterance,) = found(f"hf:{tmp_path}")
    assert (utterance.audio.path, utterance.duration) == (str(tmp_path / "a.wav"), 0.05)


def test_ids_are_a_column_whose_values_differ(tmp_path: Path) -> None:
    content = rows(3)
    for row in content:
        row["id"] = 7
    path = write(tmp_path / "test.parquet", content)
    assert [u.id for u in found(f"hf:{tmp_path}")] == ["0", "1", "2"]
    for row in content:
        row["audio"] = {"bytes": tone(0), "path": "same.wav"}
    write(path, content)
    assert [u.id for u in found(f"hf:{tmp_path}")] == [f"test-000000{n}" for n in range(3)]


@pytest.mark.parametrize("form", ["FLAC", "WAV", "OGG", "MP3"])
def test_audio_comes_out_as_a_file_of_it_would(tmp_path: Path, form: str) -> None:
    content = tone(4, form)
    (tmp_path / "plain").write_bytes(content)
    write(tmp_path / "test.parquet", [*rows(1), {**rows(1)[0], "audio": {"bytes": content}}])
    utterance = found(f"hf:{tmp_path}")[1]
    of_file = read_audio(AudioSource(path=str(tmp_path / "plain")), 16000)
    np.testing.assert_array_equal(read_audio(utterance.audio, 16000), of_file)
