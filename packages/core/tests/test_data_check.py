"""`asr-lab data check`: everything bad that is planted is found, and clean data are clean."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.cli import main
from asr_lab.data.checking.check import check_data
from asr_lab.data.checking.findings import DataReport
from asr_lab.data.checking.rules import Demands
from asr_lab.data.spoken import read
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.testing.speech import tone_speech
from asr_lab.tokenizers.base import CharacterTokenizer

TEXTS = "a bad cab|dad fed ace|bed fed dead|fab fad deed|a bead|decade|facade|accede".split("|")
RATE = 16000


def samples_of(text: str, seed: int = 0) -> np.ndarray:
    return tone_speech(text, seed, RATE)


@pytest.fixture
def corpus_of_eight(tmp_path: Path) -> tuple[Path, list[dict[str, object]]]:
    """Return a folder of eight clean utterances, and the lines of their manifest."""
    rows: list[dict[str, object]] = []
    for number, text in enumerate(TEXTS):
        samples = samples_of(text, number)
        soundfile.write(tmp_path / f"{number}.flac", samples, RATE)
        row = {"audio_filepath": f"{number}.flac", "text": text, "duration": len(samples) / RATE}
        rows.append({"id": f"u{number}", **row, "speaker": f"s{number}", "kept": number})
    return tmp_path, rows


def manifest(folder: Path, rows: list[dict[str, object]], name: str = "all.jsonl") -> Path:
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / name


def checked(
    capsys: pytest.CaptureFixture[str], path: Path, *flags: object
) -> tuple[int, dict[str, list[str]]]:
    """Return exit status, and the ids by kind of finding."""
    words = ["data", "check", f"manifest:{path}", "--json", "--workers", "0", *map(str, flags)]
    status = main(words)
    found: dict[str, list[str]] = {}
    for one in json.loads(capsys.readouterr().out)["findings"]:
        found.setdefault(one["kind"], []).append(one["id"])
    return status, found


def write(folder: Path, number: int, samples: np.ndarray, rate: int = RATE) -> None:
    soundfile.write(folder / f"{number}.flac", samples, rate)


def half(folder: Path, rows: list[dict[str, object]]) -> None:
    data = (folder / "3.flac").read_bytes()
    (folder / "3.flac").write_bytes(data[: len(data) // 2])


def resampled_header(folder: Path, rows: list[dict[str, object]]) -> None:
    write(folder, 3, samples_of(TEXTS[3], 3), 8000)


def silent(folder: Path, rows: list[dict[str, object]]) -> None:
    write(folder, 3, np.zeros_like(samples_of(TEXTS[3], 3)))


def clipped(folder: Path, rows: list[dict[str, object]]) -> None:
    loud = samples_of(TEXTS[3], 3).astype(np.int64) * 12
    write(folder, 3, np.clip(loud, -32768, 32767).astype(np.int16))


def padded(folder: Path, rows: list[dict[str, object]]) -> None:
    samples = np.concatenate([samples_of(TEXTS[3], 3), np.zeros(3 * RATE, np.int16)])
    write(folder, 3, samples)
    rows[3]["duration"] = len(samples) / RATE


def copied(folder: Path, rows: list[dict[str, object]]) -> None:
    samples, _ = soundfile.read(folder / "0.flac", dtype="int16")
    soundfile.write(folder / "3.wav", samples, RATE)
    rows[3] |= {"audio_filepath": "3.wav", "text": "A bad, cab!", "duration": len(samples) / RATE}


def contradicting(folder: Path, rows: list[dict[str, object]]) -> None:
    copied(folder, rows)
    rows[3]["text"] = "something else"


def text(value: str) -> Callable[[Path, list[dict[str, object]]], None]:
    return lambda folder, rows: rows[3].update(text=value)


@pytest.mark.parametrize(
    ("plant", "kinds", "flags"),
    [
        (half, {"damaged"}, ()),
        (lambda folder, rows: (folder / "3.flac").unlink(), {"damaged"}, ()),
        (resampled_header, {"duration", "sampling"}, ()),
        (silent, {"silent"}, ()),
        (clipped, {"clipped"}, ()),
        (text(" "), {"empty"}, ()),
        (text("bad \ufffd cab"), {"text"}, ()),
        (text("a long story " * 20), {"rate"}, ()),
        (copied, {"duplicate"}, ()),
        (contradicting, {"conflict"}, ()),
        (lambda folder, rows: None, {"length"}, ("--min-duration", "1.5")),
        (lambda folder, rows: None, {"length"}, ("--max-duration", "0.8")),
    ],
)
def test_what_is_planted_is_found_and_nothing_else(
    plant: Callable[[Path, list[dict[str, object]]], None],
    kinds: set[str],
    flags: tuple[str, ...],
    corpus_of_eight: tuple[Path, list[dict[str, object]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, rows = corpus_of_eight
    plant(folder, rows)
    status, found = checked(capsys, manifest(folder, rows), *flags)
    assert status == 1 and set(found) == kinds
    if not flags:
        assert all(ids == ["u3"] for ids in found.values())


def test_a_long_pause_is_a_note_that_leaves_the_data_clean(
    corpus_of_eight: tuple[Path, list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = corpus_of_eight
    padded(folder, rows)
    assert checked(capsys, manifest(folder, rows)) == (0, {"pause": ["u3"]})


def test_leaks_are_found_by_audio_and_by_text_and_speakers_are_noted(
    corpus_of_eight: tuple[Path, list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = corpus_of_eight
    long = "a sentence that nobody says twice by chance"
    soundfile.write(folder / "8.flac", samples_of(long, 8), RATE)
    length = len(samples_of(long, 8)) / RATE
    rows.append({"id": "u8", "audio_filepath": "8.flac", "text": long, "duration": length})
    samples, _ = soundfile.read(folder / "0.flac", dtype="int16")
    soundfile.write(folder / "same.wav", samples, RATE)
    soundfile.write(folder / "other.wav", samples_of(long, 99), RATE)
    soundfile.write(folder / "short.wav", samples_of("facade", 98), RATE)
    test: list[dict[str, object]] = [
        {"id": "t0", "audio_filepath": "same.wav", "text": "x", "speaker": "s5"},
        {"id": "t1", "audio_filepath": "other.wav", "text": long.upper() + "!"},
        {"id": "t2", "audio_filepath": "short.wav", "text": "Facade."},
    ]
    other = manifest(folder, test, "test.jsonl")
    status, found = checked(capsys, manifest(folder, rows), "--against", f"manifest:{other}")
    assert status == 1
    assert found == {"leak": ["u0", "u8"], "short text": ["u6"], "speaker": ["s5"]}
    assert checked(capsys, manifest(folder, rows)) == (0, {})


def test_texts_must_suit_the_tokenizer_and_the_steps_of_the_model() -> None:
    utterances = list(read(None, "en", "test"))[:20]
    letters = "".join({letter for one in utterances for letter in one.text} - {"z", "q"} - {"e"})
    tokenizer = CharacterTokenizer(letters)
    found = check_data("x", utterances, Demands(tokenizer=tokenizer)).of_kind("characters")
    assert {one.id for one in found} == {one.id for one in utterances if "e" in one.text}
    assert found[0].detail.endswith("outside the tokenizer: 'e' (U+0065)")
    full = CharacterTokenizer(letters + "zqe")

    def impossible(steps: int) -> DataReport:
        return check_data("x", utterances, Demands(tokenizer=full, steps=lambda seconds: steps))

    assert impossible(10**6).clean
    repeats = max(
        len(one.text) + sum(a == b for a, b in zip(one.text, one.text[1:], strict=False))
        for one in utterances
    )
    assert impossible(repeats).clean and not impossible(repeats - 1).clean


def test_the_bundled_data_are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    command = "data check spoken/en/dev --workers 0"
    assert main(command.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("spoken/en/dev · ") and lines[-1] == "clean"
    assert lines[1].split()[0] == "ok" and not any(line.startswith("notes") for line in lines)


def test_any_number_of_processes_finds_the_same(
    corpus_of_eight: tuple[Path, list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = corpus_of_eight
    for plant in (half, copied, clipped):
        plant(folder, rows)
    path = manifest(folder, rows)
    said = []
    for workers in ("0", "1", "2"):
        assert main(["data", "check", f"manifest:{path}", "--workers", workers, "--list"]) == 1
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]


def test_a_clean_manifest_keeps_its_lines_and_is_clean_and_nothing_else_is_touched(
    corpus_of_eight: tuple[Path, list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = corpus_of_eight
    half(folder, rows)
    path = manifest(folder, rows)
    before = {one: one.read_bytes() for one in folder.iterdir()}
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    for clean in (folder / "clean.jsonl", elsewhere / "clean.jsonl"):
        words = ["data", "check", f"manifest:{path}", "--workers", "0", "--fix", str(clean)]
        assert main(words) == 1
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"not clean: 1 bad utterance; {clean} holds the 7 good ones"
        found = [json.loads(line) for line in clean.read_text().splitlines()]
        assert [one["kept"] for one in found] == [0, 1, 2, 4, 5, 6, 7]
        assert checked(capsys, clean) == (0, {})
        assert main(words) == 2
        assert "--fix overwrites nothing" in capsys.readouterr().err
    assert {one: one.read_bytes() for one in before} == before


def test_other_data_sets_get_a_manifest_of_what_is_known(
    corpus_of_eight: tuple[Path, list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, rows = corpus_of_eight
    for number, row in enumerate(rows):
        (folder / f"{number}.txt").write_text(str(row["text"]))
    clean = folder / "clean.jsonl"
    assert main(["data", "check", f"folder:{folder}", "--workers", "0", "--fix", str(clean)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"clean; {clean} holds the 8 good ones"
    first = json.loads(clean.read_text().splitlines()[0])
    assert first["audio_filepath"] == "0.flac" and first["text"] == TEXTS[0]
    assert checked(capsys, clean) == (0, {})


def test_a_checkpoint_says_what_the_data_must_be(
    checkpoint: Path,
    probe: Path,
    corpus_of_eight: tuple[Path, list[dict[str, object]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, rows = corpus_of_eight
    rows[3]["text"] = "bad zebra"
    path = manifest(folder, rows)
    for model in (checkpoint, checkpoint.parent):
        status, found = checked(capsys, path, "--checkpoint", model)
        assert (status, found) == (1, {"characters": ["u3"]})
    status, found = checked(capsys, path, "--model", "probe", "--config", "tiny")
    assert (status, found) == (0, {})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", "asr-lab data check DATASET"),
        ("chek spoken/en", "did you mean check?"),
        ("check", "DATASET is missing"),
        ("check spoken/en spoken/en", "dataset must be one; got 2"),
        ("check spoken/en --model conformer", "model and config go together"),
        ("check spoken/en --fix x.csv", "must end with .jsonl"),
        ("check spoken/en --fix x.jsonl", "audio inside a shard"),
        ("check spoken/en --tokenizer bpe", "KIND:FILE"),
        ("check spoken/en --tokenizer bpe:none", "cannot read none"),
        ("check spoken/en --min-duration 40", "below max-duration"),
        ("check spoken/en --workers -2", "-1 or more"),
        ("check manifest:none.jsonl", "no file or folder"),
    ],
)
def test_mistakes_are_one_line(words: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *words.split()]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_what_is_unusual_is_found_among_many() -> None:
    pool = list(read(None, "en", "train"))[:80]
    longest = max(pool, key=lambda one: one.duration)
    odd = replace(longest, id="odd", text="a")
    report = check_data("x", [odd, *(one for one in pool if one != longest)])
    assert [(one.kind, one.id) for one in report.findings] == [("unusual", "odd")]


def test_a_missing_shard_stops_nothing(tmp_path: Path) -> None:
    good = list(read(None, "en", "test"))[:2]
    cut = tmp_path / "shard"
    shutil.copy(good[0].audio.path, cut)
    with cut.open("r+b") as file:
        file.truncate(100)
    audio = AudioSource(path=str(cut), offset=good[0].audio.offset, size=good[0].audio.size)
    bad = Utterance(id="bad", audio=audio, text="x", duration=1.0)
    report = check_data("x", [bad, *good])
    assert [(one.kind, one.id) for one in report.findings] == [("damaged", "bad")]
