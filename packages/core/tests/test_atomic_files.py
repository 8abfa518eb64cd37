"""Files are replaced completely or not at all."""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asr_lab.testing.forks import forked
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import (
    EVENT,
    CannotWriteError,
    append,
    append_line,
    cut,
    fsync_folder,
    make_folder,
    replace,
    write_atomically,
    write_file,
    writing_folder,
)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Make the system refuse to let a file grow beyond `size` bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_new_file_holds_what_was_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"\x00\xff")
    write_atomically(tmp_path / "b", "größer\n")
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_bytes() == "größer\n".encode()


def test_an_old_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in ("a longer first text", "second", ""):
        write_atomically(path, content)
        assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


def test_whoever_reads_meanwhile_keeps_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with largest_file(1000), pytest.raises(CannotWriteError, match=r"cannot write .*/a: .*"):
        write_atomically(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_in_one_line() -> None:
    with pytest.raises(CannotWriteError) as caught:
        write_file(Path("/dev/full"), b"x")
    assert str(caught.value) == (
        "cannot write /dev/full: no space left on device; make room or choose another folder"
    )
    assert isinstance(caught.value, UserError)


@pytest.mark.parametrize("write", [write_file, write_atomically, append_line])
def test_a_folder_that_is_missing_or_a_file_is_a_users_mistake(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    (tmp_path / "file").write_text("")
    for place in ("missing", "file"):
        with pytest.raises(CannotWriteError, match="cannot write"):
            write(tmp_path / place / "a", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_users_mistake(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CannotWriteError, match="permission denied"):
            write_atomically(tmp_path / "a", "text")
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_in_the_way_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(CannotWriteError, match="is a directory"):
        write_atomically(tmp_path / "a", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_renaming_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError, match="no such file"):
        replace(tmp_path / "a", tmp_path / "b")
    with pytest.raises(CannotWriteError, match="no such file"):
        fsync_folder(tmp_path / "missing")


def test_lines_are_added_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    for number in range(3):
        append_line(path, f"line {number} ü", durable=number == 1)
    assert path.read_text(encoding="utf-8").splitlines() == [f"line {n} ü" for n in range(3)]


def test_a_line_with_a_break_in_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no line break"):
        append_line(tmp_path / "lines", "one\ntwo")
    assert not (tmp_path / "lines").exists()


def test_a_line_that_does_not_fit_is_told(tmp_path: Path) -> None:
    with largest_file(10), pytest.raises(CannotWriteError, match="10 of 21 bytes fitted"):
        append_line(tmp_path / "lines", "x" * 20)


def test_a_folder_is_there_with_all_its_files_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "deeper" / "folder"
    for error in (ValueError("no"), KeyboardInterrupt()):
        with pytest.raises(type(error)), writing_folder(folder) as partial:
            (partial / "a").write_text("half")
            raise error
        assert not list((tmp_path / "deeper").iterdir())
    with writing_folder(folder) as partial:
        (partial / "a").write_text("whole")
        assert not folder.exists()
    assert (folder / "a").read_text() == "whole"
    assert list(folder.parent.iterdir()) == [folder]


def test_a_folder_that_is_there_keeps_its_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / name).write_text("old")
    with writing_folder(folder) as partial:
        (partial / "a").write_text("new")
    assert [(folder / name).read_text() for name in ("a", "b")] == ["new", "old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_in_the_way_of_a_folder_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(CannotWriteError, match="not a folder"),
        writing_folder(tmp_path / "a"),
    ):
        pytest.fail("the block was run")
    assert (tmp_path / "a").read_text() == "old"


# Files that grow, and names


def asked(work: Callable[[], object]) -> list[str]:
    """Return the fail points that some work passes."""

    def noting() -> list[str]:
        found: list[str] = []

        def note(event: str, arguments: tuple[object, ...]) -> None:
            if event == EVENT:
                found.append(f"{arguments[0]} {Path(str(arguments[1])).name}")

        sys.addaudithook(note)
        work()
        return found

    ended = forked(noting)
    assert ended.status == 0 and isinstance(ended.value, list)
    return ended.value


def test_what_is_appended_to_a_new_file_has_a_safe_name_too(tmp_path: Path) -> None:
    log = tmp_path / "run" / "log"
    log.parent.mkdir()
    there = [f"{when} {what} log" for what in ("append", "fsync") for when in ("before", "after")]
    folder = ["before fsync folder run", "after fsync folder run"]
    for expected in (there + folder, there):
        assert asked(lambda: append_line(log, "one", durable=True)) == expected
    assert asked(lambda: append_line(log.with_name("other"), "one"))[-1] == "after append other"
    assert log.read_text() == "one\none\n"


def test_half_of_a_record_goes_before_the_next_is_appended(tmp_path: Path) -> None:
    path = tmp_path / "records"
    append(path, b"abcdefgh", unit=4)
    for torn in (b"", b"x", b"xyz"):
        path.write_bytes(b"abcdefgh" + torn)
        append(path, b"ijkl", unit=4, durable=True)
        assert path.read_bytes() == b"abcdefghijkl"


def test_a_file_is_cut_between_fail_points_and_safe_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"0123456789")
    steps = [f"{when} {what} log" for what in ("cut", "fsync") for when in ("before", "after")]
    assert asked(lambda: cut(path, 4)) == steps
    assert path.read_bytes() == b"0123"
    with pytest.raises(CannotWriteError, match="cannot write .*gone: no such file"):
        cut(tmp_path / "gone", 0)


def test_a_new_folder_has_a_safe_name_in_every_folder_that_was_made_for_it(tmp_path: Path) -> None:
    new = tmp_path / "runs" / "deep" / "run"
    names = ["deep", "runs", tmp_path.name]
    expected = [f"{when} fsync folder {name}" for name in names for when in ("before", "after")]
    assert asked(lambda: make_folder(new)) == expected
    assert new.is_dir() and asked(lambda: make_folder(new)) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWriteError, match="make room or choose another folder"):
        make_folder(tmp_path / "file" / "run")
