"""Corpora as they are distributed, on small data of the same layout."""

import gzip
import io
import json
import sys
import tarfile
from pathlib import Path

import pytest
import soundfile
from corpus_files import ids, write_audio, write_text

from asr_lab.data import fleurs, kaldi, lhotse, librispeech
from asr_lab.data.config import FLEURS_CONFIGS, LIBRISPEECH_SPLITS
from asr_lab.utils.errors import UserError


def kaldi_folder(folder: Path) -> Path:
    write_audio(folder / "audio" / "r1.wav", 2.0)
    write_text(folder / "wav.scp", "r1 audio/r1.wav", "r2\t/far/with space.flac")
    write_text(folder / "segments", "u1 r1 0.5 1.25", "u2 r1 1.5 -1", "u3 r2 0 3")
    write_text(folder / "text", "u1 one two", "u2", "u3  drei")
    write_text(folder / "utt2spk", "u1 s1", "u2 s1", "u3 s2")
    write_text(folder / "utt2lang", "u3 de")
    return folder


def test_kaldi_segments_are_parts_of_recordings(tmp_path: Path) -> None:
    one, two, three = kaldi.read(kaldi_folder(tmp_path), "", "all")
    assert (one.id, one.text, one.speaker, one.language) == ("u1", "one two", "s1", "")
    assert one.audio.path == str(tmp_path / "audio" / "r1.wav")
    assert (one.audio.start, one.audio.duration, one.duration) == (0.5, 0.75, 0.75)
    assert (two.text, two.audio.start, two.audio.duration, two.duration) == ("", 1.5, None, 0.5)
    assert (three.text, three.language, three.speaker) == ("drei", "de", "s2")
    assert (three.audio.path, three.duration) == ("/far/with space.flac", 3)


def test_kaldi_without_segments_has_an_utterance_per_recording(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", 0.25)
    write_text(tmp_path / "wav.scp", "a a.wav", "b b.wav")
    write_text(tmp_path / "text", "a one", "b two")
    write_text(tmp_path / "utt2dur", "b 1.5")
    first, second = kaldi.read(tmp_path, "", "all")
    assert (first.duration, first.audio.duration) == (0.25, None)
    assert (second.duration, second.audio.path) == (1.5, "b.wav")


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("wav.scp", ["r1 sph2pipe -f wav x.sph |", "r2 b.wav"], "'r1' is a command"),
        ("wav.scp", ["r1 x.ark:1234", "r2 b.wav"], "'r1' is part of an archive"),
        ("wav.scp", ["r1", "r2 b.wav"], "'r1' has no path"),
        ("wav.scp", ["r1 a.wav", "r1 b.wav"], "wav.scp:2 has 'r1' a second time"),
        ("wav.scp", ["r1 a.wav"], "'u3' is of recording 'r2'"),
        ("segments", ["u1 r1 0.5"], "'u1' must have recording, start and end"),
        ("segments", ["u1 r1 0.5 x"], "'u1': end must be a number"),
        ("segments", ["u1 r1 2 1"], "'u1' ends at 1 s, before it starts at 2 s"),
        ("segments", ["u1 r1 0 1"], "2 of the utterances of text are not in segments, first 'u2'"),
        ("text", ["u1 one"], "2 of the utterances of segments are not in text, first 'u2'"),
        ("utt2dur", ["u1 long"], "u1 must be a number"),
    ],
)
def test_a_kaldi_folder_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, lines: list[str], message: str
) -> None:
    write_text(kaldi_folder(tmp_path) / name, *lines)
    with pytest.raises(UserError, match=message):
        kaldi.read(tmp_path, "", "all")


@pytest.mark.parametrize("name", ["wav.scp", "text"])
def test_a_kaldi_folder_needs_audio_and_text(tmp_path: Path, name: str) -> None:
    (kaldi_folder(tmp_path) / name).unlink()
    with pytest.raises(UserError, match=f"cannot read .*{name}"):
        kaldi.read(tmp_path, "", "all")


def supervision(
    name: str, text: str, start: float = 0.0, duration: float = 1.0
) -> dict[str, object]:
    times = {"start": start, "duration": duration}
    return {"id": name, "text": text, "language": "en", "speaker": "s", **times}


def cut(name: str = "c1", *supervisions: dict[str, object], **changes: object) -> dict[str, object]:
    source = {"type": "file", "channels": [0], "source": "r.wav"}
    return {
        "id": name,
        "start": 2.0,
        "duration": 3.0,
        "channel": 0,
        "supervisions": list(supervisions),
        "recording": {"id": "r", "sources": [source], "sampling_rate": 16000, "duration": 9.0},
        "type": "MonoCut",
        **changes,
    }


def recorded(changes: dict[str, object], **source: object) -> dict[str, object]:
    """Return a cut whose recording and source are changed."""
    sources = [{"type": "file", "channels": [0], "source": "r.wav", **source}]
    return cut("c", supervision("s", "one"), recording={"sources": sources, **changes})


