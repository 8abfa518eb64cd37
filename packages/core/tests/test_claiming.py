"""Of several that want the same folder for a run, one gets it, and the others say so in a line."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from asr_lab.cli.run_options import parse_run
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.record import RECORD, RunRecord
from asr_lab.training.claiming import check_output, claim_folder
from asr_lab.training.config import RunConfig
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import CannotWriteError, create_file

Command = Callable[..., list[str]]
MANY = 6


@pytest.fixture
def config(command: Command) -> Callable[..., RunConfig]:
    """Return a function that reads the flags of a run."""
    return lambda *flags: parse_run(command(*flags)[1:], installed_plugins().registry)[0]


def begin(name: str) -> Callable[[Path], RunRecord]:
    return lambda folder: RunRecord(run_id=name)


def together(work: Callable[[int], object]) -> list[object]:
    """Let many threads do something at the same time; return results and the lines of errors."""
    start = Barrier(MANY)

    def one(number: int) -> object:
        start.wait()
        try:
            return work(number)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(one, range(MANY)))


@pytest.mark.parametrize("there", ["nothing", "an empty folder", "what a kill left"])
def test_one_of_many_gets_a_new_folder(
    there: str, config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    for turn in range(20):
        folder = tmp_path / "deeper" / f"{turn}"
        if there != "nothing":
            folder.mkdir(parents=True)
        if there == "what a kill left":
            (folder / ".partial-run.json-00").write_text("{")
        wanted = config("--output", folder)
        found = together(lambda n, c=wanted: claim_folder(c, None, begin(str(n))))  # type: ignore[misc]
        (winner,) = [number for number, one in enumerate(found) if one == folder]
        assert RunRecord.read(folder).run_id == str(winner)
        found.remove(folder)
        assert set(found) == {f"{folder} exists; choose another --output or say --overwrite"}


def test_one_of_many_overwrites_a_run(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    for turn in range(20):
        folder = tmp_path / f"{turn}"
        (folder / "checkpoints" / "step-1").mkdir(parents=True)
        (folder / "checkpoints" / "step-1" / "model").write_text("old")
        RunRecord(run_id="old").write(folder)
        wanted = config("--overwrite --output", folder)
        before = check_output(wanted)
        found = together(lambda n, c=wanted, b=before: claim_folder(c, b, begin(str(n))))  # type: ignore[misc]
        (winner,) = [number for number, one in enumerate(found) if one == folder]
        assert RunRecord.read(folder).run_id == str(winner)
        assert [path.name for path in folder.iterdir()] == [RECORD]
        assert all("use" in str(one) or "exists" in str(one) for one in found if one != folder)


def test_a_run_that_began_in_the_meantime_is_not_overwritten(
    config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    wanted = config("--overwrite --output", folder)
    assert claim_folder(wanted, check_output(wanted), begin("first")) == folder
    old = check_output(wanted)
    RunRecord(run_id="another").write(folder)
    for before in (None, old):
        with pytest.raises(UserError, match="run is in use by another process; choose another"):
            claim_folder(wanted, before, begin("late"))
        assert RunRecord.read(folder).run_id == "another"
        assert [path.name for path in folder.iterdir()] == [RECORD]


def test_a_removal_that_was_killed_is_gone_on_with(
    config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    RunRecord(run_id="old").write(folder)
    (folder / "best.pt").write_text("old")
    (folder / RECORD).rename(folder / ".partial-run.json-00")  # the first thing that is done
    with pytest.raises(UserError, match="run exists; choose another --output or say --overwrite"):
        check_output(config("--output", folder))
    wanted = config("--overwrite --output", folder)
    assert claim_folder(wanted, check_output(wanted), begin("new")) == folder
    assert [path.name for path in folder.iterdir()] == [RECORD]


def test_what_is_no_run_is_never_overwritten(
    config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    (tmp_path / "thesis.tex").write_text("a year of work")
    wanted = config("--overwrite --output", tmp_path)
    for attempt in (check_output, lambda c: claim_folder(c, None, begin("new"))):
        with pytest.raises(UserError, match="is not the folder of a run; choose another --output"):
            attempt(wanted)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_file_is_made_once_and_completely(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")  # what FAT says

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "file"
    content = json.dumps(list(range(5000)))
    made = together(lambda number: create_file(path, f"{number} {content}"))
    assert sorted(made, key=bool) == [False] * (MANY - 1) + [True]
    assert path.read_text() == f"{made.index(True)} {content}"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError, match="cannot write .*file: no such file or directory"):
        create_file(tmp_path / "missing" / "file", "")
