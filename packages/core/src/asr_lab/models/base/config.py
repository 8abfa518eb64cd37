"""What every model configuration has; torch-free, so that flags and listings are instant."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TypeVar

from asr_lab.utils.errors import UserError, suggestion

C = TypeVar("C", bound="ModelConfig")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and options of a model; models extend it with flat fields of their own."""

    vocab: int = 1024
    """Number of tokens without the blank; training sets it from the tokenizer."""
    features: str = "nemo"
    """Feature recipe, by name: nemo, nemo_plain (for streaming), whisper, kaldi or mfcc."""
    mels: int = 80
    """Number of mel bands, or of cepstral coefficients."""
    sample_rate: int = 16000
    """Sample rate of the audio, in Hz; other rates are resampled to it."""

    @property
    def blank_id(self) -> int:
        """Id of the blank: always the one after the last token."""
        return self.vocab

    @property
    def uses_ctc(self) -> bool:
        """True if a loss is CTC, which needs an encoder step for every token of a transcript."""
        return True

    def steps(self, frames: int) -> int:
        """Return the exact number of encoder steps for a number of feature frames."""
        raise NotImplementedError(f"{type(self).__name__} must say how it shortens its input")

    def to_dict(self) -> dict[str, object]:
        """Return all fields as plain values; tuples become lists."""
        plain: dict[str, object] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls: type[C], values: Mapping[str, object]) -> C:
        """Build a configuration from `to_dict`'s result; missing fields take their defaults.

        Raises UserError (a ValueError) for a key that is not a field, with the closest field.
        """
        known = {field.name for field in fields(cls)}
        for key in values:
            if key not in known:
                raise UserError(f"{cls.__name__} has no field {key!r}{suggestion(key, known)}")
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)  # type: ignore[arg-type]

    def digest(self) -> str:
        """Return the SHA-256, in hexadecimal, of the canonical JSON of all fields."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(f"{type(self).__name__}:{text}".encode()).hexdigest()
