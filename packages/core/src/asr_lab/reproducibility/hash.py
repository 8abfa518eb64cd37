"""Digests, in hexadecimal, of tensors, states, models, data, configurations, texts and files.

What is read from a disk has a SHA-256. Tensors have 128-bit digests that are computed where they
are; no copy of them is made.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn

from asr_lab.reproducibility.sums import Sums
from asr_lab.reproducibility.words import Piece

CHUNK = 2**24
"""Bytes of a file that are read at a time: a thread waits for the interpreter's lock after each."""


def bytes_digest(data: bytes) -> str:
    """Return the SHA-256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8."""
    return bytes_digest(text.encode())


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content. Raises OSError."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256", _bufsize=CHUNK).hexdigest()


def canonical_json(value: object) -> str:
    """Return the one JSON text of a plain value: keys sorted, no spaces.

    Raises TypeError for what JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def config_digest(config: Mapping[str, object]) -> str:
    """Return the SHA-256 of a mapping of plain values; the order of its keys does not matter."""
    return text_digest(canonical_json(config))


def dataset_digest(utterances: Iterable[tuple[object, ...]]) -> str:
    """Return the SHA-256 of what is known of every utterance, as plain values, in their order."""
    hasher = hashlib.sha256()
    for utterance in utterances:
        hasher.update(json.dumps(utterance).encode() + b"\n")
    return hasher.hexdigest()


def short_digest(data: bytes | memoryview) -> str:
    """Return the 128-bit BLAKE2b of bytes, which takes a third of SHA-256's time."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def tensor_bytes(tensor: Shaped[Tensor, "..."]) -> UInt8[Tensor, " bytes"]:
    """Return a tensor's values, in row-major order, as bytes on the CPU."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    # An axis at the end, because a single element may have any stride, which `view` refuses.
    return plain.contiguous().reshape(-1).unsqueeze(-1).view(torch.uint8).reshape(-1)


def tensor_sha256(tensor: Shaped[Tensor, "..."]) -> str:
    """Return the SHA-256 of dtype, shape and bytes, for what files hold; makes a copy on the CPU.

    Device, strides and gradient do not matter.
    """
    hasher = hashlib.sha256(canonical_json([str(tensor.dtype), list(tensor.shape)]).encode())
    hasher.update(tensor_bytes(tensor).numpy().data)
    return hasher.hexdigest()


def tensor_digest(tensor: Shaped[Tensor, "..."], name: str = "") -> str:
    """Return the digest of name, dtype, shape and bits: -0 and 0 differ, as do two kinds of NaN.

    Device, strides and gradient do not matter. Raises TypeError for a sparse tensor.
    """
    return tensor_digests({name: tensor})[name]


def tensor_digests(tensors: Mapping[str, Tensor | Piece]) -> dict[str, str]:
    """Return the digest of every tensor, with its name; waits for each device once.

    That of a distributed tensor (FSDP's, say) is that of the whole; all processes must ask.
    """
    sums = Sums()
    sums.add("", tensors)
    return sums.digests().get("", {})


def root_digest(digests: Mapping[str, str]) -> str:
    """Return the one digest of many, by name; their order does not matter."""
    return short_digest(canonical_json(digests).encode())


def state_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of named tensors; their order does not matter."""
    return root_digest(tensor_digests(tensors))


def model_digest(model: nn.Module) -> str:
    """Return the digest of a model's weights and buffers."""
    return state_digest(model.state_dict())
