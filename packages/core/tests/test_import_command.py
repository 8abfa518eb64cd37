"""`asr-lab import` and `export`: what comes of a file, and each mistake told in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from asr_lab.checkpoints import read_portable, write_portable
from asr_lab.checkpoints.formats import find_format
from asr_lab.cli import main
from asr_lab.plugins import FormatSpec, Registry
from asr_lab.testing.speech import tone_speech
from asr_lab.tokenizers import train_tokenizer
from asr_lab.utils.errors import UserError

Transcribe = Callable[..., int]
pytestmark = pytest.mark.usefixtures("probe")


@pytest.fixture
def foreign(checkpoint: Path, probe: Path, tmp_path: Path) -> Path:
    """Return the trained probe as a file of another system."""
    path = tmp_path / "trained.probe"
    assert main(["export", str(checkpoint), "--format", "probe", "--output", str(path)]) == 0
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return the one line in which a command refuses."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    printed = capsys.readouterr()
    assert (status, printed.out, printed.err.count("\n")) == (2, "", 1), printed
    return printed.err.removeprefix("asr-lab: ").rstrip("\n")


def contents(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder, hidden and unfinished ones too."""
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_what_is_exported_and_imported_again_is_the_same_model(
    checkpoint: Path, foreign: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.pt"
    assert main(["import", str(foreign), "--output", str(again), "--language", "en"]) == 0
    before, after = read_portable(checkpoint), read_portable(again)
    assert (after.model, after.distribution) == ("probe/probe", "probe-asr")
    assert (after.distribution_version, after.language, after.run_id) == ("1.0", "en", "")
    same = ("config", "features", "tokenizer_kind", "tokenizer")
    assert all(getattr(after, name) == getattr(before, name) for name in same)
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(value, before.tensors[name]) for name, value in after.tensors.items())


def test_the_same_file_gives_the_same_bytes(foreign: Path, tmp_path: Path) -> None:
    made = [tmp_path / "a.pt", tmp_path / "b.pt"]
    for path in made:
        assert main(["import", str(foreign), "--output", str(path)]) == 0
    assert made[0].read_bytes() == made[1].read_bytes()


