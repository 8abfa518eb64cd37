"""AMI: meetings whose annotation is XML, in a corpus of the same layout with two meetings."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data import ami
from asr_lab.data.config import AMI_CONFIGS
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.utterance import Utterance
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UserError

HEAD = '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
ROOT = '<nite:root nite:id="{id}" xmlns:nite="http://nite.sourceforge.net/">{content}</nite:root>'
DEV, TEST, TRAIN = "IB4001", "ES2004a", "ES2002a"
MEETINGS = (
    '<meeting nite:id="m" observation="{name}" type="scenario">'
    '<speaker nite:id="s1" nxt_agent="A" channel="1" global_name="FEE013"/>'
    '<speaker nite:id="s2" nxt_agent="B" channel="0" global_name="MEO015"/>'
    "</meeting>"
)
WORDS = (
    '<w nite:id="{m}.A.words0" starttime="0.5" endtime="0.6">Okay</w>'
    '<w nite:id="{m}.A.words1" starttime="0.6" endtime="0.6" punc="true">,</w>'
    '<vocalsound nite:id="{m}.A.words2" starttime="0.6" endtime="0.7" type="laugh"/>'
    '<w nite:id="{m}.A.words3" starttime="0.7" endtime="0.8">it&#39;s</w>'
    '<w nite:id="{m}.A.words4" starttime="0.8" endtime="0.9">a</w>'
    '<w nite:id="{m}.A.words5" starttime="0.9" endtime="1.2">T_V_</w>'
    '<w nite:id="{m}.A.words6" starttime="1.2" endtime="1.2" punc="true">.</w>'
    '<vocalsound nite:id="{m}.A.words7" starttime="1.5" endtime="1.6" type="cough"/>'
    '<w nite:id="{m}.A.words8" starttime="1.7" endtime="1.9">Café</w>'
    '<w nite:id="{m}.A.words9" starttime="1.9" endtime="1.9" punc="true">?</w>'
)
SEGMENT = (
    '<segment nite:id="{m}.sync.{n}" channel="1" transcriber_start="{start}" '
    'transcriber_end="{end}"><nite:child href="{m}.A.words.xml#{words}"/></segment>'
)


def between(meeting: str, first: int, last: int | None = None) -> str:
    ends = (first,) if last is None else (first, last)
    return "..".join(f"id({meeting}.A.words{each})" for each in ends)


def put(path: Path, content: str, name: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + ROOT.format(id=name, content=content), encoding="iso-8859-1")
    return path


def corpus(root: Path, below: str = "", audio: str = "amicorpus") -> Path:
    """Make a meeting of every split; who speaks is A, and B has no annotation."""
    notes = root / below
    meetings = "".join(MEETINGS.format(name=name) for name in (TRAIN, DEV, TEST))
    put(notes / "corpusResources" / "meetings.xml", meetings)
    for meeting in (TRAIN, DEV, TEST):
        put(notes / "words" / f"{meeting}.A.words.xml", WORDS.format(m=meeting))
        segments = (
            (0.5, 1.25, between(meeting, 0, 6)),
            (1.5, 1.6, between(meeting, 7)),
            (1.75, 2, between(meeting, 8, 9)),
            (3, 2.5, between(meeting, 8)),
            (3, 3.5, between(meeting, 9)),
        )
        content = "".join(
            SEGMENT.format(m=meeting, n=n, start=start, end=end, words=words)
            for n, (start, end, words) in enumerate(segments)
        )
        put(notes / "segments" / f"{meeting}.A.segments.xml", content)
    for number, name in enumerate(("Headset-0", "Headset-1", "Mix-Headset", "Array1-01")):
        path = root / audio / TEST / "audio" / f"{TEST}.{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.full(32000, 0.1 * (number + 1)), 16000)
    return root


def read(root: Path, microphone: str = "ihm", split: str = "test") -> list[Utterance]:
    return list(ami.read(root, microphone, split))


def test_segments_have_their_words_speaker_and_place(tmp_path: Path) -> None:
    first, second = read(corpus(tmp_path))
    assert (first.id, first.text) == ("ES2004a-A-0000", "Okay, it's a T V.")
    assert (first.speaker, first.language, first.duration) == ("FEE013", "en", 0.75)
    assert (first.audio.start, first.audio.duration) == (0.5, 0.75)
    assert (second.id, second.text, second.duration) == ("ES2004a-A-0002", "Café?", 0.25)


@pytest.mark.parametrize(
    ("microphone", "name", "level"),
    [("ihm", "Headset-1", 0.2), ("ihm-mix", "Mix-Headset", 0.3), ("sdm", "Array1-01", 0.4)],
)
def test_each_microphone_has_its_recording(
    tmp_path: Path, microphone: str, name: str, level: float
) -> None:
    first, _ = read(corpus(tmp_path), microphone)
    assert Path(first.audio.path).name == f"{TEST}.{name}.wav"
    samples = read_audio(first.audio, 16000)
    assert len(samples) == 12000
    assert samples[0] == pytest.approx(level * 32768, abs=1)
    assert set(ami.RECORDINGS) == set(AMI_CONFIGS)


@pytest.mark.parametrize(("split", "meeting"), [("train", TRAIN), ("dev", DEV), ("test", TEST)])
def test_splits_are_those_of_the_partition_for_recognition(
    tmp_path: Path, split: str, meeting: str
) -> None:
    ids = [each.id for each in read(corpus(tmp_path), split=split)]
    assert ids == [f"{meeting}-A-0000", f"{meeting}-A-0002"]


def test_the_microphone_is_to_be_named(tmp_path: Path) -> None:
    root, registry = corpus(tmp_path), installed_plugins().registry
    found = read_dataset(resolve(f"ami/sdm:{root}", registry, "test", "en"))
    assert [each.id for each in found] == ["ES2004a-A-0000", "ES2004a-A-0002"]
    with pytest.raises(UserError, match="say ami/CONFIG with one of ihm, ihm-mix, sdm"):
        resolve(f"ami:{root}", registry, "test", "en")


def test_the_partition_has_18_meetings_to_develop_on_and_16_to_test() -> None:
    # "Full-corpus-ASR partition of meetings" of the corpus' own pages: one session, one letter.
    sessions = {"IB4001", "IB4002", "IB4003", "IB4004", "IB4010", "IB4011"}
    dev, test = (set(ami.PARTITION[each]) for each in ("dev", "test"))
    assert 4 * len(dev - sessions) + len(dev & sessions) == 18
    assert 4 * len(test) == 16
    assert not dev & test


@pytest.mark.parametrize("below", ["annotations", "ami_public_manual_1.6.2"])
@pytest.mark.parametrize("audio", ["amicorpus", "wav_db", ""])
def test_annotations_and_recordings_may_be_where_others_put_them(
    tmp_path: Path, below: str, audio: str
) -> None:
    first, _ = read(corpus(tmp_path, below, audio))
    assert Path(first.audio.path).exists()


def test_who_is_not_listed_at_a_meeting_is_left_out(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    put(root / "segments" / f"{TEST}.E.segments.xml", "")
    assert {each.id.split("-")[1] for each in read(root)} == {"A"}


def test_a_recording_that_is_not_there_is_told_when_it_is_read(tmp_path: Path) -> None:
    first, _ = read(corpus(tmp_path))
    Path(first.audio.path).unlink()
    with pytest.raises(UserError, match=r"Headset-1\.wav: is not there"):
        read_audio(read(tmp_path)[0].audio, 16000)


def test_a_test_meeting_that_is_not_annotated_is_not_passed_over(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    for meeting in (TEST, TRAIN):
        (root / "segments" / f"{meeting}.A.segments.xml").unlink()
    with pytest.raises(UserError, match=r"segments lacks ES2004a; unpack all of ami_public_manual"):
        read(root)
    assert read(root, split="train") == []


def test_what_is_missing_is_told_with_what_to_unpack(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs corpusResources/meetings\.xml in .*1\.6\.2\.zip"):
        read(tmp_path)
    (corpus(tmp_path) / "words" / f"{TEST}.A.words.xml").unlink()
    with pytest.raises(UserError, match=r"A\.words\.xml is not there; unpack all of ami_public"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("words", None, r"words\.xml is not XML \(no element found: line 1, column 0\); unpack"),
        ("segments", None, r"segments\.xml is not XML"),
        (
            "segments",
            '<segment transcriber_start="1"/>',
            r"<segment> has no attribute transcriber_end; it has transcriber_start",
        ),
        (
            "segments",
            '<segment nite:id="s7" transcriber_start="a" transcriber_end="1"/>',
            "segment s7: transcriber_start must be a number of at least 0; got 'a'",
        ),
        (
            "meetings",
            f'<meeting observation="{TEST}"><speaker nxt_agent="A"/></meeting>',
            r"meetings\.xml: <speaker> has no attribute channel; it has nxt_agent",
        ),
        ("meetings", "<meeting/>", "<meeting> has no attribute observation; it has none"),
    ],
)
def test_xml_that_does_not_fit_is_told_in_one_line(
    tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    root = corpus(tmp_path)
    path = {
        "meetings": root / "corpusResources" / "meetings.xml",
        "words": root / "words" / f"{TEST}.A.words.xml",
        "segments": root / "segments" / f"{TEST}.A.segments.xml",
    }[file]
    if content is None:
        path.write_text("")
    else:
        put(path, content)
    with pytest.raises(UserError, match=message) as told:
        read(root)
    assert "\n" not in str(told.value)
