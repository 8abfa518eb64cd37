"""The reader of `.pt` files runs no code, and reads nothing outside the file."""

import collections
import io
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr_lab.checkpoints import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    UnsafeCheckpointError,
    read_pt,
)
from asr_lab.reproducibility.hash import tensor_digest

DTYPES = [
    getattr(torch, name)
    for name in "bool uint8 uint16 int8 int16 int32 int64 float16 bfloat16 float32 float64 "
    "complex64 complex128 float8_e4m3fn float8_e5m2".split()
    # torch.save of 2.5 has no storage class for uint16.
    if not (name == "uint16" and torch.__version__.startswith("2.5."))
]


def saved(value: object, protocol: int = 2) -> bytes:
    """Return what torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_protocol=protocol)
    return buffer.getvalue()


def read(folder: Path, content: bytes) -> object:
    """Write and read a file."""
    path = folder / "file.pt"
    path.write_bytes(content)
    return read_pt(path)


def same(found: object, expected: object) -> bool:
    """Compare values, tensors by type, shape and bits."""
    if isinstance(expected, Tensor):
        return type(found) is Tensor and tensor_digest(found) == tensor_digest(expected)
    if isinstance(expected, dict):
        return (
            type(found) is dict
            and list(found) == list(expected)
            and all(same(found[key], value) for key, value in expected.items())
        )
    if isinstance(expected, list | tuple):
        assert isinstance(found, list | tuple)
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back_as_they_are(tmp_path: Path, protocol: int) -> None:
    value = {
        "text": "größer",
        "bytes": bytes(range(256)),
        "no bytes": b"",
        "numbers": [0, -1, 255, 65536, -(2**31), 2**31, 2**200, -(2**70), 1.5, float("inf")],
        "nothing": [None, True, False, (), [], {}],
        "tuples": ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "one by one": [[1], {"a": {"b": 1}}],
        "long text": "x" * 70_000,
        "long bytes": b"x" * 70_000,
        3: "number as key",
        "shape": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
    }
    assert same(read(tmp_path, saved(value, protocol)), value | {"shape": (2, 3)})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_layout_of_a_tensor_comes_back(tmp_path: Path, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(1)
    flat = torch.randint(0, 2 if dtype is torch.bool else 100, (60,), generator=draw).to(dtype)
    cube = flat.reshape(3, 4, 5)
    value = {
        "cube": cube,
        "part": cube[1:, :, 2],
        "transposed": cube.permute(2, 0, 1),
        "scalar": flat[7],
        "empty": torch.empty(0, 3, dtype=dtype),
        "nothing": cube[:0],
    }
    assert same(read(tmp_path, saved(value)), value)


def test_state_dicts_of_others_are_read(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4, 3)}}
    optimizer = {"state": moments, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.99)}]}
    value = {"model": network.state_dict(), "optimizer": optimizer, "epoch": 3}
    path = tmp_path / "foreign.pt"
    torch.save(value, path)
    expected = torch.load(path, weights_only=True)
    assert same(read_pt(path), {**expected, "model": dict(expected["model"])})


def test_parameters_become_tensors_and_shared_ones_stay_shared(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.randn(4))
    found = read(tmp_path, saved({"a": weight, "b": weight, "half": weight.detach()[2:]}))
    assert isinstance(found, dict)
    assert type(found["a"]) is Tensor and not found["a"].requires_grad
    found["a"][3] = 7
    assert found["b"][3] == found["half"][1] == 7


class Hostile:
    """Pickles as a call of something."""

    def __init__(self, *call: object) -> None:
        """Keep the function and its arguments."""
        self.call = call

    def __reduce__(self) -> tuple[object, ...]:
        """Ask for the call."""
        return self.call[0], self.call[1:]


CALLS: dict[str, tuple[object, ...]] = {
    "posix.system": (os.system, "touch hacked"),
    "__builtin__.eval": (eval, "open('hacked', 'w')"),
    "__builtin__.exec": (exec, "open('hacked', 'w')"),
    "__builtin__.getattr": (getattr, 1, "real"),
    "torch.serialization.load": (torch.load, "hacked"),
    "torch.hub.load": (torch.hub.load, "a/b", "c"),
    "torch._utils._rebuild_sparse_tensor": (torch._utils._rebuild_sparse_tensor, 1, 2),
    "collections.Counter": (collections.Counter, "a"),
    "pickle.loads": (pickle._loads, b""),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_is_refused_by_name_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    content = saved({"weights": [Hostile(*CALLS[name])]}, protocol)
    with pytest.raises(UnsafeCheckpointError) as caught:
        read(tmp_path, content)
    asked = name.rpartition(".")[2]
    assert asked in str(caught.value) and "may run code" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt"]


def test_a_class_of_ones_own_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        content = saved(nn.Linear(2, 2))
    with pytest.raises(UnsafeCheckpointError, match="Linear, which may run code"):
        read(tmp_path, content)


def archive(
    entries: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED, root: str = "archive"
) -> bytes:
    """Return a zip file like torch.save's."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in entries.items():
            file.writestr(f"{root}/{name}", content)
    return buffer.getvalue()


