"""Archives that anybody may have made are unpacked safely or refused in one line."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.checkpoints.archives import unpack
from asr_lab.checkpoints.errors import CheckpointError, UnsafeCheckpointError

Fill = Callable[[tarfile.TarFile], object]


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def add(archive: tarfile.TarFile, name: str, data: bytes = b"content") -> str:
    info = member(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
    return name


def write(path: Path, fill: Fill, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        fill(archive)
    return path


def taken(path: Path, folder: Path) -> list[str]:
    folder.mkdir()
    return unpack(path, folder, lambda name: name.endswith(".yaml"))


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_what_is_wanted_is_written_and_nothing_else(mode: str, prefix: str, tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        archive.addfile(member(prefix or "folder", tarfile.DIRTYPE))
        add(archive, f"{prefix}a.yaml", b"first")
        add(archive, f"{prefix}b.bin")
        add(archive, f"{prefix}folder/c.yaml")

    path = write(tmp_path / "x.nemo", fill, mode)
    assert taken(path, tmp_path / "out") == ["a.yaml"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["a.yaml"]
    assert (tmp_path / "out" / "a.yaml").read_bytes() == b"first"


UNSAFE: dict[str, tuple[Fill, str]] = {
    "symbolic link": (
        lambda a: a.addfile(member("x.yaml", tarfile.SYMTYPE, "/etc/passwd")),
        "holds a link, 'x.yaml'",
    ),
    "hard link": (
        lambda a: a.addfile(member("x.yaml", tarfile.LNKTYPE, "other")),
        "holds a link, 'x.yaml'",
    ),
    "absolute": (lambda a: add(a, "/tmp/x.yaml"), "leads outside"),
    "parent": (lambda a: add(a, "../x.yaml"), "leads outside"),
    "parent within": (lambda a: add(a, "a/../../x.yaml"), "leads outside"),
    "other separator": (lambda a: add(a, "..\\x.yaml"), "leads outside"),
    "device": (lambda a: a.addfile(member("x", tarfile.CHRTYPE)), "neither a file nor a folder"),
    "pipe": (lambda a: a.addfile(member("x", tarfile.FIFOTYPE)), "neither a file nor a folder"),
    "twice": (lambda a: [add(a, name) for name in ("x.yaml", "./x.yaml")], "'./x.yaml' twice"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_member_is_refused_wherever_it_stands(name: str, tmp_path: Path) -> None:
    fill, message = UNSAFE[name]

    def after_another(archive: tarfile.TarFile) -> None:
        add(archive, "good.yaml")
        fill(archive)

    path = write(tmp_path / "x.nemo", after_another)
    with pytest.raises(UnsafeCheckpointError, match="x.nemo was refused: it holds") as told:
        taken(path, tmp_path / "out")
    assert message in str(told.value) and "\n" not in str(told.value)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "x.nemo"]


@pytest.mark.parametrize("name", ["wanted.yaml", "unwanted.bin"])
def test_a_bomb_is_refused_before_it_is_unpacked(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.nemo"
    zeros = bytes(2**20)
    info = member(name)
    info.size = 200 * len(zeros)
    with gzip.open(path, "wb", compresslevel=9) as file:
        file.write(info.tobuf())
        for _ in range(200):
            file.write(zeros)
    with pytest.raises(UnsafeCheckpointError, match="far more than a file of its size should"):
        taken(path, tmp_path / "out")
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) < 100 * len(zeros)


def test_a_size_that_is_only_claimed_is_refused(tmp_path: Path) -> None:
    info = member("x.yaml")
    info.size = 10**12
    (tmp_path / "x.nemo").write_bytes(info.tobuf() + b"little")
    with pytest.raises(CheckpointError, match=r"x\.nemo is truncated"):
        taken(tmp_path / "x.nemo", tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6])
def test_a_truncated_archive_is_named(mode: str, share: float, tmp_path: Path) -> None:
    noise = bytes(range(256)) * 200
    path = write(tmp_path / "x.nemo", lambda a: add(a, "x.yaml", noise), mode)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(CheckpointError, match=r"x\.nemo is truncated or no tar") as told:
        taken(path, tmp_path / "out")
    assert "\n" not in str(told.value)


def test_a_file_that_is_no_archive_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.nemo").write_text("hello " * 500)
    with pytest.raises(CheckpointError, match="no tar archive"):
        taken(tmp_path / "text.nemo", tmp_path / "out")
    with pytest.raises(CheckpointError, match="no file"):
        taken(tmp_path / "absent.nemo", tmp_path / "more")
