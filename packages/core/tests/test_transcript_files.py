"""Where transcripts are written: what is never touched, and what an interrupt leaves."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.audio.files import audio_duration
from asr_lab.evaluation.options import TranscribeOptions
from asr_lab.evaluation.transcription.inputs import find_inputs
from asr_lab.evaluation.transcription.outputs import plan_outputs
from asr_lab.testing.speech import tone_speech
from asr_lab.utils.errors import UserError

RATE = 16000
INTERRUPTED = 130
Transcribe = Callable[..., int]


def spoken(path: Path, text: str = "bed") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone_speech(text, 4321, RATE), RATE)
    return path


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def planned(
    *files: Path, output: object = "", kind: str = "txt", overwrite: bool = False
) -> object:
    """Return the targets of a command line, as paths."""
    options = TranscribeOptions(
        files=tuple(map(str, files)),
        checkpoint="best.pt",
        format=kind,  # type: ignore[arg-type]
        output=str(output),
        overwrite=overwrite,
    )
    inputs, _ = find_inputs(options.files)
    return [str(path) for path in plan_outputs(options, inputs).targets]


def refusal(*files: Path, output: object, overwrite: bool = False) -> str:
    with pytest.raises(UserError) as caught:
        planned(*files, output=output, overwrite=overwrite)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["txt", "json", "srt", "vtt", "ctm"])
def test_a_folder_of_transcripts_mirrors_the_folder_of_recordings(
    kind: str, transcribe: Transcribe, tmp_path: Path
) -> None:
    names = ["a", "b.c", "deep/er/a", "deep/ü ö"]
    for name in names:
        spoken(tmp_path / "in" / f"{name}.wav")
    (tmp_path / "in" / "notes.txt").write_text("no audio")
    assert transcribe(tmp_path / "in", flags=f"--output {tmp_path}/out/ --format {kind}") == 0
    written = tree(tmp_path / "out")
    assert sorted(written) == sorted(f"{name}.{kind}" for name in names)
    assert all(content.count(b"bed") >= 1 for content in written.values())


def test_a_bad_file_has_no_transcript_and_its_neighbours_have_theirs(
    transcribe: Transcribe, tmp_path: Path
) -> None:
    spoken(tmp_path / "in/a.wav")
    (tmp_path / "in/b.wav").write_bytes(b"no audio")
    spoken(tmp_path / "in/c.wav")
    assert transcribe(tmp_path / "in", flags=f"--output {tmp_path}/out") == 1
    assert tree(tmp_path / "out") == {"a.txt": b"bed\n", "c.txt": b"bed\n"}


def test_a_link_to_a_recording_is_a_recording_and_a_dangling_one_is_none(
    transcribe: Transcribe, tmp_path: Path
) -> None:
    spoken(tmp_path / "far/a.wav", "cab")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link.wav").symlink_to(tmp_path / "far/a.wav")
    (tmp_path / "in/dangling.wav").symlink_to(tmp_path / "far/none.wav")
    assert transcribe(tmp_path / "in", flags=f"--output {tmp_path}/out") == 0
    assert tree(tmp_path / "out") == {"link.txt": b"cab\n"}


def test_a_folder_that_holds_a_link_to_itself_is_searched_once(tmp_path: Path) -> None:
    path = spoken(tmp_path / "in/a.wav")
    (tmp_path / "in/again").symlink_to(tmp_path / "in")
    inputs, problems = find_inputs([str(tmp_path / "in")])
    assert ([one.path for one in inputs], problems) == ([str(path)], [])


@pytest.mark.parametrize("ending", [".WAV", ".Flac", ".opus", ".AIF"])
def test_audio_in_a_folder_is_known_by_its_ending_in_any_case(ending: str, tmp_path: Path) -> None:
    (tmp_path / f"a{ending}").write_bytes(b"")
    (tmp_path / "wav").write_bytes(b"")
    inputs, _ = find_inputs([str(tmp_path)])
    assert [str(one.name) for one in inputs] == ["a"]


def test_files_keep_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.wav", "a.wav"):
        spoken(tmp_path / name)
    named = [str(tmp_path / name) for name in ("b", "a.wav", "none.wav")]
    inputs, _ = find_inputs(named)
    expected = [f"{tmp_path}/{name}" for name in ("b/1.wav", "b/2.wav", "a.wav", "none.wav")]
    assert [one.path for one in inputs] == expected


def test_an_output_is_a_folder_if_it_is_one_or_is_written_like_one(tmp_path: Path) -> None:
    path, there = tmp_path / "a.wav", tmp_path / "there.d"
    there.mkdir()
    assert planned(path, output=there) == [f"{there}/a.txt"]
    assert planned(path, output=f"{tmp_path}/new.d/") == [f"{tmp_path}/new.d/a.txt"]
    assert planned(path, output=tmp_path / "new") == [f"{tmp_path}/new/a.txt"]
    assert planned(path, output=tmp_path / "new.txt") == [f"{tmp_path}/new.txt"]
    assert planned(path) == []


def test_recordings_of_one_name_in_two_folders_do_not_share_a_file(tmp_path: Path) -> None:
    first, second = tmp_path / "x/a.wav", tmp_path / "y/a.wav"
    line = refusal(first, second, output=tmp_path / "out")
    assert line.startswith(f"{first} and {second} would both be written to {tmp_path}/out/a.txt; ")


def test_one_file_for_all_holds_every_recording_in_order(
    transcribe: Transcribe, tmp_path: Path
) -> None:
    texts = ["fade bad cab", "bed", "dace fed"]
    paths = [spoken(tmp_path / f"{k}.wav", text) for k, text in enumerate(texts)]
    flags = f"--output {tmp_path}/new/all.json --format json --batch-seconds 0.1"
    assert transcribe(*paths, flags=flags) == 0
    lines = (tmp_path / "new/all.json").read_text(encoding="utf-8").splitlines()
    found = [(one["file"], one["text"]) for one in map(json.loads, lines)]
    assert found == list(zip(map(str, paths), texts, strict=True))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_transcript_never_replaces_a_recording(overwrite: bool, tmp_path: Path) -> None:
    path, link = spoken(tmp_path / "a.wav"), tmp_path / "link.wav"
    link.symlink_to(path)
    for output in (path, link, tmp_path / "." / "a.wav"):
        refusal(path, output=output, overwrite=overwrite)
    assert refusal(path, output=path, overwrite=True) == (
        f"{path} is a recording; choose another --output"
    )


@pytest.mark.parametrize("place", ["file/out.txt", "file/out/", "file/deep/out/"])
def test_an_output_below_a_file_is_refused_before_the_work(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    line = refusal(spoken(tmp_path / "a.wav"), output=f"{tmp_path}/{place}")
    assert line == f"cannot write below {tmp_path}/file, which is a file; choose another --output"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_in_a_read_only_folder_is_one_line(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    path = spoken(tmp_path / "a.wav")
    assert transcribe(path, flags=f"--output {tmp_path}/locked/a.txt") == 2
    assert "permission denied" in capsys.readouterr().err


def test_an_interrupt_leaves_whole_transcripts_and_no_others(
    transcribe: Transcribe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for k in range(6):
        spoken(tmp_path / f"in/{k}.wav", "fade bad cab")
    interrupt_at_read(monkeypatch, 4)
    flags = f"--output {tmp_path}/out --batch-seconds 0.1"
    assert transcribe(tmp_path / "in", flags=flags) == INTERRUPTED
    assert capsys.readouterr().err == "asr-lab: interrupted\n"
    written = tree(tmp_path / "out")
    assert 1 <= len(written) < 6 and set(written.values()) == {b"fade bad cab\n"}


def test_an_interrupt_leaves_no_file_for_all_and_keeps_the_old_one(
    transcribe: Transcribe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(6):
        spoken(tmp_path / f"in/{k}.wav")
    (tmp_path / "old.json").write_text("dear")
    before = tree(tmp_path)
    for name in ("new.json", "old.json --overwrite"):
        with monkeypatch.context() as patch:
            interrupt_at_read(patch, 4)
            flags = f"--format json --batch-seconds 0.1 --output {tmp_path}/{name}"
            assert transcribe(tmp_path / "in", flags=flags) == INTERRUPTED
        assert tree(tmp_path) == before


def interrupt_at_read(patch: pytest.MonkeyPatch, number: int) -> None:
    """Send this process the signal of Ctrl-C when libsndfile is asked for the nth block."""
    read, reads = soundfile.SoundFile.read, []

    def interrupted(file: soundfile.SoundFile, *args: object, **more: object) -> np.ndarray:
        reads.append(file)
        if len(reads) == number:
            signal.raise_signal(signal.SIGINT)
        samples: np.ndarray = read(file, *args, **more)
        return samples

    patch.setattr(soundfile.SoundFile, "read", interrupted)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt, though a shell that put the tests in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_without_a_terminal_there_is_no_progress_bar(
    transcribe: Transcribe, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = spoken(tmp_path / "a.wav", "fade bad")
    assert transcribe(path) == 0
    assert capfd.readouterr() == ("fade bad\n", "")


def test_a_terminal_shows_a_progress_bar_and_the_text_stays_apart(
    transcribe: Transcribe,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    path = spoken(tmp_path / "a.wav", "fade bad")
    assert transcribe(path) == 0
    printed = capfd.readouterr()
    assert printed.out == "fade bad\n"
    minutes = audio_duration(path) / 60
    assert f"{minutes:,.1f} of {minutes:,.1f} min of audio" in printed.err


def test_names_that_are_not_utf8_are_read_and_written_down(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/caf\xe9.wav"))
    os.rename(spoken(tmp_path / "in/a.wav"), path)
    assert audio_duration(path) > 0
    assert transcribe(tmp_path / "in", flags=f"--output {tmp_path}/all.json --format json") == 0
    line = (tmp_path / "all.json").read_text(encoding="utf-8")
    assert json.loads(line) == {**json.loads(line), "file": str(path), "text": "bed"}
    assert transcribe(tmp_path / "in") == 0
    assert capsys.readouterr().out == f"{tmp_path}/in/caf\\udce9.wav\tbed\n"
    assert transcribe(tmp_path / "in", flags=f"--output {tmp_path}/out") == 0
    assert os.listdir(os.fsencode(tmp_path / "out")) == [b"caf\xe9.txt"]
