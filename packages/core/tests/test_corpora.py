"""Manifests and plain folders: what people have of their own."""

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_lab.data import folder, manifests, reading
from asr_lab.data.utterance import Utterance
from asr_lab.utils.errors import UserError

GOOD = {"audio_filepath": "a.wav", "duration": 1.0, "text": "one"}


def write_wav(path: Path, seconds: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, [0.0] * round(seconds * 16000), 16000)
    return path


def json_lines(path: Path, rows: Sequence[object]) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> Sequence[Utterance]:
    return manifests.read(path, "", "all")


def test_a_json_lines_manifest_gives_what_it_says(tmp_path: Path) -> None:
    rows = [
        {**GOOD, "lang": "en", "speaker": "s1", "id": "first"},
        {"audio_filepath": "/far/b.wav", "offset": 2, "duration": 1.5, "text": "zwei ü"},
    ]
    first, second = read(json_lines(tmp_path / "m.jsonl", rows))
    assert (first.id, first.language, first.speaker) == ("first", "en", "s1")
    assert (first.audio.path, first.audio.start) == (str(tmp_path / "a.wav"), 0)
    assert first.audio.duration is None and first.duration == 1
    assert (second.audio.path, second.audio.start, second.audio.duration) == ("/far/b.wav", 2, 1.5)
    assert (second.text, second.language, second.duration) == ("zwei ü", "", 1.5)


@pytest.mark.parametrize("name", ["m.json", "m.JSONL"])
def test_either_ending_is_json_lines(tmp_path: Path, name: str) -> None:
    assert len(read(json_lines(tmp_path / name, [GOOD]))) == 1


def test_blank_lines_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n\r\n  \n")
    assert [utterance.text for utterance in read(path)] == ["one"]


def test_a_packed_manifest_is_unpacked_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    assert read(path)[0].audio.path == str(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="is cut short"):
        read(path)


def test_a_missing_duration_comes_from_the_header(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", 0.5)
    rows = [
        {"audio_filepath": "a.wav", "text": ""},
        {"audio_filepath": "a.wav", "text": "", "offset": 0.2},
        {"audio_filepath": "a.wav", "text": "", "offset": 0.9},
    ]
    whole, rest, beyond = read(json_lines(tmp_path / "m.jsonl", rows))
    assert whole.duration == 0.5
    assert rest.duration == pytest.approx(0.3)
    assert beyond.duration == 0


def test_an_unreadable_header_leaves_the_utterance_to_the_policy(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("no audio")
    (tmp_path / "empty.wav").touch()
    names = ("a.wav", "empty.wav", "missing.wav")
    rows = [{"audio_filepath": name, "text": ""} for name in names]
    found = read(json_lines(tmp_path / "m.jsonl", rows))
    assert [utterance.duration for utterance in found] == [0, 0, 0]


def test_headers_are_read_in_order_and_once_per_file(tmp_path: Path) -> None:
    lengths = [0.01 * (1 + number % 7) for number in range(40)]
    names = [str(write_wav(tmp_path / f"{n}.wav", length)) for n, length in enumerate(lengths)]
    assert reading.header_durations(names) == pytest.approx(lengths)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", "m.jsonl:2 is not JSON"),
        ("[1]", "m.jsonl:2 is not a JSON object"),
        ("[" * 100000, "m.jsonl:2 is not JSON"),
        ({"text": "x"}, "m.jsonl:2 has no 'audio_filepath'; found text"),
        ({}, "m.jsonl:2 has no 'audio_filepath'; found nothing"),
        ({"audio_filepath": "b.wav", "duration": 1}, "m.jsonl:2 has no 'text'; found audio_f"),
        ({**GOOD, "text": None}, "m.jsonl:2 has no 'text'"),
        ({**GOOD, "text": 23}, "m.jsonl:2: 'text' must be a string; got 23"),
        ({**GOOD, "duration": -1}, "m.jsonl:2: duration must be a number of at least 0; got -1"),
        ({**GOOD, "duration": "long"}, "m.jsonl:2: duration must be a number"),
        ({**GOOD, "duration": True}, "m.jsonl:2: duration must be a number"),
        ({**GOOD, "duration": [1]}, "m.jsonl:2: duration must be a number"),
        ({**GOOD, "duration": float("nan")}, "m.jsonl:2: duration must be a number"),
        ({**GOOD, "offset": float("inf")}, "m.jsonl:2: offset must be a number"),
        (GOOD, "lines 1 and 2 have id 'a'"),
    ],
)
def test_a_line_that_is_no_utterance_is_named(tmp_path: Path, line: object, message: str) -> None:
    path = json_lines(tmp_path / "m.jsonl", [GOOD, line])
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(json.dumps(GOOD).encode() + b"\xff")
    with pytest.raises(UserError, match="m.jsonl is not UTF-8"):
        read(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("name", "message"),
    [("m.txt", "ends with .jsonl"), (".", "is a folder"), ("none.jsonl", "cannot read .*none")],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "m.txt").touch()
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)
    with pytest.raises(UserError, match="say manifest:LOCATION"):
        manifests.read(None, "", "all")


