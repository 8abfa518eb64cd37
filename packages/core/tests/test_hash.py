"""Digests differ exactly where contents do."""

import hashlib
import itertools
import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from asr_lab.reproducibility.hash import (
    bytes_digest,
    canonical_json,
    config_digest,
    dataset_digest,
    file_digest,
    model_digest,
    state_digest,
    tensor_bytes,
    tensor_digest,
    tensor_digests,
    tensor_sha256,
    text_digest,
)
from asr_lab.reproducibility.sums import Sums
from asr_lab.reproducibility.words import MIXERS, MOST, Piece

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
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def test_the_digest_of_a_file_s_tensor_is_the_published_formula() -> None:
    values = [1.5, -2.0, 0.25]
    expected = hashlib.sha256(b'["torch.float32",[3,1]]' + struct.pack("<3f", *values)).hexdigest()
    assert tensor_sha256(torch.tensor(values)[:, None]) == expected
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
    for digest in (tensor_digest, tensor_sha256):
        assert digest(torch.ones(()).expand(1)) == digest(torch.ones(1))
        assert digest(torch.ones(()).expand(3).double()) == digest(torch.ones(3).double())
    assert tensor_digest(tensor.permute(2, 0, 1)) != tensor_digest(tensor)


def test_a_lazily_conjugated_tensor_is_the_conjugated_one() -> None:
    tensor = torch.tensor([1 + 2j])
    assert tensor_digest(tensor.conj()) == tensor_digest(torch.tensor([1 - 2j]))


def test_zeros_and_nans_of_different_bits_differ() -> None:
    assert tensor_digest(torch.tensor([0.0])) != tensor_digest(torch.tensor([-0.0]))
    payloads = torch.tensor([0x7FC00000, 0x7FC00001], dtype=torch.int32).view(torch.float32)
    assert payloads.isnan().all()
    assert tensor_digest(payloads[0]) != tensor_digest(payloads[1])


def test_files_and_states_tell_the_same_tensors_apart() -> None:
    tensors = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4).double(), -torch.zeros(4)]
    for digest in (tensor_digest, tensor_sha256):
        assert len({digest(tensor) for tensor in tensors}) == 4
        assert digest(tensors[0]) == digest(torch.zeros(8)[::2])


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


def test_a_model_has_the_digest_of_its_weights_and_buffers() -> None:
    model = nn.BatchNorm1d(3)
    before = model_digest(model)
    assert before == state_digest(model.state_dict())
    model.running_mean[1] = 1e-30  # type: ignore[index]
    assert model_digest(model) != before


def test_a_dataset_depends_on_the_order_and_the_facts_of_its_utterances() -> None:
    lines = [("a", 1000, "ab"), ("b", 2000, "c")]
    expected = hashlib.sha256(b'["a", 1000, "ab"]\n["b", 2000, "c"]\n').hexdigest()
    assert dataset_digest(lines) == expected
    assert dataset_digest(reversed(lines)) != expected
    assert dataset_digest([("a", 1000, "ab"), ("b", 2001, "c")]) != expected


# The two sums of a tensor


def sums(pieces: Mapping[str, Tensor | Piece]) -> list[tuple[int, int]]:
    """Return the sums of some tensors or pieces."""
    found = Sums()
    found.add("", pieces)
    return list(found.sums()[""].values())


def reference(tensor: Tensor, name: str) -> tuple[int, int]:
    """Return the sums by plain integers, element by element."""
    text = json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode()
    keys = struct.unpack("<2Q", hashlib.blake2b(text, digest_size=16).digest())
    content = bytes(tensor_bytes(tensor).tolist())
    size = min(tensor.element_size(), 4)
    words = [content[at : at + size] for at in range(0, len(content), size)]
    found = []
    for key, mixer in zip(keys, MIXERS, strict=True):
        total = 0
        for place, word in enumerate(words):
            value = (place << 32 | int.from_bytes(word, "little")) ^ key
            for shift, factor in mixer:
                value = (value ^ value >> shift) * factor % 2**64
            total += value
        found.append((total + 2**63) % 2**64 - 2**63)
    return found[0], found[1]


@pytest.mark.parametrize("dtype", [d for d in DTYPES if not d.is_complex], ids=str)
def test_the_sums_are_the_published_formula(dtype: torch.dtype) -> None:
    content = torch.randint(2, (2, 3, 5), generator=torch.Generator().manual_seed(1))
    tensor = content.to(torch.float32).to(dtype)
    assert sums({"layer.weight": tensor}) == [reference(tensor, "layer.weight")]


@given(st.data())
def test_sums_of_pieces_are_those_of_the_whole_however_it_is_cut(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3)))
    dtype = data.draw(st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
    axis = data.draw(st.integers(0, len(shape) - 1))
    cuts = sorted(data.draw(st.sets(st.integers(1, 4)))) if shape[axis] > 1 else []
    bounds = [0, *[cut for cut in cuts if cut < shape[axis]], shape[axis]]
    total = [0, 0]
    for start, end in data.draw(st.permutations(list(itertools.pairwise(bounds)))):
        offsets = tuple(start if at == axis else 0 for at in range(len(shape)))
        part = whole.narrow(axis, start, end - start)
        (pair,) = sums({"w": Piece(tensor=part, shape=shape, offsets=offsets)})
        total = [(one + other) % 2**64 for one, other in zip(total, pair, strict=True)]
    (expected,) = sums({"w": whole})
    assert total == [one % 2**64 for one in expected]


def test_large_tensors_are_summed_a_little_at_a_time_and_give_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tensors = {"a": torch.randn(40, 30), "b": torch.randn(7, 11, 13).mT, "c": torch.randn(())}
    expected = sums(tensors)
    monkeypatch.setitem(MOST, "cpu", 17)
    assert sums(tensors) == expected


def test_elements_that_change_places_or_trade_bits_change_the_digest() -> None:
    tensor = torch.arange(64.0)
    before = tensor_digests({"x": tensor})["x"]
    swapped = tensor.clone()
    swapped[3], swapped[5] = 5.0, 3.0
    both = tensor.view(torch.int32).clone()
    both[1] ^= 1
    both[2] ^= 1  # an exclusive or of all would not see the two
    shifted = tensor.roll(1)
    others = [swapped, both.view(torch.float32), shifted, tensor.view(8, 8), tensor.flip(0)]
    assert len({before, *(tensor_digests({"x": one})["x"] for one in others)}) == 6


def test_what_has_no_bits_in_memory_is_refused() -> None:
    with pytest.raises(TypeError, match="sparse_coo tensor of torch.float32 has no digest"):
        tensor_digest(torch.eye(2).to_sparse())


@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_the_kernel_gives_the_same_bits_in_the_interpreter() -> None:
    script = Path(__file__).with_name("sums_interpreted.py")
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", script],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"count": 14, "changed": 13, "different": []}


@pytest.mark.gpu
def test_the_kernel_gives_the_same_bits_on_a_gpu_without_a_copy_on_the_host() -> None:
    tensors = {str(dtype): torch.randn(700, 300).to(dtype) for dtype in FLOATS}
    tensors["transposed"] = torch.randn(70, 30)
    moved = {name: tensor.cuda() for name, tensor in tensors.items()}
    moved["transposed"] = moved["transposed"].mT.contiguous().mT
    assert tensor_digests(moved) == tensor_digests(tensors)
    assert len(set(tensor_digests(moved).values())) == len(moved)
