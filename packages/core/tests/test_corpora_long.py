"""Corpora of whole recordings: earnings calls, interviews and talks, as they are published."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data import coraal, earnings, spoken_text, tedlium
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.utterance import Utterance
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UserError

Reader = Callable[[Path], list[Utterance]]

HEADER_21 = "token|speaker|ts|endTs|punctuation|case|tags|wer_tags"
HEADER_22 = "token|speaker|ts|endTs|punctuation|prepunctuation|case|tags"
CALL_21 = "\n".join(
    (
        HEADER_21,
        "Good|0||||UC|[]|[]",
        "morning|0|||,|LC|['5:TIME']|['5']",
        "<crosstalk>|1|||.|N/A|[]|[]",
        "2020|0|||.|CA|['0:YEAR']|['0', '1']",
    )
)
CALL_22 = "\n".join(
    (
        HEADER_22,
        "Grew|0||||(|UC|[]",
        "by|0|||)||LC|[]",
        "<inaudible>|0|||||N/A|[]",
        "4.1|1||||$|N/A|['49:CARDINAL']",
        "million|1|||.||LC|[]",
    )
)
LISTS = {
    "earnings21": ("earnings21-file-metadata.csv", "file_id,audio_length,company_name\n"),
    "earnings22": ("metadata.csv", "File ID,Ticker Symbol,Country by Ticker\n"),
}
READERS = {"earnings21": earnings.read_21, "earnings22": earnings.read_22}


def sound(path: Path, seconds: float, **how: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.linspace(0, 0.5, round(seconds * 16000)), 16000, **how)
    return path


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def calls(root: Path, name: str, text: str, *ids: str) -> Path:
    for each in ids:
        sound(root / "media" / f"{each}.mp3", 1.0, format="MP3")
        put(root / "transcripts" / "nlp_references" / f"{each}.nlp", text)
    file, header = LISTS[name]
    put(root / file, header + "".join(f'{each},1,"A, Inc"\n' for each in ids))
    return root


def read(name: str, root: Path) -> list[Utterance]:
    return READERS[name](root, "", "test")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("earnings21", CALL_21, "Good morning, 2020."),
        ("earnings22", CALL_22, "(Grew by) $4.1 million."),
    ],
)
def test_a_call_is_one_utterance_with_punctuation_and_without_marks(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    root = calls(tmp_path, name, text, "4320211", "MP3-A")
    first, second = read(name, root)
    assert (first.id, first.text, first.language) == ("4320211", words, "en")
    assert (second.id, first.speaker) == ("MP3-A", "")
    assert first.duration == pytest.approx(1.0, abs=0.1)
    assert len(read_audio(first.audio, 16000)) == pytest.approx(16000, abs=2400)


@pytest.mark.parametrize("below", ["", "earnings22", "speech-datasets/earnings22"])
def test_calls_are_found_in_a_clone_of_the_repository(tmp_path: Path, below: str) -> None:
    calls(tmp_path / below, "earnings22", CALL_22, "1")
    assert [each.id for each in read("earnings22", tmp_path)] == ["1"]


def test_without_a_list_the_calls_are_those_with_a_transcript(tmp_path: Path) -> None:
    root = calls(tmp_path, "earnings22", CALL_22, "2", "1")
    assert [each.id for each in read("earnings22", root)] == ["2", "1"]
    (root / "metadata.csv").unlink()
    assert [each.id for each in read("earnings22", root)] == ["1", "2"]


def no_transcript(root: Path) -> None:
    (root / "transcripts" / "nlp_references" / "1.nlp").unlink()


def no_transcripts(root: Path) -> None:
    no_transcript(root)
    (root / "metadata.csv").unlink()


def not_fetched(root: Path) -> None:
    put(root / "media" / "1.mp3", "version https://git-lfs.github.com/spec/v1\noid sha256:0")


def other_list(root: Path) -> None:
    put(root / "metadata.csv", "file_id,Ticker Symbol\n1,A")


def other_columns(root: Path) -> None:
    put(root / "transcripts" / "nlp_references" / "1.nlp", "word|speaker|punctuation\nGood|0|")


def cut_short(root: Path) -> None:
    put(root / "transcripts" / "nlp_references" / "1.nlp", f"{HEADER_22}\nGood|0|||||UC|[]\nday|0")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_transcript, r"earnings22 needs 1\.nlp in .*; get the folder earnings22 of github\.com"),
        (no_transcripts, r"earnings22 needs transcripts/nlp_references/\*\.nlp in .*; get the"),
        (not_fetched, r"1\.mp3 is a pointer of Git LFS; run `git lfs pull` beside it"),
        (other_list, r"metadata\.csv has no column File ID; it has file_id, Ticker Symbol"),
        (other_columns, r"1\.nlp has no column token; it has word, speaker, punctuation"),
        (cut_short, r"1\.nlp:3 has 2 fields; the header has 8"),
    ],
)
def test_damage_to_calls_is_told_in_one_line(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(calls(tmp_path, "earnings22", CALL_22, "1"))
    with pytest.raises(UserError, match=message) as told:
        read("earnings22", tmp_path)
    assert "\n" not in str(told.value)


def test_a_call_without_its_recording_is_left_to_the_policy(tmp_path: Path) -> None:
    root = calls(tmp_path, "earnings21", CALL_21, "1", "2")
    (root / "media" / "1.mp3").unlink()
    first, second = read("earnings21", root)
    assert first.duration == 0 < second.duration
    with pytest.raises(UserError, match=r"1\.mp3: is not there"):
        read_audio(first.audio, 16000)


INTERVIEW = "\n".join(
    (
        "Line\tSpkr\tStTime\tContent\tEnTime",
        "1\tATL_int_01\t0.5\tSo [where] you from, /RD-NAME-2/?\t1.2",
        "2\tATL_int_01\t1.2\t(pause 0.62)\t1.8",
        "3\tATL_se0_ag1_f_01\t1.8\t<laugh> Well (breathy) (pause 0.2) Atlanta.\t2.5",
        "4\tmisc\t2.5\t[<cough>]\t2.6",
    )
)
NAME = "ATL_se0_ag1_f_01_1"


def interview(folder: Path, text: str = INTERVIEW) -> None:
    sound(folder / f"{NAME}.wav", 3)
    put(folder / f"{NAME}.txt", text)


@pytest.mark.parametrize("below", ["", "ATL", "ATL/ATL_audio_part01_2020.05"])
def test_an_interview_is_one_utterance_of_all_who_speak(tmp_path: Path, below: str) -> None:
    interview(tmp_path / below)
    put(tmp_path / below / "ATL_metadata_2020.05.txt", "CORAAL.Sub\tCORAAL.File")
    (found,) = coraal.read(tmp_path, "ATL", "test")
    assert found.text == "So where you from, ? Well Atlanta."
    assert (found.id, found.speaker) == (NAME, "ATL_se0_ag1_f_01")
    assert (found.duration, found.language) == (3, "en")
    assert len(read_audio(found.audio, 16000)) == 48000


def test_recordings_and_transcripts_may_lie_apart(tmp_path: Path) -> None:
    sound(tmp_path / "DCB" / "audio" / "DCB_se1_ag1_f_01_1.wav", 1)
    put(tmp_path / "DCB" / "text" / "DCB_se1_ag1_f_01_1.txt", INTERVIEW)
    put(tmp_path / "DCB" / "text" / "DCB_se1_ag1_m_02_1.txt", INTERVIEW)
    there, away = coraal.read(tmp_path, "DCB", "test")
    assert (there.duration, away.duration) == (1, 0)
    with pytest.raises(UserError, match=r"DCB_se1_ag1_m_02_1\.wav: is not there"):
        read_audio(away.audio, 16000)


def test_damage_to_interviews_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"coraal needs ATL_se\*\.txt in .*; unpack ATL_textfiles"):
        coraal.read(tmp_path, "ATL", "test")
    interview(tmp_path, "Line\tSpkr\tText\n1\ta\tb")
    with pytest.raises(UserError, match=rf"{NAME}\.txt has no column Content; it has Line, Spkr"):
        coraal.read(tmp_path, "ATL", "test")
    interview(tmp_path, "Line\tSpkr\tStTime\tContent\tEnTime\n1\ta\t0.5")
    with pytest.raises(UserError, match=rf"{NAME}\.txt:2 has 3 fields; the header has 5"):
        coraal.read(tmp_path, "ATL", "test")
    sound(tmp_path / "ATL_se0_ag2_m_01_1.wav", 1)
    with pytest.raises(UserError, match=r"has no transcript ATL_se0_ag2_m_01_1\.txt; unpack ATL_"):
        coraal.read(tmp_path, "ATL", "test")


TALK = (
    "Talk_2010 1 Talk 0.50 1.25 <o,f0,male> it 's <sil> a(2) start\n"
    "Talk_2010 1 inter_segment_gap 1.25 3.00 <o,f0,> ignore_time_segment_in_scoring\n"
    "Talk_2010 1 Talk 3.00 3.75 <o,f0,male> and an end"
)


def test_a_talk_goes_from_its_first_to_its_last_words(tmp_path: Path) -> None:
    put(tmp_path / "legacy" / "test" / "stm" / "Talk_2010.stm", TALK)
    silent = TALK.splitlines()[1].replace("Talk_2010", "Silent")
    put(tmp_path / "legacy" / "test" / "stm" / "Silent.stm", silent)
    sound(tmp_path / "legacy/test/sph/Talk_2010.sph", 4, format="NIST", subtype="PCM_16")
    (talk,) = tedlium.read_talks(tmp_path, "", "test")
    assert (talk.id, talk.text) == ("Talk_2010", "it's a start and an end")
    assert (talk.speaker, talk.audio.start, talk.duration) == ("Talk", 0.5, 3.25)
    assert len(read_audio(talk.audio, 16000)) == 52000
    segments = list(tedlium.read(tmp_path, "", "test"))
    assert " ".join(each.text for each in segments) == talk.text


def test_talks_that_are_not_there_are_told_with_what_to_unpack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tedlium needs dev/stm/\*\.stm .*openslr\.org/51"):
        list(tedlium.read_talks(tmp_path, "", "dev"))


def test_test_sets_are_not_trained_on_unless_that_is_said(tmp_path: Path) -> None:
    root = calls(tmp_path, "earnings22", CALL_22, "1")
    registry = installed_plugins().registry
    named = functools.partial(resolve, registry=registry, default_split="train")
    with pytest.raises(UserError, match="earnings22 has no split 'train'; choose from test"):
        named(f"earnings22:{root}")
    said = named(f"earnings22/test:{root}")
    assert (said.split, said.typed) == ("test", f"earnings22/test:{root}")
    assert named(said.typed) == said
    (call,) = read_dataset(resolve(f"earnings22:{root}", registry, "test"))
    assert call.id == "1"


@pytest.mark.parametrize(
    ("clean", "text", "words"),
    [
        (spoken_text.earnings, "<laugh> Yes. <inaudible>, no", "Yes. no"),
        (spoken_text.earnings, "1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        (spoken_text.earnings, "<crosstalk>.", None),
        (spoken_text.coraal, "I [was] there", "I was there"),
        (spoken_text.coraal, "/RD-SCHOOL-4/ and /unintelligible/", "and /unintelligible/"),
        (spoken_text.coraal, "(pause 1.20)", None),
        (spoken_text.coraal, "that (in the sixties) was", "that (in the sixties) was"),
    ],
)
def test_marks_are_no_words(
    clean: Callable[[str], str | None], text: str, words: str | None
) -> None:
    assert clean(text) == words