def cuts(path: Path, *rows: object) -> Path:
    return write_text(path, *(json.dumps(row) for row in rows))


def test_a_cut_with_one_supervision_is_an_utterance(tmp_path: Path) -> None:
    write_audio(tmp_path / "r.wav")
    path = cuts(tmp_path / "c.jsonl", cut("c1", supervision("s1", "one")))
    (utterance,) = lhotse.read(path, "", "all")
    assert (utterance.id, utterance.text, utterance.duration) == ("c1", "one", 3)
    assert (utterance.language, utterance.speaker) == ("en", "s")
    audio = utterance.audio
    assert (audio.path, audio.start, audio.duration) == (str(tmp_path / "r.wav"), 2, 3)


def test_every_supervision_of_a_long_cut_is_an_utterance(tmp_path: Path) -> None:
    both = (supervision("s1", "one", 0.0, 1.0), supervision("s2", "two", 1.5, 0.5))
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(cut("c1", *both)).encode()))
    first, second = lhotse.read(path, "", "all")
    assert (first.id, first.audio.start, first.duration) == ("s1", 2, 1)
    assert (second.id, second.audio.start, second.duration) == ("s2", 3.5, 0.5)
    assert second.audio.path == "r.wav"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([1], "c.jsonl:1 is not a JSON object"),
        (cut("c"), "c.jsonl:1 has no supervision"),
        (cut("c", {"id": "s"}), "supervision without text"),
        (
            cut("c", supervision("s", ""), type="MixedCut", recording=None),
            "c.jsonl:1 is a MixedCut",
        ),
        (cut("c", supervision("s", ""), recording=None), "is a MonoCut without recording"),
        (cut("c", supervision("s", ""), duration=None), "duration must be a number"),
        (recorded({}, type="command"), "not from one file with one channel"),
        (recorded({}, channels=[0, 1]), "not from one file with one channel"),
        (
            cut("c", supervision("s", "", -1.0), supervision("t", "")),
            "start of a supervision must be a number of at least 0; got -1.0",
        ),
        (recorded({"transforms": [{"name": "Speed"}]}), "has transforms"),
    ],
)
def test_a_cut_that_is_no_plain_part_of_a_file_is_refused(
    tmp_path: Path, row: object, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        list(lhotse.read(cuts(tmp_path / "c.jsonl", row), "", "all"))


def test_a_line_of_cuts_that_is_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="c.jsonl:1 is not JSON"):
        list(lhotse.read(write_text(tmp_path / "c.jsonl", "oops"), "", "all"))


def test_other_forms_of_cuts_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(UserError, match=r"pip install 'asr-lab-core\[lhotse\]'"):
        list(lhotse.read(write_text(tmp_path / "cuts.yaml"), "", "all"))


def librispeech_root(root: Path) -> Path:
    for split, chapter in (("test-clean", "61-70968"), ("train-clean-100", "19-198")):
        speaker, number = chapter.split("-")
        folder = root / split / speaker / number
        names = [f"{chapter}-{n:04d}" for n in range(2)]
        for n, name in enumerate(names):
            write_audio(folder / f"{name}.flac", 0.25 * (n + 1))
        write_text(folder / f"{chapter}.trans.txt", f"{names[0]} HE SAID", f"{names[1]} NO")
    write_audio(root / "train-other-500" / "2" / "3" / "2-3-0000.flac")
    write_text(root / "train-other-500" / "2" / "3" / "2-3.trans.txt", "2-3-0000 OTHER")
    return root


def test_librispeech_gives_texts_speakers_and_lengths(tmp_path: Path) -> None:
    first, second = librispeech.read(librispeech_root(tmp_path), "", "test-clean")
    assert (first.id, first.text, first.speaker) == ("61-70968-0000", "HE SAID", "61")
    assert (first.duration, second.duration, first.language) == (0.25, 0.5, "en")
    assert soundfile.info(second.audio.path).frames == 8000


def test_librispeech_splits_have_short_names(tmp_path: Path) -> None:
    root = librispeech_root(tmp_path / "LibriSpeech").parent
    assert ids(librispeech.read(root, "", "test")) == ["61-70968-0000", "61-70968-0001"]
    train = ids(librispeech.read(root, "", "train"))
    assert train == ["19-198-0000", "19-198-0001", "2-3-0000"]
    assert set(librispeech.ALIASES) < set(LIBRISPEECH_SPLITS)
    assert {part for parts in librispeech.ALIASES.values() for part in parts} < set(
        LIBRISPEECH_SPLITS
    )


def test_a_split_of_librispeech_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs dev-clean in .*; found test-clean, train-clean-100"):
        librispeech.read(librispeech_root(tmp_path), "", "dev")
    with pytest.raises(UserError, match="needs a folder"):
        librispeech.read(tmp_path / "nothing", "", "dev")


