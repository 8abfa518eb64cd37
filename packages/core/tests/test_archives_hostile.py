"""Whatever the bytes of an archive are, it is unpacked completely or refused in one line."""

import gzip
import io
import tarfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.checkpoints.archives import LONGEST_NAME, MOST_MEMBERS, unpack
from asr_lab.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    UnsafeCheckpointError,
)

BLOCK = 512
CHECKSUM = slice(148, 156)
SIZE = slice(124, 136)
EXTENDED = 482
"""Where the header of an old sparse file says that another block of holes follows."""
FILES = {"a.bin": b"a" * 700, "b.bin": b"", "c.bin": bytes(range(256)) * 5}

END = BLOCK * (3 + 2 + 3 + 1)
"""Where the first block ends that says that no more files follow: three headers, and contents."""


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, **fields: str) -> bytes:
    """Return the blocks that tarfile writes before the content of a member."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    info.linkname = fields.get("link", "")
    return info.tobuf(tarfile.GNU_FORMAT)


def with_bytes(block: bytes, place: slice, value: bytes) -> bytes:
    """Return a header with other bytes at one place and a checksum that is right again."""
    changed = bytearray(block)
    changed[place] = value
    changed[CHECKSUM] = b" " * 8
    changed[CHECKSUM] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@cache
def whole(compressed: bool) -> bytes:
    return gzip.compress(packed(FILES), mtime=0) if compressed else packed(FILES)


def unpacked(data: bytes) -> dict[str, bytes]:
    """Return what an archive of these bytes gives, if nothing else was written."""
    with TemporaryDirectory() as temporary:
        path, folder = Path(temporary) / "x.nemo", Path(temporary) / "out"
        path.write_bytes(data)
        folder.mkdir()
        names = unpack(path, folder, lambda name: name.endswith(".bin"))
        found = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert sorted(names) == sorted(found)
        assert sorted(file.name for file in Path(temporary).iterdir()) == ["out", "x.nemo"]
        return found


def refused(data: bytes) -> CheckpointError:
    """Return why an archive of these bytes is refused: one line with its name, of some length."""
    with pytest.raises(CheckpointError, match=r"x\.nemo") as told:
        unpacked(data)
    assert "\n" not in str(told.value) and len(str(told.value)) < 500
    return told.value


@given(cut=st.integers(0, len(whole(False))) | st.sampled_from(range(0, END + 2, BLOCK)))
def test_a_plain_archive_cut_anywhere_is_noticed_unless_all_files_are_there(cut: int) -> None:
    if cut < END:
        assert isinstance(refused(whole(False)[:cut]), DamagedCheckpointError)
    else:
        assert unpacked(whole(False)[:cut]) == FILES


@pytest.mark.parametrize("block", range(1, 6))
def test_a_cut_within_the_content_of_a_file_is_noticed_at_every_block(block: int) -> None:
    data = packed({"a.bin": b"a" * 5 * BLOCK})
    assert isinstance(refused(data[: block * BLOCK + 1]), DamagedCheckpointError)
    assert isinstance(refused(data[: block * BLOCK]), DamagedCheckpointError)


@given(cut=st.integers(0, len(whole(True)) - 1))
def test_a_compressed_archive_cut_anywhere_is_noticed_or_lost_only_its_end_marker(cut: int) -> None:
    try:
        found = unpacked(whole(True)[:cut])
    except DamagedCheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert found == FILES


@settings(max_examples=200)
@given(place=st.integers(0, 4 * BLOCK - 1), bit=st.integers(0, 7), compressed=st.booleans())
def test_one_flipped_bit_never_makes_anything_but_files_or_one_line(
    place: int, bit: int, compressed: bool
) -> None:
    data = bytearray(whole(compressed))
    data[place % len(data)] ^= 1 << bit
    try:
        unpacked(bytes(data))
    except CheckpointError as error:
        assert "\n" not in str(error)


@given(place=st.integers(0, BLOCK - 1), value=st.binary(min_size=1, max_size=40))
def test_a_header_of_any_bytes_with_a_right_checksum_is_a_file_or_one_line(
    place: int, value: bytes
) -> None:
    place = min(place, BLOCK - len(value))
    first = with_bytes(whole(False)[:BLOCK], slice(place, place + len(value)), value)
    try:
        unpacked(first + whole(False)[BLOCK:])
    except CheckpointError as error:
        assert "\n" not in str(error)


@given(data=st.binary(max_size=2000), compressed=st.booleans())
def test_bytes_that_are_no_archive_are_refused_in_one_line(data: bytes, compressed: bool) -> None:
    assert isinstance(refused(gzip.compress(data) if compressed else data), DamagedCheckpointError)


@pytest.mark.parametrize("size", [2**20 * 100, 10**15, 2**80])
@pytest.mark.parametrize("name", ["wanted.bin", "unwanted.txt"])
def test_a_size_that_no_file_has_is_refused_without_looking_for_its_end(
    name: str, size: int
) -> None:
    data = header(name, size=size) + b"little"
    assert isinstance(refused(data), DamagedCheckpointError)


def test_a_negative_size_is_refused() -> None:
    assert isinstance(
        refused(with_bytes(header("a.bin"), SIZE, b"\xff" * 12) + bytes(BLOCK)),
        DamagedCheckpointError,
    )


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_names_that_announce_names_without_end_are_refused(kind: bytes) -> None:
    content = b"name\0" if kind == tarfile.GNUTYPE_LONGNAME else b"11 path=ab\n"
    again = header("again", kind, len(content)) + content.ljust(BLOCK, b"\0")
    assert isinstance(refused(again * 3000), DamagedCheckpointError)


def test_a_sparse_file_is_refused_whether_or_not_its_holes_are_there() -> None:
    sparse = with_bytes(
        header("a.bin", tarfile.GNUTYPE_SPARSE), slice(EXTENDED, EXTENDED + 1), b"1"
    )
    assert isinstance(refused(sparse), DamagedCheckpointError)
    assert isinstance(refused(sparse + bytes(4 * BLOCK)), UnsafeCheckpointError)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_name_is_as_long_as_file_systems_take_and_no_longer(extra: int) -> None:
    name = "n" * (LONGEST_NAME + extra - len(".bin")) + ".bin"
    data = header(name) + bytes(2 * BLOCK)
    if extra:
        assert "a name too long for a file" in str(refused(data))
    else:
        assert unpacked(data) == {name: b""}


def test_names_are_counted_in_bytes_and_not_in_letters() -> None:
    assert "a name too long" in str(refused(header("ü" * 130 + ".bin") + bytes(2 * BLOCK)))


def test_a_link_is_refused_even_where_nothing_is_wanted_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        data = header("folder/other.txt", kind, link=str(tmp_path / "secret"))
        assert "holds a link" in str(refused(data + whole(False)))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(kind: bytes) -> None:
    assert "neither a file nor a folder" in str(refused(header("a.bin", kind) + whole(False)))


@pytest.mark.parametrize("name", ["../a.bin", "a/../../b.bin", "./../a.bin", "/a.bin", "//a.bin"])
def test_names_that_lead_outside_are_refused(name: str) -> None:
    found = refused(header(name) + whole(False))
    assert isinstance(found, UnsafeCheckpointError) and "leads outside" in str(found)


@pytest.mark.parametrize("again", ["a.bin", "./a.bin", ".//a.bin", "././a.bin"])
def test_one_file_under_two_spellings_is_refused(again: str) -> None:
    data = header("a.bin") + header(again) + bytes(2 * BLOCK)
    assert "twice" in str(refused(data))


def test_a_folder_may_be_named_again_and_holds_nothing_that_is_offered() -> None:
    folder = header("x.bin", tarfile.DIRTYPE)
    data = folder + folder + header("x.bin/a.bin") + whole(False)
    assert unpacked(data) == FILES


@pytest.mark.parametrize("count", [MOST_MEMBERS, MOST_MEMBERS + 1])
def test_the_number_of_files_has_a_limit(count: int) -> None:
    blocks = [with_bytes(header("0" * 8), slice(0, 8), b"%08d" % i) for i in range(count)]
    data = b"".join(blocks) + bytes(2 * BLOCK)
    if count > MOST_MEMBERS:
        assert f"more than {MOST_MEMBERS} files" in str(refused(data))
    else:
        assert unpacked(data) == {}


@pytest.mark.parametrize(
    "trailing", [b"\0" * 100, b"no gzip", gzip.compress(b"another", mtime=0)], ids=repr
)
def test_what_follows_the_end_of_an_archive_changes_nothing(trailing: bytes) -> None:
    assert unpacked(whole(True) + trailing) == FILES
    assert unpacked(whole(False) + trailing) == FILES


def test_a_wanted_name_never_replaces_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.nemo"
    path.write_bytes(whole(False))
    with pytest.raises(FileExistsError):
        unpack(path, tmp_path, lambda name: (tmp_path / name).write_text("mine") > 0)
    assert (tmp_path / "a.bin").read_text() == "mine"


def test_only_names_at_the_top_are_offered_each_once_and_without_a_prefix(tmp_path: Path) -> None:
    offered: list[str] = []
    names = ("./a", "b", "./deep/c", "deep/d", "././e")
    (tmp_path / "x.nemo").write_bytes(b"".join(map(header, names)) + bytes(2 * BLOCK))

    def choose(name: str) -> bool:
        offered.append(name)
        return False

    unpack(tmp_path / "x.nemo", tmp_path, choose)
    assert offered == ["a", "b", "e"]


def test_a_folder_or_nothing_is_no_archive(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.nemo"):
        with pytest.raises(MissingCheckpointError, match="no file"):
            unpack(path, tmp_path, lambda name: True)
