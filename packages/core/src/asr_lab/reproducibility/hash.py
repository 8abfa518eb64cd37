"""SHA-256 digests, in hexadecimal, of tensors, states, configurations, texts and files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor


def bytes_digest(data: bytes) -> str:
    """Return the digest of bytes."""
    return hashlib.sha256(data).hexdigest()


def text_digest(text: str) -> str:
    """Return the digest of a text in UTF-8."""
    return bytes_digest(text.encode())


def file_digest(path: Path) -> str:
    """Return the digest of a file's content. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: object) -> str:
    """Return the one JSON text of a plain value: keys sorted, no spaces.

    Raises TypeError for what JSON cannot hold.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def config_digest(config: Mapping[str, object]) -> str:
    """Return the digest of a mapping of plain values; the order of its keys does not matter."""
    return text_digest(canonical_json(config))


def tensor_bytes(tensor: Shaped[Tensor, "..."]) -> UInt8[Tensor, " bytes"]:
    """Return a tensor's values, in row-major order, as bytes on the CPU."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    return plain.contiguous().reshape(-1).view(torch.uint8)


def tensor_digest(tensor: Shaped[Tensor, "..."]) -> str:
    """Return the digest of dtype, shape and bytes; -0 and 0 differ, and so do two kinds of NaN.

    Device, strides and gradient do not matter.
    """
    hasher = hashlib.sha256(canonical_json([str(tensor.dtype), list(tensor.shape)]).encode())
    hasher.update(tensor_bytes(tensor).numpy().data)
    return hasher.hexdigest()


def state_digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the digest of named tensors; their order does not matter."""
    return config_digest({name: tensor_digest(tensor) for name, tensor in tensors.items()})
