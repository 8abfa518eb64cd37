"""Lines of manifests and Kaldi tables: any text survives, and what is malformed is named."""

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_lab.data import kaldi, lhotse, manifests
from asr_lab.data.utterance import Utterance
from asr_lab.testing.speech import write_corpus
from asr_lab.utils.errors import UserError

Row = dict[str, object]
PLAIN = st.characters(blacklist_categories=("Cs", "Cc"))
"""Any character but controls, which tables have other uses for, and halves of characters."""
FIELDS = st.text(PLAIN, min_size=1, max_size=12).map(str.strip).filter(bool)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "audio_filepath": FIELDS.map(lambda name: f"{name.replace('/', '')}.wav"),
            "text": st.text(PLAIN, max_size=20),
            "duration": st.integers(1, 30_000).map(lambda ms: ms / 1000),
            "speaker": FIELDS,
        }
    ),
    min_size=1,
    max_size=5,
)


def read(path: Path) -> Sequence[Utterance]:
    return manifests.read(path, "", "all")


def refusal(path: Path, reader: Callable[[Path], object] = read) -> str:
    """Return the one line that a file is refused with, without its folder."""
    with pytest.raises(UserError) as refused:
        reader(path)
    told = str(refused.value)
    assert "\n" not in told
    return told.replace(f"{path.parent}/", "")


def numbered(found: list[Row]) -> list[Row]:
    return [{"id": f"u{number}", **row} for number, row in enumerate(found)]


