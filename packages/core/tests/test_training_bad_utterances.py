"""Utterances that cannot be used: status 2 and a name under `fail`, a count under `skip`."""

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr_lab.cli import main
from asr_lab.testing.speech import tone_speech

Command = Callable[..., list[str]]
Train = Callable[..., int]
NAME = "utterance-0003"
SHORT = "--train.steps 9 --train.eval-every 9 --data.workers 0"


def long_file(path: Path, hours: float = 3.0, rate: int = 8000) -> None:
    """Write a WAV file of silence that takes no room on the disk."""
    size = int(hours * 3600) * rate * 2
    fields = (b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", size)
    path.write_bytes(struct.pack("<4sI4s4sIHHIIHH4sI", *fields))
    with path.open("r+b") as file:
        file.truncate(44 + size)


def spoil(kind: str, audio: Path) -> None:
    """Replace audio by a file that cannot be used."""
    samples, rate = soundfile.read(audio, dtype="int16")
    if kind == "missing":
        audio.unlink()
    elif kind == "empty":
        audio.write_bytes(b"")
    elif kind == "without samples":
        soundfile.write(audio, samples[:0], rate)
    elif kind == "truncated":
        audio.write_bytes(audio.read_bytes()[:2000])
    elif kind == "not audio":
        audio.write_text("These are words.\n" * 100)
    elif kind == "1 ms long":
        soundfile.write(audio, samples[: rate // 1000], rate)
    elif kind == "NaN":
        spoilt = samples / 32768
        spoilt[len(spoilt) // 2] = np.nan
        soundfile.write(audio, spoilt, rate, subtype="FLOAT")
    else:
        long_file(audio)


REASONS = {
    "missing": "is not there",
    "empty": "is empty; 0 bytes",
    "without samples": "holds no samples",
    "truncated": "is cut off",
    "not audio": "is not audio in a known format",
    "3 hours long": "10800.0 s",
    "NaN": "has samples that are NaN or infinite",
}
SHOWN_LATE = ("NaN",)
"""What no header shows."""


@pytest.fixture
def spoilt(corpus: Path, tmp_path: Path) -> Callable[..., str]:
    """Return a function that copies a part of the corpus with one utterance spoilt."""

    def copy(split: str, kind: str, *, stated: bool) -> str:
        folder = tmp_path / split
        shutil.copytree(corpus / split, folder)
        spoil(kind, folder / f"{NAME}.wav")
        manifest = folder / "manifest.jsonl"
        entries = [json.loads(line) for line in manifest.read_text().splitlines()]
        for entry in entries if not stated else ():
            del entry["duration"]
        manifest.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        return f"manifest:{manifest}"

    return copy


def one_line(capsys: pytest.CaptureFixture[str], status: int) -> str:
    assert status == 2
    told = capsys.readouterr().err
    assert told.startswith("asr-lab: ") and told.count("\n") == 1, told
    return told


def bad_lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "bad-utterances.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize(("stated", "hours"), [(True, 0), (True, 4), (False, 0)])
def test_bad_audio_ends_training_with_the_name_of_the_utterance(
    kind: str,
    stated: bool,
    hours: float,
    train: Train,
    spoilt: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    data = f"--data {spoilt('train', kind, stated=stated)} --data.cache-hours {hours}"
    told = one_line(capsys, train(SHORT, data, "--train.save-every 1 --output", run))
    assert f"utterance '{NAME}': " in told and REASONS[kind].split(" s")[0] in told
    assert "mend it or say --on-bad-utterance skip" in told
    # Only what shows at the moment the file is decoded can come after the start.
    assert run.exists() == ((stated or kind in SHOWN_LATE) and not hours)


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize(("stated", "hours"), [(True, 0), (False, 4)])
def test_bad_audio_can_be_left_out_and_is_counted(
    kind: str,
    stated: bool,
    hours: float,
    train: Train,
    spoilt: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    data = f"--data {spoilt('train', kind, stated=stated)} --data.cache-hours {hours}"
    assert train(SHORT, data, "--on-bad-utterance skip --output", run) == 0
    told = capsys.readouterr().out
    assert f"note   1 bad utterance left out; see {run}/bad-utterances.jsonl" in told
    at_once = not stated and kind not in SHOWN_LATE
    assert (f"1 bad utterance left out of training: {NAME}: " in told) == at_once
    (line,) = bad_lines(run)
    assert line["id"] == NAME and REASONS[kind].split(" s")[0] in str(line["problem"])
    state = json.loads((run / "run.json").read_text())["results"]["state"]
    assert (state["bad_utterances"], state["skipped_total"]) == (1, 0)  # no step was spoilt


@pytest.mark.parametrize("stated", [True, False])
def test_a_millisecond_of_audio_follows_the_policy(
    stated: bool,
    train: Train,
    spoilt: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = f"--data {spoilt('train', '1 ms long', stated=stated)}"
    told = one_line(capsys, train(SHORT, data, "--output", tmp_path / "run"))
    assert f"utterance '{NAME}': " in told
    assert ("lasts 1 ms, which is too short" if stated else "0.001 s is shorter than") in told
    assert train(SHORT, data, "--on-bad-utterance skip --output", tmp_path / "run") == 0
    assert [line["id"] for line in bad_lines(tmp_path / "run")] == [NAME]


@pytest.mark.parametrize("stated", [True, False])
def test_a_millisecond_without_a_step_of_the_model_follows_the_policy_in_evaluations(
    stated: bool,
    train: Train,
    spoilt: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = "--train.steps 1 --model.features kaldi --output"  # 5 ms make a frame of kaldi's
    test = spoilt("test", "1 ms long", stated=stated)
    told = one_line(capsys, train(flags, tmp_path / "run", f"--eval-data {test}"))
    assert f"utterance '{NAME}': audio file" in told and "the model needs 5 ms or more" in told
    assert train(flags, tmp_path / "run", f"--eval-data {test} --on-bad-utterance skip") == 0
    assert "(4 utterances, 1 skipped, " in capsys.readouterr().out
    words = f"evaluate --checkpoint {tmp_path}/run --dataset {test} --workers 0 --device cpu"
    assert "the model needs 5 ms or more" in one_line(capsys, main(words.split()))
    assert main([*words.split(), "--on-bad-utterance", "skip"]) == 0
    assert "(4 utterances, 1 skipped, " in capsys.readouterr().out


def test_the_cache_does_not_change_what_a_run_with_bad_audio_learns(
    train: Train, spoilt: Callable[..., str], tmp_path: Path
) -> None:
    data = f"--data {spoilt('train', 'truncated', stated=True)} --on-bad-utterance skip"
    for hours in (0, 4):
        assert (
            train(SHORT, data, f"--data.cache-hours {hours} --output", tmp_path / str(hours)) == 0
        )
    weights = [
        (tmp_path / hours / "checkpoints" / "step-00000009" / "model.safetensors").read_bytes()
        for hours in ("0", "4")
    ]
    assert weights[0] == weights[1]


def test_a_run_that_stopped_at_bad_audio_goes_on_once_it_is_mended(
    train: Train,
    spoilt: Callable[..., str],
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    data = f"--data {spoilt('train', 'truncated', stated=True)} --data.cache-hours 0"
    told = one_line(capsys, train(SHORT, data, "--output", run))
    assert f"is saved in {run}" in told
    assert json.loads((run / "run.json").read_text())["status"] == "failed"
    shutil.copy(corpus / "train" / f"{NAME}.wav", tmp_path / "train")
    assert main(["resume", str(run)]) == 0
    assert json.loads((run / "run.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(("flag", "split"), [("--dev-data", "dev"), ("--eval-data", "test")])
@pytest.mark.parametrize("stated", [True, False])
def test_bad_audio_in_dev_and_test_sets_follows_the_policy_too(
    flag: str,
    split: str,
    stated: bool,
    train: Train,
    spoilt: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = f"{flag} {spoilt(split, 'truncated', stated=stated)}"
    told = one_line(capsys, train(SHORT, data, "--output", tmp_path / "run"))
    assert f"utterance '{NAME}': " in told and not (tmp_path / "run").exists()
    assert train(SHORT, data, "--on-bad-utterance skip --output", tmp_path / "run") == 0
    told = capsys.readouterr().out
    assert (f"1 bad utterance left out of the {split} set" in told) == (not stated)
    assert ("(4 utterances, 1 skipped, " in told) == (split == "test")


@pytest.mark.parametrize("kind", REASONS)
@pytest.mark.parametrize("stated", [True, False])
def test_bad_audio_in_an_evaluation_follows_the_policy(
    kind: str,
    stated: bool,
    model: Path,
    spoilt: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "result"
    dataset = spoilt("test", kind, stated=stated)
    words = f"evaluate --checkpoint {model} --dataset {dataset} --workers 0 --output {output}"
    capsys.readouterr()
    told = one_line(capsys, main(words.split()))
    assert f"utterance '{NAME}': " in told and REASONS[kind].split(" s")[0] in told
    assert "--data." not in told  # evaluate has a --max-duration of its own
    assert not output.exists()
    assert main([*words.split(), "--on-bad-utterance", "skip"]) == 0
    assert "(4 utterances, 1 skipped, " in capsys.readouterr().out


@pytest.fixture
def model(train: Train, tmp_path: Path) -> Path:
    """Return a checkpoint."""
    assert train("--train.steps 1 --output", tmp_path / "model") == 0
    return tmp_path / "model" / "best.pt"


def test_a_corpus_of_bad_utterances_alone_is_refused_under_either_policy(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"audio_filepath": f"{name}.wav", "text": name}) for name in "abc"]
    (tmp_path / "bad.jsonl").write_text("\n".join(lines))
    for policy in ("fail", "skip"):
        data = f"--data manifest:{tmp_path}/bad.jsonl --on-bad-utterance {policy}"
        assert "utterance 'a' (and 2 more): " in one_line(capsys, train(data))


# Texts


def write(folder: Path, texts: list[str]) -> str:
    """Write utterances that all sound alike."""
    folder.mkdir()
    lines = []
    for number, text in enumerate(texts):
        name = f"{number}.wav"
        soundfile.write(folder / name, tone_speech("abcabc", number), 16000)
        lines.append(json.dumps({"audio_filepath": name, "text": text}, ensure_ascii=False))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    return f"manifest:{folder}/manifest.jsonl"


@pytest.mark.parametrize(
    ("tokenizer", "text", "reason"),
    [
        ("letters", "café 7", "characters outside the tokenizer: '7' (U+0037), 'é' (U+00E9)"),
        ("bpe --data.vocab 265", "a\u2581b", "bpe cannot represent U+2581"),
    ],
)
def test_characters_outside_the_tokenizer_follow_the_policy(
    tokenizer: str,
    text: str,
    reason: str,
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = ["abc", "cab", text, "bca abc abab cabba"]
    data = f"--data {write(tmp_path / 'text', texts)} --data.tokenizer {tokenizer}"
    told = one_line(capsys, train(SHORT, data, "--output", tmp_path / "run"))
    assert "utterance '2': " in told and reason in told and not (tmp_path / "run").exists()
    assert train(SHORT, data, "--on-bad-utterance skip --output", tmp_path / "run") == 0
    assert f"1 bad utterance left out of training: 2: {'text has ' * (text[0] == 'c')}" in (
        capsys.readouterr().out
    )


def test_dev_and_test_texts_may_hold_any_character(train: Train, tmp_path: Path) -> None:
    other = write(tmp_path / "text", ["Ça va?", "größe 7", ""])
    flags = f"--dev-data {other} --eval-data {other} --output"
    assert train(SHORT, flags, tmp_path / "run") == 0


def test_a_text_longer_than_ctc_allows_follows_the_policy(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"--data {write(tmp_path / 'text', ['abc', 'cab', 'ab' * 60])}"
    told = one_line(capsys, train(SHORT, data, "--output", tmp_path / "run"))
    assert "utterance '2': 120 tokens need 120 encoder steps for CTC, and it has 1" in told
    assert train(SHORT, data, "--on-bad-utterance skip --output", tmp_path / "run") == 0
    assert "1 bad utterance left out of training: 2: 120 tokens" in capsys.readouterr().out
    # The highest speed leaves the fewest steps.
    data = f"--data {write(tmp_path / 'fast', ['abc', 'cab', 'abc' * 5])}"
    assert train(SHORT, data, "--dry-run") == 0
    assert "15 tokens need 15" in one_line(capsys, train(data, "--data.speeds 1.0 1.6 --dry-run"))


def test_a_model_without_ctc_takes_a_text_of_any_length(train: Train, tmp_path: Path) -> None:
    data = f"--data {write(tmp_path / 'text', ['abc', 'cab', 'ab' * 60])}"
    assert train(data, "--no-model.ctc --dry-run") == 0
    assert train(data, "--model.ctc --dry-run") == 2


# What works


def test_audio_of_any_usual_kind_trains_and_evaluates(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"{first}{second}" for first in "abc" for second in "abcd"]
    folder = tmp_path / "mixed"
    folder.mkdir()
    lines = []
    for number, text in enumerate(texts):
        rate = (8000, 16000, 44100)[number % 3]
        samples = tone_speech(text, number, rate).astype(np.float64) / 32768
        ending, subtype = (
            ("wav", "PCM_24"),
            ("ogg", "OPUS"),
            ("mp3", "MPEG_LAYER_III"),
            ("flac", "PCM_16"),
            ("wav", "FLOAT"),
        )[number % 5]
        rate = 48000 if subtype == "OPUS" and rate == 44100 else rate
        stereo = np.stack([samples, samples], 1) if number % 2 else samples
        soundfile.write(folder / f"{number}.{ending}", stereo, rate, subtype=subtype)
        lines.append(json.dumps({"audio_filepath": f"{number}.{ending}", "text": text}))
    (folder / "manifest.jsonl").write_text("\n".join(lines))
    data = f"manifest:{folder}/manifest.jsonl"
    flags = f"--data {data} --dev-data {data} --eval-data {data} --output"
    assert train(SHORT, flags, tmp_path / "run") == 0
    assert "(12 utterances, normaliser" in capsys.readouterr().out
    words = f"evaluate --checkpoint {tmp_path}/run --dataset {data} --device cpu --workers 0"
    assert main(words.split()) == 0
    assert "(12 utterances, normaliser" in capsys.readouterr().out
