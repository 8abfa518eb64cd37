"""What people get wrong before training: status 2, one line, nothing written or overwritten."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints import read_portable, write_portable
from asr_lab.cli import main
from asr_lab.tokenizers import CharacterTokenizer

Command = Callable[..., list[str]]
Train = Callable[..., int]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def error(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the only line on standard error, without the name of the program."""
    told = capsys.readouterr().err
    assert told.startswith("asr-lab: ") and told.endswith("\n") and told.count("\n") == 1, told
    return told.removeprefix("asr-lab: ").rstrip("\n")


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """Return the line that a command printed that was refused."""
    assert status == 2
    return error(capsys)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, so that what is written by default is noticed."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--train.lrr 1", "--train.lrr: no such flag; did you mean --train.lr?"),
        ("--seed 1 --seed 2", "--seed is given twice"),
        ("--config tinny", "no preset of probe 'tinny'; did you mean tiny? (asr-lab models"),
        ("--data spokn", "--data spokn: no data set 'spokn'; did you mean spoken?"),
        ("--data manifest:no.jsonl", "--data manifest:no.jsonl: no file or folder 'no.jsonl'"),
        ("--train.steps -1 --train.epochs 0", "--train.epochs must be above 0"),
        ("--model.dim x", "--model.dim x: not a whole number"),
        ("--precision fp8", "--precision fp8: "),
        ("--device tpu", "--device tpu: no device 'tpu'"),
    ],
)
def test_a_wrong_flag_is_refused_before_anything_is_read(
    flags: str, line: str, train: Train, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, train(flags)).startswith(line)
    assert contents(elsewhere) == {}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("", "data set manifest/all (bad.jsonl) is empty; it has no utterance"),
        ("\n\n", "data set manifest/all (bad.jsonl) is empty; it has no utterance"),
        ('{"audio_filepath": "a.wav", "text": "a"}\nnonsense\n', "bad.jsonl:2 is not JSON: "),
        ("[1]\n", "bad.jsonl:1 is not a JSON object"),
        ('{"text": "a"}\n', "bad.jsonl:1 has no 'audio_filepath'"),
        ('{"audio_filepath": "a.wav"}\n', "bad.jsonl:1 has no 'text'"),
        ('{"audio_filepath": "a.wav", "text": 1}\n', "bad.jsonl:1: 'text' must be a string"),
        (2 * '{"audio_filepath": "a.wav", "text": "a"}\n', "bad.jsonl: lines 1 and 2 have id 'a'"),
    ],
)
@pytest.mark.parametrize("flag", ["--data", "--dev-data", "--eval-data"])
def test_a_wrong_manifest_is_refused_with_its_line(
    flag: str,
    lines: str,
    reason: str,
    train: Train,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (elsewhere / "bad.jsonl").write_text(lines)
    assert refused(capsys, train(flag, "manifest:bad.jsonl")).startswith(reason)
    assert list(contents(elsewhere)) == ["bad.jsonl"]


def test_one_sentence_cannot_be_split_into_training_and_dev(
    train: Train, command: Command, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (corpus / "dev" / "manifest.jsonl").read_text().splitlines()[0]
    entry = {**json.loads(line), "audio_filepath": str(corpus / "dev" / "utterance-0000.wav")}
    Path("one.jsonl").write_text(json.dumps(entry) + "\n")
    words = command("--data manifest:one.jsonl")
    del words[words.index("--dev-data") : words.index("--dev-data") + 2]
    assert refused(capsys, main(words)) == (
        "one distinct sentence cannot be split; name a dev set with --dev-data"
    )


# Folders


def test_an_existing_output_folder_is_kept_unless_it_is_a_run_to_overwrite(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, photos, file = tmp_path / "run", tmp_path / "photos", tmp_path / "file"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"dear")
    file.write_text("dear")
    assert train("--train.steps 1 --output", run) == 0
    before = contents(tmp_path)
    capsys.readouterr()
    for taken in (run, photos, file):
        advice = "choose another --output or say --overwrite"
        assert refused(capsys, train("--output", taken)) == f"{taken} exists; {advice}"
        assert refused(capsys, train("--dry-run --output", taken)) == f"{taken} exists; {advice}"
    for taken in (photos, file):
        line = refused(capsys, train("--overwrite --output", taken))
        assert line == f"{taken} is not the folder of a run; choose another --output"
    # Not even a run that may be overwritten is touched before data and settings are known to work.
    (tmp_path / "empty.jsonl").write_text("")
    empty = f"--data manifest:{tmp_path}/empty.jsonl"
    assert "is empty" in refused(capsys, train("--overwrite", empty, "--output", run))
    (tmp_path / "empty.jsonl").unlink()
    assert contents(tmp_path) == before
    assert train("--train.steps 2 --overwrite --output", run) == 0
    assert json.loads((run / "run.json").read_text())["config"]["train"]["steps"] == 2
    (tmp_path / "new").mkdir()
    assert train("--train.steps 1 --output", tmp_path / "new") == 0


def test_a_read_only_output_folder_is_one_line(
    train: Train, mounted: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mounted("ro")
    line = refused(capsys, train("--output", folder / "run"))
    reason = "read-only file system; make room or choose another folder"
    assert line == f"cannot write {folder}/run: {reason}"


def test_a_read_only_working_folder_is_one_line(
    train: Train,
    mounted: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(mounted("ro"))
    assert "read-only file system" in refused(capsys, train())


@pytest.mark.parametrize("kilobytes", [4, 40, 100])
def test_a_full_disk_is_one_line_and_leaves_what_was_complete(
    kilobytes: int,
    train: Train,
    mounted: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = mounted(f"size={kilobytes}k")
    assert train("--train.save-every 1 --train.keep 9 --output", folder / "run") == 2
    line = error(capsys)
    assert line.startswith(f"cannot write {folder}/run")
    assert line.endswith(": no space left on device; make room or choose another folder")
    if (folder / "run" / "run.json").exists():
        mounted("size=4m")
        assert main(["resume", str(folder / "run")]) == 0
    else:
        assert kilobytes == 4


# Checkpoints


@pytest.fixture
def checkpoint(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return the best.pt of a short run."""
    assert train("--train.steps 1 --output", tmp_path / "run") == 0
    capsys.readouterr()
    return tmp_path / "run" / "best.pt"


def evaluate(checkpoint: Path, corpus: Path, *flags: str) -> int:
    dataset = f"manifest:{corpus}/test/manifest.jsonl"
    words = ["--checkpoint", str(checkpoint), "--dataset", dataset, "--device", "cpu", *flags]
    return main(["evaluate", *words, "--workers", "0"])


class Bomb:
    """Would make a file if it were unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("exploded"),))


def spoil(kind: str, path: Path) -> None:
    """Replace a checkpoint by one that cannot be used."""
    portable = read_portable(path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif kind == "changed":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif kind == "of another model":
        write_portable(path, replace(portable, model="probe/whale"))
    elif kind == "of another size":
        write_portable(path, replace(portable, config={**portable.config, "dim": 7}))
    elif kind == "of another vocabulary":
        letters = CharacterTokenizer("abc")
        write_portable(path, replace(portable, tokenizer=letters.to_bytes()))
    elif kind == "of a newer format":
        torch.save({**torch.load(path, weights_only=True), "format_version": 9}, path)
    elif kind == "code":
        torch.save({"model": Bomb()}, path)
    elif kind == "a bare pickle":
        path.write_bytes(pickle.dumps(Bomb()))
    elif kind == "text":
        path.write_text("weights")
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("truncated", "is truncated or damaged"),
        ("changed", "is truncated or damaged: Bad CRC"),
        ("of another model", "the checkpoint's model 'probe/whale' is not installed; install"),
        ("of another size", "this is a checkpoint of another model than probe/probe"),
        (
            "of another vocabulary",
            "the checkpoint's tokenizer has 3 tokens, but its model scores 7",
        ),
        ("of a newer format", "is format 9; this version reads up to 1; upgrade asr-lab-core"),
        ("code", "asks for __builtin__.getattr, which may run code, and was refused"),
        ("a bare pickle", "best.pt"),
        ("text", "best.pt"),
        ("missing", "best.pt"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_one_line(
    kind: str,
    reason: str,
    checkpoint: Path,
    corpus: Path,
    command: Command,
    elsewhere: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(kind, checkpoint)
    before = contents(checkpoint.parent)
    audio = str(corpus / "test" / "utterance-0000.wav")
    assert reason in refused(capsys, evaluate(checkpoint, corpus))
    assert reason in refused(capsys, main(["transcribe", audio, "--checkpoint", str(checkpoint)]))
    assert reason in refused(capsys, main(command("--from", checkpoint)))
    assert contents(checkpoint.parent) == before
    assert contents(elsewhere) == {}  # nothing exploded
