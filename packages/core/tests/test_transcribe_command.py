"""`asr-lab transcribe`: real audio files and a model that was trained to hear their tones."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.evaluation import Transcriber
from asr_lab.testing.speech import tone_speech

RATE = 16000
WORDS = "ace bad bed cab dab fed face fade bead dace".split()
"""No letter twice in a row: the model in miniature cannot hear where one ends."""
Transcribe = Callable[..., int]


def sentence(seed: int, words: int) -> str:
    """Return words of which no two in a row are the same."""
    draw, chosen = random.Random(seed), [""]
    while len(chosen) <= words:
        chosen += [word for word in [draw.choice(WORDS)] if word != chosen[-1]]
    return " ".join(chosen[1:])


def quiet(seconds: float) -> np.ndarray:
    """Return the noise that stands behind all speech here."""
    return np.random.default_rng(0).normal(0, 98, round(seconds * RATE)).astype(np.int16)


def speech(text: str, seed: int = 0) -> np.ndarray:
    return tone_speech(text, 7000 + seed, RATE)


def write(path: Path, text: str, seed: int = 0) -> Path:
    soundfile.write(path, speech(text, seed), RATE)
    return path


def mistake(capsys: pytest.CaptureFixture[str], status: int) -> str:
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "") and printed.err.count("\n") == 1, printed
    return printed.err.removeprefix("asr-lab: ").rstrip("\n")


def test_one_file_gives_its_bare_text_and_several_their_paths(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.wav", "bad face"), write(tmp_path / "b.flac", "cab")
    assert transcribe(a) == 0
    assert capsys.readouterr() == ("bad face\n", "")
    assert transcribe(b, a) == 0
    assert capsys.readouterr() == (f"{b}\tcab\n{a}\tbad face\n", "")


def test_a_folder_is_its_audio_files_in_order(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "b").mkdir(parents=True)
    last, first = write(tmp_path / "in/c.wav", "cab"), write(tmp_path / "in/b/z.wav", "bed")
    (tmp_path / "in" / "notes.txt").write_text("no audio")
    assert transcribe(tmp_path / "in") == 0
    assert capsys.readouterr().out == f"{first}\tbed\n{last}\tcab\n"


def test_any_rate_and_channels_are_heard(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = tone_speech("dab bead", 7, 44100)
    soundfile.write(tmp_path / "a.ogg", np.stack([samples, samples], 1), 44100)
    assert transcribe(tmp_path / "a.ogg") == 0
    assert capsys.readouterr().out == "dab bead\n"


@pytest.mark.parametrize("flags", ["--chunk-seconds 3", "--chunk-seconds 4.7", "--chunk-seconds 9"])
def test_no_word_is_lost_or_doubled_at_the_seams_of_long_audio(
    flags: str, transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = sentence(5, 60)
    path = write(tmp_path / "long.flac", text)
    assert transcribe(path, flags=flags) == 0
    assert capsys.readouterr().out == f"{text}\n"


def test_silence_in_an_overlap_separates_words(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [speech("bad cab bed face"), quiet(3), speech("fade dab bad cab")]
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), RATE)
    assert transcribe(tmp_path / "a.wav", flags="--chunk-seconds 4") == 0
    assert capsys.readouterr().out == "bad cab bed face fade dab bad cab\n"


def test_the_text_does_not_depend_on_batches(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(6):
        write(tmp_path / f"{seed}.wav", sentence(seed, 3 * seed + 1), seed)
    found = []
    for seconds in (0.1, 5, 120):
        flags = f"--format json --chunk-seconds 3 --batch-seconds {seconds}"
        assert transcribe(tmp_path, flags=flags) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] == found[2]
    texts = [json.loads(line)["text"] for line in found[0].splitlines()]
    assert texts == [sentence(seed, 3 * seed + 1) for seed in range(6)]


def test_json_says_when_each_word_was_said(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    samples = np.concatenate([speech("bad"), quiet(2), speech("face"), quiet(2), speech("cab")])
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    starts = [0, len(speech("bad")) / RATE + 2, (len(samples) - len(speech("cab"))) / RATE]
    for flags in ("", "--chunk-seconds 3"):
        assert transcribe(tmp_path / "a.wav", flags=f"--format json {flags}") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["duration"] == pytest.approx(len(samples) / RATE, abs=1e-3)
        assert [word["text"] for word in found["words"]] == ["bad", "face", "cab"]
        for word, start in zip(found["words"], starts, strict=True):
            assert start <= word["start"] <= start + 0.2  # 0.05 s of noise, then the word
            length = 0.1 * len(word["text"])
            assert word["start"] + length / 2 < word["end"] < word["start"] + length + 0.3
        assert " ".join(one["text"] for one in found["segments"]) == "bad face cab"


def test_ctm_has_a_line_for_each_word(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert transcribe(write(tmp_path / "my talk.wav", "bad face"), flags="--format ctm") == 0
    lines = capsys.readouterr().out.splitlines()
    pattern = r"my_talk 1 \d+\.\d{3} \d+\.\d{3} "
    assert [re.sub(pattern, "", line) for line in lines] == ["bad", "face"]


@pytest.mark.parametrize(("kind", "point"), [("srt", ","), ("vtt", ".")])
def test_subtitles_can_be_read(
    kind: str,
    point: str,
    transcribe: Transcribe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = sentence(3, 60)
    assert transcribe(write(tmp_path / "a.wav", text), flags=f"--format {kind}") == 0
    blocks = capsys.readouterr().out.strip().split("\n\n")
    assert (blocks.pop(0) == "WEBVTT") if kind == "vtt" else blocks[0].startswith("1\n00:00:00,")
    said, before = [], 0.0
    for number, block in enumerate(blocks, 1):
        lines = block.split("\n")
        assert kind == "vtt" or lines.pop(0) == str(number)
        start, end = (
            sum(float(part.replace(",", ".")) * 60**n for n, part in enumerate(reversed(clock)))
            for clock in (time.split(":") for time in lines[0].split(" --> "))
        )
        assert before <= start < end <= start + 7.001 and lines[0].count(point) == 2
        assert 1 <= len(lines[1:]) <= 2 and max(map(len, lines[1:])) <= 42
        said += lines[1:]
        before = end
    assert " ".join(said) == text and len(blocks) > 3


def bad_files(folder: Path) -> dict[str, str]:
    """Write files that cannot be used, and return what is said of each, by name."""
    samples = speech("bad face cab")
    soundfile.write(folder / "empty.wav", samples[:0], RATE)
    soundfile.write(folder / "short.wav", samples[: RATE // 1000], RATE)
    (folder / "text.wav").write_text("these are words and no audio")
    spoilt = np.tile(samples / 32768, 30)
    spoilt[-5000] = np.nan
    soundfile.write(folder / "nan.wav", spoilt, RATE, subtype="FLOAT")
    soundfile.write(folder / "cut.flac", np.tile(samples, 30), RATE)
    content = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(content[: len(content) * 3 // 4])
    return {
        "empty.wav": "holds no samples",
        "short.wav": "lasts 1 ms, which is too short; the model needs 5 ms or more",
        "text.wav": "is not audio in a known format",
        "nan.wav": "has samples that are NaN or infinite",
        "cut.flac": "is cut off",
        "missing.wav": "is not there; check the path",
    }


def test_bad_files_are_named_and_the_others_are_transcribed(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = bad_files(tmp_path)
    first, last = write(tmp_path / "first.wav", "bed"), write(tmp_path / "last.wav", "fade")
    (tmp_path / "void").mkdir()
    files = [first, *(tmp_path / name for name in bad), tmp_path / "void", last]
    assert transcribe(*files, flags="--chunk-seconds 5 --batch-seconds 20") == 1
    printed = capsys.readouterr()
    assert printed.out == f"{first}\tbed\n{last}\tfade\n"
    lines = printed.err.splitlines()
    assert lines[0].startswith(f"asr-lab: folder {tmp_path}/void holds no audio (.wav, ")
    for line, (name, problem) in zip(lines[1:], bad.items(), strict=True):
        assert line.startswith(f"asr-lab: audio file {tmp_path}/{name}") and problem in line


def test_with_fail_a_bad_file_stops_before_anything_is_written(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad_files(tmp_path)
    (tmp_path / "void").mkdir()
    good = write(tmp_path / "good.wav", "bed")
    for bad in ("nan.wav", "missing.wav", "void"):
        flags = f"--on-bad-utterance fail --output {tmp_path}/out --batch-seconds 1"
        assert bad in mistake(capsys, transcribe(good, tmp_path / bad, flags=flags))
        assert not (tmp_path / "out").exists()
    flags = "--on-bad-utterance fail --batch-seconds 1"
    assert "nan.wav" in mistake(capsys, transcribe(good, tmp_path / "nan.wav", flags=flags))


def test_nothing_but_bad_files_is_status_1_and_writes_nothing(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "void").mkdir()
    assert transcribe(tmp_path / "void", flags=f"--output {tmp_path}/out/") == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["void"]


def test_a_folder_gets_a_file_for_each_recording(transcribe: Transcribe, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write(tmp_path / "in/a.wav", "bed")
    write(tmp_path / "in/deep/a.wav", "fade")
    assert transcribe(tmp_path / "in", flags=f"--output {tmp_path}/out") == 0
    assert (tmp_path / "out/a.txt").read_text() == "bed\n"
    assert (tmp_path / "out/deep/a.txt").read_text() == "fade\n"
    assert transcribe(tmp_path / "in", flags=f"--output {tmp_path}/all.json --format json") == 0
    assert (tmp_path / "all.json").read_text().count("\n") == 2


def test_nothing_is_overwritten_unless_it_was_said(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, old = write(tmp_path / "a.wav", "bed"), tmp_path / "old.txt"
    old.write_text("dear")
    line = mistake(capsys, transcribe(path, flags=f"--output {old}"))
    assert line == f"{old} exists; choose another --output or say --overwrite"
    (tmp_path / "a.txt").write_text("dear")
    assert "a.txt exists" in mistake(capsys, transcribe(path, flags=f"--output {tmp_path}"))
    assert old.read_text() == (tmp_path / "a.txt").read_text() == "dear"
    assert transcribe(path, flags=f"--output {old} --overwrite") == 0
    assert old.read_text() == "bed\n"


def test_what_cannot_be_written_is_told_before_the_work(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a.wav", "bed"), write(tmp_path / "a.flac", "bed")
    line = mistake(capsys, transcribe(a, b, flags=f"--output {tmp_path}/out/"))
    assert line.startswith(f"{a} and {b} would both be written to {tmp_path}/out/a.txt; ")
    line = mistake(capsys, transcribe(a, b, flags="--format srt"))
    assert line.startswith("srt subtitles are of one recording, and there are 2; name a folder")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--format docx", "--format docx: not a choice"),
        ("--decoder oracle", "no decoder 'oracle'; choose from ctc"),
        ("--precision fp16", "--precision fp16: needs a CUDA GPU"),
        ("--chunk-seconds 0.5", "--chunk-seconds must be 1 or more"),
        ("--batch-seconds 0", "--batch-seconds must be 0.1 or more"),
        ("--context-seconds -1", "--context-seconds must be 0 or more"),
        ("--context-seconds 2", "is what it was built with; found a limit of 2 s; leave it out"),
    ],
)
def test_mistakes_are_one_line(
    flags: str,
    reason: str,
    transcribe: Transcribe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / "a.wav", "bed")
    assert reason in mistake(capsys, transcribe(path, flags=flags))


def test_a_checkpoint_that_cannot_be_used_is_one_line(
    transcribe: Transcribe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.wav", "bed")
    (tmp_path / "damaged.pt").write_bytes(b"PK\x03\x04 and no more")
    for model in (tmp_path / "missing.pt", tmp_path / "damaged.pt"):
        assert model.name in mistake(capsys, transcribe(path, model=model))


def test_the_python_interface_does_the_same(checkpoint: Path, probe: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", sentence(8, 20))
    transcriber = Transcriber.load(checkpoint, device="cpu", chunk_seconds=4.0)
    seen: list[tuple[float, float]] = []
    good, bad = transcriber.transcribe(
        [path, tmp_path / "none.wav"], lambda done, total: seen.append((done, total))
    )
    assert good.text == sentence(8, 20) and not good.problem
    assert " ".join(word.text for word in good.words) == good.text
    assert bad.problem.endswith("none.wav: is not there; check the path")
    assert seen[0][0] == 0 and seen[-1][0] == pytest.approx(seen[-1][1])


def test_hours_of_audio_take_no_more_memory_than_their_windows(
    checkpoint: Path, probe: Path, tmp_path: Path
) -> None:
    import tracemalloc

    with soundfile.SoundFile(tmp_path / "hours.flac", "w", 1000, 1) as file:
        for _ in range(180):
            file.write(np.zeros(60 * 1000, np.int16))  # 3 h at a rate that is quickly written
    transcriber = Transcriber.load(checkpoint, device="cpu", batch_seconds=60.0)
    tracemalloc.start()  # numpy's memory is counted, that of torch is not
    (found,) = transcriber.transcribe([tmp_path / "hours.flac"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.duration == 10800 and not found.problem
    assert peak < 20e6  # one float array of the whole has 691 MB