def as_json(path: Path, found: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found), "utf-8")
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(rows, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_json_csv_and_tsv_hold_the_same_utterances(
    tmp_path: Path, drawn: list[Row], line_end: str, marked: bool
) -> None:
    found, encoding = numbered(drawn), "utf-8-sig" if marked else "utf-8"
    expected = read(as_json(tmp_path / "m.jsonl", found))
    assert [utterance.text for utterance in expected] == [row["text"] for row in found]
    assert [utterance.speaker for utterance in expected] == [row["speaker"] for row in found]
    for name, dialect in (("m.csv", "excel"), ("m.tsv", "excel-tab")):
        with (tmp_path / name).open("w", encoding=encoding, newline="") as file:
            plain = dialect == "excel-tab"  # quotation marks of a TSV belong to the text
            writer = csv.DictWriter(
                file,
                list(found[0]),
                dialect=dialect,
                lineterminator=line_end,
                quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL,
                quotechar=None if plain else '"',
            )
            writer.writeheader()
            writer.writerows(found)
        assert read(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"audio_filepath": "a\\ud800.wav", "text": "x"}', " holds half of a character"),
        ('{"audio_filepath": "a.wav", "text": "\\uDC00"}', " holds half of a character"),
        ('{"text": "x", "duration": 1}', " has no 'audio_filepath'; found text, duration"),
        ('{"audio_filepath": "", "text": "x"}', " has no 'audio_filepath'"),
        ('{"audio_filepath": "a.wav", "text": null}', " has no 'text'; found audio_filepath"),
        ('{"audio_filepath": ["a"], "text": "x"}', ": 'audio_filepath' must be a string"),
        ('{"audio_filepath": "a", "text": 7}', ": 'text' must be a string; got 7"),
        ('{"audio_filepath": "a", "text": "", "duration": NaN}', ": duration must be a number"),
        ('{"audio_filepath": "a", "text": "", "duration": -1}', ": duration must be a number"),
        ('{"audio_filepath": "a", "text": "", "duration": [1]}', ": duration must be a number"),
        ('{"audio_filepath": "a", "text": "", "offset": "later"}', ": offset must be a number"),
        ('{"audio_filepath": "a", "text": "", "offset": 1e999}', ": offset must be a number"),
        ('{"audio_filepath": "a", "text": ""', " is not JSON"),
        ("[" * 100_000, " is not JSON"),
        ('"a.wav"', " is not a JSON object; a line is one utterance"),
        ("{}", " has no 'audio_filepath'; found nothing"),
    ],
)
def test_a_malformed_line_is_named_by_its_number_blank_lines_counted(
    row: str, reason: str, tmp_path: Path
) -> None:
    good = json.dumps({"id": "a", "audio_filepath": "a.wav", "text": "a", "duration": 1})
    path = tmp_path / "m.jsonl"
    path.write_text(f"{good}\n\n{row}\n")
    assert refusal(path).startswith(f"m.jsonl:3{reason}")


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0.wav", "no/such/folder.wav", "."])
def test_audio_that_cannot_be_there_is_left_to_the_policy(name: str, tmp_path: Path) -> None:
    (one,) = read(as_json(tmp_path / "m.jsonl", [{"audio_filepath": name, "text": "a"}]))
    assert one.duration == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("path,text\na.wav,x\nb.wav\n", "m.csv:3 has 1 fields; the header has 2"),
        ("path,text\na.wav,x,y\n", "m.csv:2 has 3 fields; the header has 2"),
        ('path,text\na.wav,"x\ny"\nb.wav\n', "m.csv:4 has 1 fields; the header has 2"),
        ("path,text,duration\na.wav,x,soon\n", "m.csv:2: duration must be a number"),
        ("path,text,offset\na.wav,x,-1\n", "m.csv:2: offset must be a number"),
        ("path,duration\na.wav,1\n", "m.csv needs a column text or transcript"),
        ("text,duration\nx,1\n", "m.csv needs a column audio_filepath or audio"),
        ("path,text\n,x\n", "m.csv:2 has no 'audio_filepath'; found path, text"),
        ("id,path,text\nu,a,x\nv,b,y\nu,c,z\n", "m.csv: lines 2 and 4 have id 'u'"),
    ],
)
def test_a_malformed_row_of_a_table_is_named_by_its_line(
    content: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.csv"
    path.write_text(content)
    assert refusal(path).startswith(reason)


def test_a_part_of_a_recording_starts_at_its_offset_and_lasts_to_the_end_unless_told(
    tmp_path: Path,
) -> None:
    write_corpus(tmp_path, ["ab ace bad"], seed=1)
    (whole,) = read(tmp_path / "manifest.jsonl")
    row = {"audio_filepath": whole.audio.path, "text": "a", "offset": 0.25}
    rest, part = read(as_json(tmp_path / "m.jsonl", [row, {**row, "duration": 0.1, "id": "p"}]))
    assert rest.duration == pytest.approx(whole.duration - 0.25, abs=1e-3)  # milliseconds
    assert (rest.audio.start, rest.audio.duration) == (0.25, None)
    assert (part.audio.start, part.audio.duration, part.duration) == (0.25, 0.1, 0.1)


def test_an_offset_beyond_the_end_is_left_to_the_policy(tmp_path: Path) -> None:
    write_corpus(tmp_path, ["ab"], seed=1)
    (whole,) = read(tmp_path / "manifest.jsonl")
    row = {"audio_filepath": whole.audio.path, "text": "a", "offset": whole.duration + 5}
    assert read(as_json(tmp_path / "m.jsonl", [row]))[0].duration == 0


def test_half_of_a_character_in_cuts_is_refused_as_in_manifests(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('\n{"id": "\\ud800"}\n')
    told = refusal(path, lambda where: list(lhotse.read(where, "", "all")))
    assert told == "c.jsonl:2 holds half of a character; write it again"


@pytest.mark.parametrize(
    "command", ["sox a.wav -t wav - |", "| cat a.wav", "flac -c -d -s a.flac |", "cat a.wav|"]
)
def test_no_command_of_a_kaldi_folder_is_run(command: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a one\n")
    (tmp_path / "wav.scp").write_text(f"a touch {tmp_path}/made; {command}\n".replace("; |", "|"))
    if command.startswith("|"):
        (tmp_path / "wav.scp").write_text(f"a {command} > {tmp_path}/made\n")
    told = refusal(tmp_path / "wav.scp", lambda path: kaldi.read(path.parent, "", "all"))
    assert told.startswith("wav.scp: recording 'a' is a command; run it once")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text", "wav.scp"]


def test_tables_of_kaldi_that_are_left_out_leave_their_fields_empty(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a  one  two \r\nb\r\n", newline="")
    (tmp_path / "wav.scp").write_text("a\ta.wav\r\nb b.wav\r\n", newline="")
    first, second = kaldi.read(tmp_path, "", "all")
    assert (first.speaker, first.language, first.text) == ("", "", "one  two")
    assert (second.text, second.audio.path, second.duration) == ("", "b.wav", 0)
