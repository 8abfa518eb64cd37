"""What cannot be gone on with is told in one line, and nothing of the run is overwritten."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.checkpoints import load, save
from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main

Train = Callable[..., int]
FLAGS = "--train.save-every 4 --train.ema 0.9"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def copy(corpus: Path, tmp_path: Path) -> Path:
    """Return a copy of the training data."""
    return Path(shutil.copytree(corpus / "train", tmp_path / "corpus"))


@pytest.fixture
def stopped(train: Train, copy: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that gives the folder of a run that was stopped after its fourth step."""

    def run(*flags: str, name: str = "run", every: int = 4) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PROBE_SIGNAL", "SIGTERM:4")
            data = f"--data manifest:{copy}/manifest.jsonl --train.digest-every {every}"
            assert train(FLAGS, data, *flags, "--output", tmp_path / name) == 130
        return tmp_path / name

    return run


def refused(capsys: pytest.CaptureFixture[str], *words: object, run: Path) -> str:
    """Return the one line that a command says to a run; the run stays as it is."""
    before = contents(run)
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    line = capsys.readouterr().err
    assert line.startswith("asr-lab: ") and line.count("\n") == 1, line
    assert contents(run) == before
    return line.removeprefix("asr-lab: ").rstrip("\n")


@pytest.mark.parametrize("word", ["resume", "verify", "reproduce", "bisect"])
def test_the_record_of_a_newer_version_is_refused_by_every_command(
    word: str, stopped: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped()
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "schema": 7, "more": 1}))
    words = [word, run, run] if word == "bisect" else [word, run]
    assert refused(capsys, *words, run=run) == (
        f"{run}/run.json is version 7; this version reads up to 1; upgrade asr-lab-core"
    )


def test_a_checkpoint_of_a_newer_format_is_refused_though_there_is_an_older_one(
    stopped: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = stopped()
    with monkeypatch.context() as newer:
        newer.setattr("asr_lab.checkpoints.directory.FORMAT", 9)
        found = load(run / "checkpoints" / "step-00000004")
        path = save(run / "checkpoints", 5, found.tensors, found.state)
    assert refused(capsys, "resume", run, run=run) == (
        f"{path} is format 9; this version reads up to 1; upgrade asr-lab-core"
    )


def test_audio_that_has_moved_is_named_with_its_file(
    stopped: Callable[..., Path], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped()
    for number in (3, 9):
        (copy / f"utterance-000{number}.wav").rename(copy / f"moved-{number}.wav")
    line = refused(capsys, "resume", run, run=run)
    assert f"utterance 'utterance-0003' (and 1 more): audio file {copy}/utterance-0003.wav" in line
    assert "is not there; check the path" in line


@pytest.mark.parametrize("word", ["resume", "reproduce"])
def test_a_manifest_that_has_moved_is_named(
    word: str, stopped: Callable[..., Path], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = stopped()
    copy.rename(copy.with_name("elsewhere"))
    line = refused(capsys, word, run, run=run)
    assert line == f"no file or folder '{copy}/manifest.jsonl' for data set manifest"


@pytest.mark.parametrize("every", [0, 4])
@pytest.mark.parametrize("what", ["tokenizer", "configuration"])
def test_the_checkpoint_of_another_tokenizer_or_configuration_is_refused_by_its_name(
    what: str,
    every: int,
    stopped: Callable[..., Path],
    copy: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its weights have the same names and shapes."""
    own = stopped(every=every)
    manifest, theirs = copy / "manifest.jsonl", ""
    content = manifest.read_text()
    if what == "tokenizer":
        rows = map(json.loads, content.splitlines())
        other = [{**row, "text": row["text"].replace("f", "g")} for row in rows]
        manifest.write_text("".join(json.dumps(row) + "\n" for row in other))
    else:
        theirs = "--model.dropout 0.5"
    name = "checkpoints/step-00000004"
    shutil.rmtree(own / name)
    shutil.copytree(stopped(theirs, name="other", every=every) / name, own / name)
    manifest.write_text(content)
    line = refused(capsys, "resume", own, run=own)
    assert line.startswith(f"checkpoint {own / name} is that of another {what} than this run's (")


def test_checkpoints_that_do_not_say_where_they_come_from_are_gone_on_with(
    stopped: Callable[..., Path],
) -> None:
    """Those of the first versions."""
    run = stopped()
    ((_, path),) = steps(run / "checkpoints")
    found = load(path)
    plain = {name: value for name, value in found.state.items() if name != "origin"}
    assert len(plain) == len(found.state) - 1
    save(path.parent, 4, found.tensors, plain)
    assert main(["resume", str(run)]) == 0