def pickled(**changes: object) -> bytes:
    """Return a pickle of one tensor of six floats, some numbers of it changed."""
    numbers: dict[str, object] = {
        "key": "0",
        "count": 6,
        "offset": 0,
        "size": (2, 3),
        "stride": (3, 1),
        "storage": "FloatStorage",
        "rebuild": "_rebuild_tensor_v2",
    } | changes
    body = io.BytesIO()

    def put(value: object) -> None:
        body.write(pickle.dumps(value, 2)[2:-1])

    def put_global(module: str, name: object) -> None:
        body.write(f"c{module}\n{name}\n".encode())

    body.write(b"\x80\x02")
    put_global("torch._utils", numbers["rebuild"])
    body.write(b"((")
    put("storage")
    put_global("torch", numbers["storage"])
    for value in (numbers["key"], "cpu", numbers["count"]):
        put(value)
    body.write(b"tQ")
    for value in (numbers["offset"], numbers["size"], numbers["stride"], False, {}):
        put(value)
    body.write(b"tR.")
    return body.getvalue()


STORED = struct.pack("<6f", *range(6))


def test_the_tensor_that_the_next_tests_change_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, archive({"data.pkl": pickled(), "data/0": STORED}))
    assert same(found, torch.arange(6.0).reshape(2, 3))
    diagonal = pickled(size=(2,), stride=(4,), offset=1)
    found = read(tmp_path, archive({"data.pkl": diagonal, "data/0": STORED}))
    assert same(found, torch.tensor([1.0, 5.0]))


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**62},
        {"offset": 2**100},
        {"offset": True},
        {"offset": 1.0},
        {"size": (3, 3)},
        {"size": (-2, 3)},
        {"size": (2**40, 2**40)},
        {"size": (2, "3")},
        {"size": (2,)},
        {"size": [2, 3]},
        {"size": (0, 2**62, 2**62)},
        {"size": (1,) * 100, "stride": (1,) * 100},
        {"stride": (-3, 1)},
        {"stride": (4, 1)},
        {"stride": (2**62, 1)},
        {"size": (2**40,), "stride": (0,)},
        {"count": 5},
        {"count": 7},
        {"count": -6},
        {"count": 2**80},
        {"storage": "DoubleStorage"},
        {"storage": "ByteStorage"},
        {"storage": "float32"},
        {"rebuild": "_rebuild_tensor_v3"},
        {"rebuild": "_rebuild_parameter"},
        {"key": 0},
    ],
    ids=str,
)
def test_a_tensor_that_reaches_out_of_its_storage_is_refused(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    content = archive({"data.pkl": pickled(**changes), "data/0": STORED})
    with pytest.raises(UnsafeCheckpointError) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


@given(
    size=st.lists(st.integers(-1, 4), max_size=3),
    stride=st.lists(st.integers(-2, 7), max_size=3),
    offset=st.integers(-1, 7),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_view_is_read_exactly_if_all_its_values_are_stored(
    tmp_path: Path, size: list[int], stride: list[int], offset: int
) -> None:
    indices = [offset]
    for count, step in zip(size, stride, strict=False):
        indices = [index + step * number for index in indices for number in range(count)]
    natural = min([*size, *stride, offset]) >= 0 and len(size) == len(stride)
    inside = all(0 <= index < 6 for index in indices) and len(indices) <= 6
    offset_is_free = not indices and natural
    content = archive(
        {
            "data.pkl": pickled(size=tuple(size), stride=tuple(stride), offset=offset),
            "data/0": STORED,
        }
    )
    if natural and (inside or offset_is_free):
        found = read(tmp_path, content)
        assert isinstance(found, Tensor)
        assert found.flatten().tolist() == [float(index) for index in indices]
    elif indices or min([*size, *stride]) < 0 or len(size) != len(stride):
        with pytest.raises(UnsafeCheckpointError):
            read(tmp_path, content)


def test_a_missing_storage_is_named(tmp_path: Path) -> None:
    content = archive({"data.pkl": pickled(key="1"), "data/0": STORED})
    with pytest.raises(UnsafeCheckpointError, match="storage 1 is missing"):
        read(tmp_path, content)


def test_a_storage_outside_the_data_folder_is_not_reached(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(STORED)
    content = archive({"data.pkl": pickled(key="../../secret"), "data/0": STORED})
    with pytest.raises(UnsafeCheckpointError, match="is missing"):
        read(tmp_path, content)


def test_compressed_entries_are_refused_unread(tmp_path: Path) -> None:
    bomb = archive({"data.pkl": pickled(), "data/0": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsafeCheckpointError, match="compressed entries"):
        read(tmp_path, bomb)


def test_entries_that_overlap_to_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    content = archive({"data.pkl": pickled(), "data/0": STORED, "x": bytes(1000)})
    start = content.index(b"PK\x01\x02")
    record = content[content.rindex(b"PK\x01\x02") : content.index(b"PK\x05\x06")]
    records = b"".join(record[:-1] + bytes([65 + number]) for number in range(20))
    count, size = 20 + 3, content.index(b"PK\x05\x06") - start + len(records)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, size, start, 0)
    with pytest.raises(UnsafeCheckpointError, match="claim more bytes"):
        read(tmp_path, content[: content.index(b"PK\x05\x06")] + records + end)


def test_zip_files_that_torch_did_not_write_are_named_so(tmp_path: Path) -> None:
    with pytest.raises(UnsafeCheckpointError, match="none that torch.save wrote"):
        read(tmp_path, archive({"readme.txt": b"hello"}))
    with pytest.raises(UnsafeCheckpointError, match="TorchScript"):
        read(tmp_path, archive({"data.pkl": pickled(), "constants.pkl": b"", "data/0": STORED}))
    with pytest.raises(UnsafeCheckpointError, match="big-endian"):
        read(tmp_path, archive({"data.pkl": pickled(), "byteorder": b"big", "data/0": STORED}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for content in (pickled(), pickled()):
                file.writestr("archive/data.pkl", content)
    with pytest.raises(UnsafeCheckpointError, match="none that torch.save wrote"):
        read(tmp_path, buffer.getvalue())


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x80\x02}.", b"RIFF" + bytes(100)])
def test_other_files_are_not_checkpoints(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DamagedCheckpointError, match="is not a checkpoint"):
        read(tmp_path, content)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pt", tmp_path):
        with pytest.raises(MissingCheckpointError, match="no checkpoint"):
            read_pt(path)


EXAMPLE = {"weight": torch.arange(40.0), "scale": torch.tensor(2.5), "text": "abc", "data": b"\xff"}


def test_every_truncation_is_detected(tmp_path: Path) -> None:
    content = saved(EXAMPLE)
    for length in [*range(0, len(content), 7), len(content) - 1]:
        with pytest.raises(DamagedCheckpointError):
            read(tmp_path, content[:length])


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_a_flipped_bit_is_detected_or_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(saved(EXAMPLE))
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    try:
        found = read(tmp_path, bytes(content))
    except CheckpointError as error:
        assert "\n" not in str(error) and str(tmp_path) in str(error)
    else:
        assert same(found, EXAMPLE)


@pytest.mark.parametrize(
    "call",
    [
        b"c__builtin__\nbytes\nK\x03\x85R",
        b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R",
        b"ccollections\nOrderedDict\n]\x85R",
        b"ctorch\nSize\nK\x03\x85R",
        b"ctorch\nSize\nJ\xff\xff\xff\xff\x85\x85R",
        b"ctorch\nFloatStorage\n",
        b"ctorch\nFloatStorage\n)R",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
    ],
)
def test_an_allowed_function_with_other_arguments_is_refused(tmp_path: Path, call: bytes) -> None:
    with pytest.raises(UnsafeCheckpointError):
        read(tmp_path, archive({"data.pkl": b"\x80\x02" + call + b"."}))