def test_a_chapter_of_librispeech_without_its_transcripts_is_not_passed_over(
    tmp_path: Path,
) -> None:
    root = librispeech_root(tmp_path)
    (root / "train-other-500" / "2" / "3" / "2-3.trans.txt").unlink()
    with pytest.raises(UserError, match=r"/2/3 has no \*\.trans\.txt; unpack train-other-500\.tar"):
        librispeech.read(root, "", "train")


def wav_bytes(frames: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, [0.0] * frames, 16000, format="WAV")
    return buffer.getvalue()


def archive(path: Path, *members: tarfile.TarInfo, **files: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member)
        for name, frames in files.items():
            content = wav_bytes(frames)
            info = tarfile.TarInfo(f"test/{name}.wav")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def fleurs_root(root: Path) -> Path:
    folder = root / "data" / "en_us"
    write_text(
        folder / "test.tsv",
        '7\t11.wav\tA "B".\ta b\ta | b\t8000\tMALE',
        "7\t12.wav\tA.\ta\ta\t4000\tFEMALE",
        "7\t12.wav\tA.\ta\ta\t4000\tFEMALE",
    )
    archive(folder / "audio" / "test.tar.gz", **{"11": 8000, "12": 4000})
    return root


@pytest.mark.parametrize("below", ["", "data"])
def test_fleurs_is_unpacked_once_and_read(tmp_path: Path, below: str) -> None:
    root = fleurs_root(tmp_path) / below
    first, second = fleurs.read(root, "en_us", "test")
    assert (first.id, first.text, first.duration, first.language) == ("11", "a b", 0.5, "en_us")
    assert soundfile.info(second.audio.path).frames == 4000
    assert second.duration == 0.25
    (tmp_path / "data" / "en_us" / "audio" / "test.tar.gz").unlink()
    assert ids(fleurs.read(root, "en_us", "test")) == ["11", "12"]
    audio = tmp_path / "data" / "en_us" / "audio"
    assert [path.name for path in audio.iterdir()] == ["test"]


def link(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


@pytest.mark.parametrize(
    "member", [link("test/1.wav"), tarfile.TarInfo("/abs.wav"), tarfile.TarInfo("test/../../x.wav")]
)
def test_an_archive_that_reaches_outside_leaves_nothing_behind(
    tmp_path: Path, member: tarfile.TarInfo
) -> None:
    path = archive(tmp_path / "audio" / "test.tar.gz", member, a=100)
    with pytest.raises(UserError, match="not a plain file; not unpacked"):
        fleurs.unpack(path, tmp_path / "audio" / "test")
    assert [path.name for path in (tmp_path / "audio").iterdir()] == ["test.tar.gz"]
    assert [path.name for path in tmp_path.iterdir()] == ["audio"]


def test_a_damaged_archive_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = fleurs_root(tmp_path) / "data" / "en_us" / "audio" / "test.tar.gz"
    whole = path.read_bytes()
    for content in (whole[:-40], whole[: len(whole) // 2], b"", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="test.tar.gz"):
            list(fleurs.read(tmp_path, "en_us", "test"))
        assert [each.name for each in path.parent.iterdir()] == ["test.tar.gz"]


def test_two_processes_may_unpack_at_a_time(tmp_path: Path) -> None:
    path = archive(tmp_path / "test.tar.gz", a=100)
    fleurs.unpack(path, tmp_path / "test")
    fleurs.unpack(path, tmp_path / "test")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["test", "test.tar.gz"]


def test_an_archive_that_has_a_name_twice_is_left_to_the_user(tmp_path: Path) -> None:
    folder = fleurs_root(tmp_path) / "data" / "en_us" / "audio"
    again = tarfile.TarInfo("other/11.wav")
    archive(folder / "test.tar.gz", again, **{"11": 8000})
    with pytest.raises(UserError, match=r"cannot unpack .*test.tar.gz beside it \(File exists\)"):
        list(fleurs.read(tmp_path, "en_us", "test"))


def test_fleurs_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs en_us/test.tsv in"):
        list(fleurs.read(tmp_path, "en_us", "test"))
    folder = fleurs_root(tmp_path) / "data" / "en_us"
    (folder / "audio" / "test.tar.gz").unlink()
    with pytest.raises(UserError, match="neither is there"):
        list(fleurs.read(tmp_path, "en_us", "test"))


@pytest.mark.parametrize(
    ("line", "message"),
    [("7\t11.wav\tA", "has 3 fields"), ("7\ta.wav\tA\ta\ta\tmany\tM", "num_samples must be")],
)
def test_a_line_of_fleurs_that_does_not_fit_is_named(
    tmp_path: Path, line: str, message: str
) -> None:
    write_text(fleurs_root(tmp_path) / "data" / "en_us" / "test.tsv", line)
    with pytest.raises(UserError, match=f"test.tsv:1.*{message}"):
        list(fleurs.read(tmp_path, "en_us", "test"))


def test_fleurs_has_its_102_languages() -> None:
    assert len(set(FLEURS_CONFIGS)) == len(FLEURS_CONFIGS) == 102
    assert list(FLEURS_CONFIGS) == sorted(FLEURS_CONFIGS)
