"""Digests differ exactly where contents do."""

import hashlib
import itertools
import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.reproducibility.hash import (
    bytes_digest,
    canonical_json,
    config_digest,
    file_digest,
    state_digest,
    tensor_bytes,
    tensor_digest,
    text_digest,
)

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int16,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


def test_the_digest_is_the_published_formula() -> None:
    values = [1.5, -2.0, 0.25]
    expected = hashlib.sha256(b'["torch.float32",[3,1]]' + struct.pack("<3f", *values)).hexdigest()
    assert tensor_digest(torch.tensor(values)[:, None]) == expected
    assert (
        text_digest("ä") == bytes_digest("ä".encode()) == hashlib.sha256("ä".encode()).hexdigest()
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_shape_has_a_digest_of_its_own(dtype: torch.dtype) -> None:
    shapes = [(), (0,), (1,), (4,), (2, 2), (0, 3), (4, 1)]
    digests = [tensor_digest(torch.zeros(shape, dtype=dtype)) for shape in shapes]
    assert len(set(digests)) == len(shapes)
    assert len(tensor_bytes(torch.zeros(3, dtype=dtype))) == 3 * dtype.itemsize


def test_equal_bytes_of_other_types_differ() -> None:
    same_bytes = [torch.zeros(4, dtype=dtype) for dtype in (torch.int32, torch.float32)]
    assert tensor_digest(same_bytes[0]) != tensor_digest(same_bytes[1])


def test_strides_and_gradients_do_not_matter() -> None:
    tensor = torch.arange(24.0).reshape(2, 3, 4)
    strided = torch.empty_strided((2, 3, 4), (3, 1, 6)).copy_(tensor)
    spread = torch.zeros(2, 3, 8)[..., ::2].copy_(tensor)
    for other in (strided, spread, tensor.clone().requires_grad_()):
        assert tensor_digest(other) == tensor_digest(tensor)
    assert tensor_digest(tensor.permute(2, 0, 1)) != tensor_digest(tensor)


def test_a_lazily_conjugated_tensor_is_the_conjugated_one() -> None:
    tensor = torch.tensor([1 + 2j])
    assert tensor_digest(tensor.conj()) == tensor_digest(torch.tensor([1 - 2j]))


def test_zeros_and_nans_of_different_bits_differ() -> None:
    assert tensor_digest(torch.tensor([0.0])) != tensor_digest(torch.tensor([-0.0]))
    payloads = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    assert payloads.isnan().all()
    assert tensor_digest(payloads[0]) != tensor_digest(payloads[1])


@given(st.binary(min_size=1, max_size=64), st.data())
def test_one_changed_bit_changes_the_digest(content: bytes, data: st.DataObject) -> None:
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    before, after = (torch.frombuffer(bytearray(x), dtype=torch.uint8) for x in (content, changed))
    assert tensor_digest(before) != tensor_digest(after)


def test_a_state_does_not_depend_on_its_order_but_on_its_names() -> None:
    tensors = {"a": torch.ones(2), "b": torch.zeros(2), "c": torch.ones(3)}
    orders = [dict(order) for order in itertools.permutations(tensors.items())]
    assert len({state_digest(order) for order in orders}) == 1
    swapped = {"a": tensors["b"], "b": tensors["a"], "c": tensors["c"]}
    assert state_digest(swapped) != state_digest(tensors)
    assert state_digest({"a": tensors["a"]}) != state_digest({"b": tensors["a"]})
    assert state_digest({}) != state_digest({"a": torch.zeros(0)})


def test_a_configuration_does_not_depend_on_the_order_of_its_keys() -> None:
    assert config_digest({"a": 1, "b": [1.5, None]}) == config_digest({"b": [1.5, None], "a": 1})
    assert config_digest({"a": 1}) != config_digest({"a": "1"})
    assert config_digest({"a": [1, 2]}) != config_digest({"a": [2, 1]})


@given(st.dictionaries(st.text(), st.floats(allow_nan=False) | st.integers() | st.text()))
def test_canonical_json_reads_back_as_the_same_values(config: dict[str, object]) -> None:
    assert json.loads(canonical_json(config)) == config


def test_what_json_cannot_hold_has_no_digest() -> None:
    with pytest.raises(TypeError):
        config_digest({"a": object()})


def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert file_digest(tmp_path / "a") == bytes_digest(b"abc" * 100_000)
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "missing")
