"""What a plugin registers: descriptions that say where to import from, never the classes.

Every target is `package.module:Name`. Listing therefore imports nothing heavy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, runtime_checkable


def load_target(target: str) -> object:
    """Import the object named by `package.module:Name`.

    Raises ImportError where the module is missing and AttributeError where the name is.
    """
    module, _, attribute = target.partition(":")
    found: object = getattr(import_module(module), attribute)
    return found


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What every registered thing has."""

    name: str
    """Short name; `plugin/name` is the qualified one."""
    summary: str
    """One line for listings."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec(Spec):
    """A model architecture."""

    model: str
    """Target of the `ASRModel` class."""
    config: str
    """Target of its `ModelConfig` class; the module must not import torch."""
    presets: tuple[str, ...]
    """Names of class methods of the configuration."""
    recipes: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Training settings by preset, as flags without dashes: `{"tiny": {"train.epochs": 12}}`."""
    layouts: tuple[str, ...] = ("padded",)
    """Batch layouts that the model takes: `padded`, `packed`."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec(Spec):
    """A corpus or a manifest format."""

    reader: str
    """Target of `read(location: Path | None, config: str, split: str) -> Iterable[Utterance]`."""
    splits: tuple[str, ...] = ("train", "dev", "test")
    """Splits that exist; the evaluation split is `test` where there is one, else the last."""
    configs: tuple[str, ...] = ()
    """Configurations (usually languages); empty where there are none, `("*",)` where the folders
    of the location are the configurations."""
    bundled: bool = False
    """True if the data come with the plugin, so that no location is needed."""
    choose: str = ""
    """Target of `choose(typed, config, split, wanted_split, wanted_config) -> (Path, config,
    split)`, all strings as in the name, empty where left out; for a data set whose location says
    which configurations and splits there are."""
    location: str = ""
    """What the location must hold, for the error that asks for it; empty if `bundled`."""


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec(Spec):
    """A kind of tokenizer."""

    train: str
    """Target of `train(texts: Iterable[str], size: int) -> Tokenizer`."""
    load: str
    """Target of `from_bytes(data: bytes) -> Tokenizer`."""


@dataclass(frozen=True, kw_only=True)
class PrecisionSpec(Spec):
    """A numeric precision."""

    manager: str
    """Target of the `PrecisionManager` class."""


@runtime_checkable
class Tracker(Protocol):
    """Somewhere metrics go; an exception silences it and never ends the run."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of an optimizer step."""

    def finish(self) -> None:
        """Write what is left and close; called once, also after an interrupt."""


@dataclass(frozen=True, kw_only=True)
class TrackerSpec(Spec):
    """Somewhere to send the metrics of a run, besides `metrics.jsonl`."""

    tracker: str
    """Target of `open_tracker(folder: Path, config: Mapping[str, object]) -> Tracker`."""


@dataclass(frozen=True, kw_only=True)
class FormatSpec(Spec):
    """Files of another system that models come from, go to, or both."""

    model: str
    """Short name of the model that the files hold, registered by the same plugin."""
    detect: str = ""
    """Target of `detect(path: Path) -> bool`, which looks at names and little else; the module must
    not import torch. Empty if only written."""
    read: str = ""
    """Target of `read(path: Path) -> tuple[ASRModel, Tokenizer]`; empty if only written."""
    write: str = ""
    """Target of `write(model: ASRModel, tokenizer: Tokenizer, path: Path) -> None`; empty if they
    are only read."""


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command of `asr-lab`."""

    run: str
    """Target of `run(argv: Sequence[str]) -> int`; the module must not import torch."""