def test_an_empty_manifest_has_no_utterance(tmp_path: Path) -> None:
    for name in ("m.jsonl", "m.csv", "m.tsv"):
        (tmp_path / name).touch()
        assert read(tmp_path / name) == []


def test_ids_do_not_depend_on_where_the_manifest_is(tmp_path: Path) -> None:
    rows = [
        {**GOOD, "audio_filepath": "x/a.wav"},
        {**GOOD, "audio_filepath": "a.b.wav", "offset": 1.25},
    ]
    relative = [u.id for u in read(json_lines(tmp_path / "m.jsonl", rows))]
    for row in rows:
        row["audio_filepath"] = str(tmp_path / str(row["audio_filepath"]))
    absolute = [u.id for u in read(json_lines(tmp_path / "m.jsonl", rows))]
    assert relative == absolute == ["x/a", "a.b@1.250"]


def test_ids_of_files_elsewhere_start_from_the_folder_they_share(tmp_path: Path) -> None:
    rows = [{**GOOD, "audio_filepath": f"/far/{name}.wav"} for name in ("s1/1", "s2/1")]
    assert [u.id for u in read(json_lines(tmp_path / "m.jsonl", rows))] == ["s1/1", "s2/1"]


def test_segments_of_one_recording_have_their_own_ids(tmp_path: Path) -> None:
    rows = [{**GOOD, "offset": start} for start in (0, 1, 2)]
    found = [utterance.id for utterance in read(json_lines(tmp_path / "m.jsonl", rows))]
    assert found == ["a@0.000", "a@1.000", "a@2.000"]


texts = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(rows=st.lists(st.tuples(texts, st.floats(0, 1e4)), min_size=1, max_size=5))
def test_the_same_table_reads_the_same_from_any_format(
    tmp_path: Path, rows: list[tuple[str, float]]
) -> None:
    table = [
        {"id": f"{n}", "audio": "a.wav", "text": text, "duration": length, "language": "de"}
        for n, (text, length) in enumerate(rows)
    ]
    from_json = read(json_lines(tmp_path / "m.jsonl", table))
    assert [(u.text, u.duration) for u in from_json] == rows
    with (tmp_path / "m.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    assert read(tmp_path / "m.csv") == from_json
    lines = ["\t".join(table[0]), *("\t".join(map(str, row.values())) for row in table)]
    (tmp_path / "m.tsv").write_text("\n".join(lines), encoding="utf-8")
    assert read(tmp_path / "m.tsv") == from_json


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", "file,words\n", "needs a column text or .*; it has file, words"),
        ("m.csv", "name,text\n", "needs a column audio_filepath or .*; it has name, text"),
        ("m.csv", "path,text\na.wav,one,1\n", "m.csv:2 has 3 fields; the header has 2"),
        ("m.tsv", "path\tsentence\n\na.wav\n", "m.tsv:3 has 1 fields; the header has 2"),
        ("m.csv", "path,text\n,one\n", "m.csv:2 has no 'audio_filepath'; found path, text"),
        ("m.csv", "path,text\na.wav," + "x" * 200000, "m.csv:2 is not a table line"),
        ("m.csv", "path,text,duration\na.wav,x,1s\n", "m.csv:2: duration must be a number"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / name)


def test_quotation_marks_belong_to_the_text_of_a_tsv(tmp_path: Path) -> None:
    content = 'client_id\tpath\tsentence\tduration\nv\ta.wav\t"Yes," she said\t1\n'
    (tmp_path / "m.tsv").write_text(content)
    (utterance,) = read(tmp_path / "m.tsv")
    assert (utterance.text, utterance.speaker) == ('"Yes," she said', "v")


def test_a_folder_is_read_in_order_with_its_texts(tmp_path: Path) -> None:
    write_wav(tmp_path / "b.wav", 0.25).with_suffix(".txt").write_text(" two \n words\n")
    write_wav(tmp_path / "a" / "x.FLAC", 0.5).with_suffix(".txt").write_text("one")
    (tmp_path / "notes.md").touch()
    one, two = folder.read(tmp_path, "", "all")
    assert (one.id, one.text, one.duration) == ("a/x", "one", 0.5)
    assert (two.id, two.text, two.duration) == ("b", "two words", 0.25)
    assert two.audio.path == str(tmp_path / "b.wav")


def test_a_folder_without_texts_or_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no audio"):
        folder.read(tmp_path, "", "all")
    write_wav(tmp_path / "a.wav")
    write_wav(tmp_path / "b.wav")
    with pytest.raises(UserError, match=r"2 audio files have no .txt beside them, first .*a.wav"):
        folder.read(tmp_path, "", "all")
    with pytest.raises(UserError, match="needs a folder"):
        folder.read(tmp_path / "a.wav", "", "all")
