"""Settings of an evaluation; torch-free, because the command line makes flags of them."""

from dataclasses import dataclass, field
from typing import Literal

from asr_lab.models.base.options import DecodingOptions


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is evaluated, on what, and how."""

    checkpoint: str
    """Portable model such as outputs/best.pt, or the folder of a run."""
    dataset: str
    """Data set, `NAME[/CONFIG][/SPLIT][:LOCATION]`; `asr-lab datasets` lists names."""
    decoding: DecodingOptions = field(default_factory=DecodingOptions)
    """How scores become text."""
    batch_seconds: float = 120.0
    """Seconds of audio in a batch, padding counted; the result does not depend on it."""
    max_duration: float = 30.0
    """Longest utterance, in seconds; longer ones are bad utterances."""
    workers: int = 2
    """Loader processes; the result does not depend on it."""
    precision: str = "fp32"
    """Numeric precision, by name."""
    device: str = ""
    """`cpu`, `cuda` or `cuda:N`; empty for the GPU if there is a usable one."""
    on_bad_utterance: Literal["fail", "skip"] = "fail"
    """What to do with an utterance that cannot be used."""
    output: str = ""
    """Folder for the result and the hypotheses; empty for a new one beside the checkpoint."""
    overwrite: bool = False
    """Replace an existing output folder."""
    json: bool = False
    """Print the result as JSON."""

    def __post_init__(self) -> None:
        """Refuse values that make no batch."""
        for name in ("batch_seconds", "max_duration"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name.replace('_', '-')} must be above 0")
        if self.workers < 0:
            raise ValueError(f"workers must be 0 or more; got {self.workers}")
