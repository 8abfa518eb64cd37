"""Where a run stands: the little that cannot be derived from its settings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields


@dataclass
class TrainState:
    """Position in the plan, and what happened on the way."""

    step: int = 0
    """Optimizer steps done, those that left the weights alone included."""
    epoch: int = 0
    epoch_step: int = 0
    """Steps done in this epoch."""
    skipped: int = 0
    """Consecutive steps that were not finite."""
    skipped_total: int = 0
    best_error_rate: float | None = None
    """Lowest word error rate on the dev set."""
    best_step: int = 0
    evaluated_step: int = 0
    """Step of the last evaluation on the dev set."""
    seconds: float = 0.0
    """Time spent, in all sessions of the run."""
    audio_seconds: float = 0.0
    """Audio trained on, repetitions counted."""
    bad_utterances: int = 0
    """Utterances that were left out or skipped because they are bad, each counted once."""
    data: str = ""
    """What was trained on so far, as 128 bits in hexadecimal; see `Recorder`."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> "TrainState":
        """Build it from `to_dict`'s result; unknown keys are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: x for name, x in values.items() if name in known})  # type: ignore[arg-type]
