"""The portable checkpoint `best.pt`: one file with all that is needed to recognise speech.

It is a zip that `torch.load(weights_only=True)` reads as well: a dictionary of texts, bytes and
tensors with a SHA-256 for each. It is read by `read_pt`, which runs no code.
"""

import io
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from asr_lab.checkpoints.errors import DamagedCheckpointError, NewerCheckpointError
from asr_lab.checkpoints.reader import read_pt
from asr_lab.reproducibility.hash import bytes_digest, canonical_json, tensor_sha256, text_digest
from asr_lab.utils.files import write_atomically

FORMAT = 1
KIND = "asr-lab checkpoint"
JSON_FIELDS = ("config", "metrics")


@dataclass(frozen=True, kw_only=True, eq=False)
class PortableModel:
    """A trained model with its tokenizer and where it comes from."""

    model: str
    """Qualified name, such as `conformer/conformer`."""
    distribution: str
    """Distribution that the model's plugin came from."""
    distribution_version: str
    config: Mapping[str, object]
    """The model configuration's `to_dict()`."""
    tokenizer_kind: str
    """Name that the tokenizer is registered under."""
    tokenizer: bytes
    """The tokenizer's `to_bytes()`; not empty."""
    tensors: Mapping[str, Tensor]
    """The model's state dict."""
    features: str = "nemo"
    """Feature recipe, by name."""
    normalizer: str = ""
    """Text normaliser that error rates are computed with; empty for none."""
    language: str = ""
    """Language tag such as `en` or `en_us`; empty if unknown."""
    weights: Literal["raw", "averaged"] = "raw"
    """Whether the weights are those of the last step or their moving average."""
    run_id: str = ""
    """Name of the run that made it."""
    metrics: Mapping[str, object] | None = None
    """What was measured on the dev set, by name."""


def write_portable(path: Path, model: PortableModel) -> None:
    """Write a portable checkpoint, completely or not at all; equal models give equal bytes.

    Raises CannotWriteError, in which case an older file is as it was.
    """
    if not model.tokenizer:
        raise ValueError("a portable checkpoint needs a tokenizer")
    values = _values(model)
    tensors = {_interned(name): _own(model.tensors[name]) for name in sorted(model.tensors)}
    content = {
        "format": KIND,
        "format_version": FORMAT,
        **values,
        "tensors": tensors,
        "digests": _digests(values, tensors),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def _values(model: PortableModel) -> dict[str, str | bytes]:
    """Return every field but the tensors, as text or bytes."""
    values: dict[str, str | bytes] = {}
    for name in sorted(field.name for field in fields(PortableModel) if field.name != "tensors"):
        value = getattr(model, name)
        if name in JSON_FIELDS:
            value = canonical_json(value)
        values[_interned(name)] = value if isinstance(value, bytes) else _interned(value)
    return values


def _interned(text: str) -> str:
    """Return one object for equal texts: a pickle's bytes depend on which objects are the same."""
    return sys.intern(str(text))


def _own(tensor: Tensor) -> Tensor:
    """Return a contiguous copy on the CPU with a storage of just its size."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _digests(values: Mapping[str, str | bytes], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the SHA-256 of every entry; tensors are called `tensors/NAME`."""
    digests = {}
    for name, value in values.items():
        digest = bytes_digest(value) if isinstance(value, bytes) else text_digest(value)
        digests[name] = _interned(digest)
    for name, tensor in tensors.items():
        digests[f"tensors/{name}"] = _interned(tensor_sha256(tensor))
    return digests


def read_portable(path: Path) -> PortableModel:
    """Read a portable checkpoint and verify every entry; the tensors are on the CPU.

    Raises MissingCheckpointError, DamagedCheckpointError, UnsafeCheckpointError for a file with
    code, and NewerCheckpointError.
    """
    content = read_pt(path)
    if not isinstance(content, dict) or content.get("format") != KIND:
        raise DamagedCheckpointError(
            f"{path} is not a checkpoint of this lab, but some other file of torch.save; "
            "give a best.pt"
        )
    version = content.get("format_version")
    if not isinstance(version, int):
        raise _damaged(path, "it names no format version")
    if version > FORMAT:
        raise NewerCheckpointError(path, version, FORMAT)
    values, tensors = _entries(path, content)
    found, digests = _digests(values, tensors), content.get("digests")
    if not isinstance(digests, dict) or set(digests) != set(found):
        raise _damaged(path, "entries and digests do not belong together")
    for name, digest in found.items():
        if digests[name] != digest:
            raise _damaged(path, f"the content of {name} has changed")
    return _model(path, values, tensors)


def _damaged(path: Path, problem: str) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f"{path} is damaged: {problem}; copy it again or use another checkpoint"
    )


def _entries(
    path: Path, content: Mapping[str, object]
) -> tuple[dict[str, str | bytes], dict[str, Tensor]]:
    """Return the fields and the tensors, if all are there and of their types."""
    names = {field.name for field in fields(PortableModel)} - {"tensors"}
    expected = names | {"format", "format_version", "tensors", "digests"}
    if wrong := sorted(map(str, set(content) ^ expected)):
        raise _damaged(path, f"{wrong[0]} is {'extra' if wrong[0] in content else 'missing'}")
    values: dict[str, str | bytes] = {}
    for name in sorted(names):
        value = content[name]
        if not isinstance(value, bytes if name == "tokenizer" else str):
            raise _damaged(path, f"{name} is a {type(value).__name__}")
        assert isinstance(value, str | bytes)
        values[name] = value
    tensors = content["tensors"]
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise _damaged(path, "tensors are not named tensors")
    return values, tensors


def _model(
    path: Path, values: Mapping[str, str | bytes], tensors: Mapping[str, Tensor]
) -> PortableModel:
    plain: dict[str, object] = dict(values)
    try:
        for name in JSON_FIELDS:
            plain[name] = json.loads(values[name])
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"{name} is not JSON") from error
    if not isinstance(plain["config"], dict) or plain["weights"] not in ("raw", "averaged"):
        raise _damaged(path, "its config is no mapping, or its weights of no known kind")
    if plain["metrics"] is not None and not isinstance(plain["metrics"], dict):
        raise _damaged(path, "its metrics have no names")
    return PortableModel(**plain, tensors=tensors)  # type: ignore[arg-type]
