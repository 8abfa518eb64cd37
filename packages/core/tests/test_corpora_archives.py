"""Archives of the leaderboards' corpora as they unpack: read speech, talks and calls."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data import gigaspeech, mls, spgispeech, spoken_text, tedlium, voxpopuli
from asr_lab.data.names import parse
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UserError


def sound(path: Path, seconds: float, **how: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.linspace(0, 0.5, round(seconds * 16000)), 16000, **how)


def talk(folder: Path, lines: str) -> Path:
    (folder / "test" / "stm").mkdir(parents=True)
    (folder / "test" / "stm" / "Talk_2010.stm").write_text(lines)
    sound(folder / "test" / "sph" / "Talk_2010.sph", 4, format="NIST", subtype="PCM_16")
    return folder


@pytest.mark.parametrize("ending", ["flac", "opus"])
def test_multilingual_librispeech_knows_speaker_and_language(tmp_path: Path, ending: str) -> None:
    folder = tmp_path / "mls_german" / "test"
    how = {"format": "OGG", "subtype": "OPUS"} if ending == "opus" else {}
    sound(folder / "audio" / "12" / "34" / f"12_34_000001.{ending}", 0.5, **how)
    (folder / "transcripts.txt").write_text("12_34_000001\tguten tag\n")
    for location in (tmp_path, tmp_path / "mls_german"):
        (found,) = mls.read(location, "de", "test")
        assert (found.text, found.speaker, found.language) == ("guten tag", "12", "de")
        assert found.duration == pytest.approx(0.5, abs=0.01)


def test_multilingual_librispeech_says_what_is_missing_and_which_line_is_wrong(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match=r"mls_dutch\.tar\.gz of openslr\.org/94"):
        mls.read(tmp_path, "nl", "test")
    folder = tmp_path / "mls_dutch" / "test"
    folder.mkdir(parents=True)
    (folder / "transcripts.txt").write_text("1_2_3\tja\nno tab\n")
    with pytest.raises(UserError, match=r"transcripts\.txt:2 is not SPEAKER_BOOK_NUMBER"):
        mls.read(tmp_path, "nl", "test")


def test_ted_lium_is_cut_out_of_its_talks_without_what_is_not_scored(tmp_path: Path) -> None:
    lines = (
        ";; a comment\n"
        "Talk_2010 1 Talk 0.50 2.00 <o,f0,male> it 's <sil> a(2) start\n"
        "Talk_2010 1 inter_segment_gap 2.00 3.00 <o,f0,> ignore_time_segment_in_scoring\n"
        "Talk_2010 1 Talk 3.00 3.75 <o,f0,male>\n"
        "Talk_2010 1 Talk 3.75 3.90 <o,f0,male> <unk>\n"
    )
    (first,) = tedlium.read(talk(tmp_path / "legacy", lines).parent, "", "test")
    assert (first.text, first.speaker, first.duration) == ("it's a start", "Talk", 1.5)
    samples = read_audio(first.audio, 16000)
    whole, _ = soundfile.read(first.audio.path, dtype="int16")
    assert np.array_equal(samples, whole[8000:32000])


def test_ted_lium_says_what_is_missing_and_which_line_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"openslr\.org/51"):
        list(tedlium.read(tmp_path, "", "dev"))
    talk(tmp_path, "Talk_2010 1 Talk x 2.00 <o,f0,male> words\n")
    with pytest.raises(UserError, match=r"Talk_2010\.stm:1: start must be a number"):
        list(tedlium.read(tmp_path, "", "test"))
    table = tmp_path / "test" / "stm" / "Talk_2010.stm"
    for line, message in (("a 1 a", "has 3 fields"), ("a 1 a 2 1 <o> x", "before it starts")):
        table.write_text(f"{line}\n")
        with pytest.raises(UserError, match=rf"Talk_2010\.stm:1 .*{message}"):
            list(tedlium.read(tmp_path, "", "test"))


def test_gigaspeech_is_cut_out_of_its_recordings_without_garbage(tmp_path: Path) -> None:
    sound(tmp_path / "audio" / "POD1.opus", 4, format="OGG", subtype="OPUS")
    spoken = {"sid": "POD1_S1", "begin_time": 0.5, "end_time": 2, "text_tn": "YES <COMMA> NO"}
    garbage = {"sid": "POD1_S2", "begin_time": 2, "end_time": 3, "text_tn": "<MUSIC>"}
    other = {**spoken, "sid": "POD1_S3", "subsets": ["{XL}"]}
    recording = {
        "path": "audio/POD1.opus",
        "segments": [{"subsets": ["{TEST}"], **each} for each in (spoken, garbage, other)],
    }
    (tmp_path / "GigaSpeech.json").write_text(json.dumps({"audios": [recording]}))
    (found,) = gigaspeech.read(tmp_path, "", "test")
    assert (found.id, found.text, found.duration) == ("POD1_S1", "YES, NO", 1.5)
    assert len(read_audio(found.audio, 16000)) == 24000
    assert [each.id for each in gigaspeech.read(tmp_path, "", "train")] == ["POD1_S3"]


def test_spgispeech_is_a_table_of_calls(tmp_path: Path) -> None:
    sound(tmp_path / "val" / "call" / "1.wav", 0.5)
    header = "wav_filename|wav_filesize|transcript\n"
    (tmp_path / "val.csv").write_text(header + 'call/1.wav|16044|He said "up", not down.\n')
    (found,) = spgispeech.read(tmp_path, "", "dev")
    assert (found.id, found.text) == ("call/1", 'He said "up", not down.')
    assert (found.duration, found.speaker) == (0.5, "")


def test_voxpopuli_knows_speakers_where_the_corpus_does(tmp_path: Path) -> None:
    folder = tmp_path / "transcribed_data" / "de"
    for name in ("20100101-a", "20110101-b"):
        sound(folder / name[:4] / f"{name}.ogg", 0.5, format="OGG", subtype="VORBIS")
    (folder / "asr_test.tsv").write_text(
        "id\traw_text\tnormalized_text\tspeaker_id\n"
        "20100101-a\tJa.\tja\t7\n20110101-b\tNein.\tnein\tNone\n"
    )
    found = voxpopuli.read(tmp_path, "de", "test")
    assert [(each.text, each.speaker, each.duration) for each in found] == [
        ("ja", "7", 0.5),
        ("nein", "", 0.5),
    ]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("tedlium/tset", "tedlium has no split 'tset'; choose from train, dev, test"),
        ("gigaspeech/xxl", "did you mean xl"),
        ("mls/gr", "no configuration or split of mls 'gr'"),
        ("voxpopuli/eng_accented", "did you mean en_accented"),
        ("mls/de/tets", "mls has no split 'tets'; choose from train, dev, test"),
        ("librispeach/test", "did you mean librispeech"),
    ],
)
def test_a_wrong_name_is_told_in_one_line_with_what_comes_close(typed: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        parse(f"{typed}:somewhere", installed_plugins().registry)
    assert "\n" not in str(error.value)


def test_names_may_leave_underscores_out() -> None:
    assert parse("commonvoice/de:x", installed_plugins().registry).name == "common_voice"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("that 's what you 'll say", "that's what you'll say"),
        ("the 's' in it", "the 's' in it"),
        ("for(2) {SMACK} the <unk> [NOISE] end", "for the end"),
        ("f (2)", "f (2)"),
        ("<sil> {NOISE}", None),
        ("ignore_time_segment_in_scoring", None),
        ("do not ignore_time_segment_in_scoring", "do not ignore_time_segment_in_scoring"),
    ],
)
def test_ted_lium_keeps_the_words_only(text: str, words: str | None) -> None:
    assert spoken_text.tedlium(text) == words


def test_gigaspeech_keeps_punctuation() -> None:
    text = "IS IT <QUESTIONMARK> YES <EXCLAMATIONPOINT> WELL <COMMA> NO <PERIOD>"
    assert spoken_text.gigaspeech(text) == "IS IT? YES! WELL, NO."
    assert spoken_text.gigaspeech("<OTHER>") is None


def test_what_is_missing_is_told_by_every_reader(tmp_path: Path) -> None:
    readers: dict[str, Callable[[], object]] = {
        "voxpopuli needs de/asr_test.tsv": lambda: voxpopuli.read(tmp_path, "de", "test"),
        "spgispeech needs val.csv": lambda: spgispeech.read(tmp_path, "", "dev"),
        "gigaspeech needs GigaSpeech.json": lambda: list(gigaspeech.read(tmp_path, "", "test")),
        "tedlium needs test/stm": lambda: list(tedlium.read(tmp_path, "", "test")),
        "mls needs mls_german/test/transcripts.txt": lambda: mls.read(tmp_path, "de", "test"),
    }
    for message, read in readers.items():
        with pytest.raises(UserError, match=message):
            read()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "GigaSpeech.json: .* is not JSON"),
        ("[]", "has no list 'audios'"),
        ('{"audios": [{"segments": [{"sid": "a", "subsets": ["{TEST}"]}]}]}', "'a' has no 'text_t"),
    ],
)
def test_a_list_of_gigaspeech_that_is_none_is_told(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "GigaSpeech.json").write_text(content)
    with pytest.raises(UserError, match=message):
        list(gigaspeech.read(tmp_path, "", "test"))


@pytest.mark.parametrize(
    ("table_text", "message"),
    [
        ("wav_filename|transcript\na.wav\n", "val.csv:2 has 1 fields; the header has 2"),
        ("wav_filename|transcript\na.wav|a|b\n", "val.csv:2 has 3 fields; the header has 2"),
        ("wav_filename|words\na.wav|a\n", "val.csv has no column transcript; it has wav"),
        ("", "val.csv has no column wav_filename"),
    ],
)
def test_a_table_that_does_not_fit_is_told_with_its_line(
    tmp_path: Path, table_text: str, message: str
) -> None:
    (tmp_path / "val.csv").write_text(table_text)
    with pytest.raises(UserError, match=message):
        spgispeech.read(tmp_path, "", "val")