def test_an_imported_checkpoint_is_evaluated_and_transcribes_as_the_first(
    checkpoint: Path,
    foreign: Path,
    transcribe: Transcribe,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = tmp_path / "best.pt"
    assert main(["import", str(foreign), "--output", str(best)]) == 0
    soundfile.write(tmp_path / "a.wav", tone_speech("bad face", 7000, 16000), 16000)
    capsys.readouterr()
    assert transcribe(tmp_path / "a.wav", model=best) == 0
    assert capsys.readouterr().out == "bad face\n"
    results = []
    data = f"manifest:{checkpoint.parents[1] / 'eval-data' / 'manifest.jsonl'}"
    for model in (checkpoint, best):
        words = ["--checkpoint", str(model), "--dataset", data, "--device", "cpu", "--json"]
        assert main(["evaluate", *words, "--workers", "0"]) == 0
        results.append(json.loads(capsys.readouterr().out)["words"])
    assert results[0] == results[1] and results[0]["errors"] == 0


def test_the_next_command_that_is_printed_names_the_file_that_was_written(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = tmp_path / "best.pt"
    assert main(["import", str(foreign), "--output", str(best)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"probe/probe from {foreign} (probe)"
    assert lines[1].split() == ["file", str(best)]
    assert f"--checkpoint {best} " in lines[2]


# Output that is there, or that cannot be


def test_an_output_that_exists_is_kept_unless_it_was_said(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = tmp_path / "best.pt"
    best.write_text("dear")
    line = refused(capsys, "import", foreign, "--output", best)
    assert line == f"{best} exists; choose another --output or say --overwrite"
    assert best.read_text() == "dear"
    assert main(["import", str(foreign), "--output", str(best), "--overwrite"]) == 0
    assert read_portable(best).model == "probe/probe"
    assert {file.name for file in tmp_path.iterdir()} == {"best.pt", foreign.name}


def test_a_folder_is_never_replaced_by_an_import(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    line = refused(capsys, "import", foreign, "--output", folder, "--overwrite")
    assert line == f"{folder} is a folder; choose a file for --output"
    assert folder.is_dir()


@pytest.mark.parametrize("link", [False, True])
def test_an_import_never_replaces_what_it_reads(
    link: bool, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, before = foreign, foreign.read_bytes()
    if link:
        output = tmp_path / "other-name"
        output.hardlink_to(foreign)
    line = refused(capsys, "import", foreign, "--output", output, "--overwrite")
    assert line == f"{output} is the source itself; choose another --output"
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("name", ["probe", "names"])
def test_an_export_replaces_nothing(
    name: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("dear")
    folder.mkdir()
    (folder / "photo").write_text("dear")
    before = contents(tmp_path)
    for output in (file, folder):
        line = refused(capsys, "export", checkpoint, "--format", name, "--output", output)
        assert line == f"{output} exists; choose another --output"
    assert contents(tmp_path) == before


def test_an_empty_folder_may_be_filled(checkpoint: Path, tmp_path: Path) -> None:
    for output in (tmp_path / "empty", tmp_path / "new" / "deep"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert main(["export", str(checkpoint), "--format", "names", "--output", str(output)]) == 0
        assert set(read_portable(checkpoint).tensors) == {one.name for one in output.iterdir()}


def test_an_output_folder_that_is_read_only_is_one_line_and_leaves_nothing(
    checkpoint: Path,
    foreign: Path,
    mounted: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = mounted("ro")
    reason = "read-only file system; make room or choose another folder"
    line = refused(capsys, "import", foreign, "--output", folder / "best.pt")
    assert line == f"cannot write {folder}/best.pt: {reason}"
    line = refused(capsys, "export", checkpoint, "--format", "probe", "--output", folder / "x")
    assert line == f"cannot write {folder}/x: {reason}"
    line = refused(capsys, "export", checkpoint, "--format", "names", "--output", folder / "x")
    assert "read-only file system" in line


def test_a_place_that_is_not_there_is_named(
    checkpoint: Path, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "none" / "best.pt"
    line = refused(capsys, "import", foreign, "--output", place)
    assert line.startswith(f"cannot write {place}: no such file or directory; ")
    line = refused(capsys, "export", checkpoint, "--format", "probe", "--output", place)
    assert line.startswith(f"cannot write {place}: no such file or directory; ")
    assert not place.parent.exists()


# Formats


@pytest.mark.parametrize(
    ("command", "typo", "meant"),
    [
        ("import", "prob", "probe"),
        ("export", "nmaes", "names"),
        ("import", "probe/nam", "probe/names"),
    ],
)
def test_an_unknown_format_gives_the_nearest(
    command: str,
    typo: str,
    meant: str,
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "out"
    line = refused(capsys, command, checkpoint, "--format", typo, "--output", output)
    assert line.startswith(f"no format {typo!r}; did you mean {meant}")
    assert not output.exists()


def test_a_format_of_one_direction_says_so(
    checkpoint: Path, foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    line = refused(capsys, "import", foreign, "--format", "names", "--output", output)
    assert line.startswith("format 'names' can only be written; choose from ")
    assert {"old", "probe"} <= set(line.rpartition(" from ")[2].split(", "))
    line = refused(capsys, "export", checkpoint, "--format", "old", "--output", output)
    assert line == "format 'old' can only be read"
    assert not output.exists()


@pytest.mark.parametrize(
    ("suffix", "problem"), [(".txt", "of no known format"), (".both", "of more than one format")]
)
def test_a_file_whose_name_tells_no_format_needs_it_said(
    suffix: str,
    problem: str,
    foreign: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    renamed, best = foreign.rename(foreign.with_suffix(suffix)), tmp_path / "best.pt"
    line = refused(capsys, "import", renamed, "--output", best)
    assert line.startswith(f"{renamed} is {problem}; say --format (")
    assert main(["import", str(renamed), "--format", "probe", "--output", str(best)]) == 0


def test_with_no_plugin_that_has_a_format_none_is_offered(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"say --format \(none is installed\)"):
        find_format(tmp_path, "", Registry())


def test_one_name_of_two_plugins_asks_for_the_longer_one(tmp_path: Path) -> None:
    registry = Registry()
    target = "asr_lab.utils.files:is_taken"
    for owner in ("acme", "zoo"):
        with registry.registering(owner):
            spec = FormatSpec(name="x", summary="", model="m", detect=target, read=target)
            registry.add(spec)
    with pytest.raises(UserError, match=r"format 'x' is ambiguous; say acme/x or zoo/x"):
        find_format(tmp_path, "x", registry)
    assert find_format(tmp_path, "zoo/x", registry)[0] == "zoo"


# What is read


def test_a_source_that_is_not_there_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = tmp_path / "no.probe", tmp_path / "out"
    line = refused(capsys, "import", source, "--output", output)
    assert line == f"no file or folder {source}; check the path"
    line = refused(capsys, "export", source, "--format", "probe", "--output", output)
    assert str(source) in line and not output.exists()


@pytest.mark.parametrize("command", ["import", "export"])
def test_words_that_are_missing_are_asked_for_together(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command]) == 2
    told = capsys.readouterr().err.splitlines()
    first = "SOURCE" if command == "import" else "CHECKPOINT"
    missing = [line.split()[0] for line in told[1:]]
    assert missing == [first, *(["--format"] if command == "export" else []), "--output"]


def test_a_source_that_is_damaged_leaves_the_old_checkpoint(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = tmp_path / "best.pt"
    best.write_text("dear")
    foreign.write_text(foreign.read_text()[:-100])
    before = contents(tmp_path)
    line = refused(capsys, "import", foreign, "--output", best, "--overwrite")
    assert line.startswith(f"{foreign} holds no probe")
    assert contents(tmp_path) == before


def test_a_tokenizer_of_another_size_is_refused(
    foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = train_tokenizer("bpe", ["ab ace bad"], 270)
    edit(foreign, kind=small.kind, tokenizer=small.to_bytes().hex())
    line = refused(capsys, "import", foreign, "--output", tmp_path / "best.pt")
    assert line.startswith(f"{foreign} has 270 tokens, but the model scores ")
    assert not (tmp_path / "best.pt").exists()


def test_a_checkpoint_of_another_model_is_refused_with_both_names(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, output = tmp_path / "other.pt", tmp_path / "out"
    write_portable(other, replace(read_portable(checkpoint), model="acme/whale"))
    line = refused(capsys, "export", other, "--format", "probe", "--output", output)
    assert line == f"{other} is of model acme/whale; format probe is for probe/probe"
    assert not output.exists()


def test_a_model_that_the_other_system_cannot_hold_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    portable, other, output = read_portable(checkpoint), tmp_path / "other.pt", tmp_path / "out"
    write_portable(other, replace(portable, config={**portable.config, "poison": 7}))
    line = refused(capsys, "export", other, "--format", "probe", "--output", output)
    assert line == "the other system has no place for poison 7"
    assert not output.exists()


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_damaged_checkpoint_is_not_exported(
    cut: int, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, output = tmp_path / "damaged.pt", tmp_path / "out"
    damaged.write_bytes(checkpoint.read_bytes()[:cut])
    line = refused(capsys, "export", damaged, "--format", "probe", "--output", output)
    assert line.startswith(str(damaged)) and not output.exists()
