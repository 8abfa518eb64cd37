"""What a run starts from, where that is not chance: the weights that `train --from` names."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import nn

from asr_lab.checkpoints.building import config_of, load_weights, tokenizer_of
from asr_lab.checkpoints.portable import PortableModel
from asr_lab.checkpoints.shapes import changes, told, vocabulary_weights, weight_changes
from asr_lab.checkpoints.sources import read_source
from asr_lab.data.selection import Selection
from asr_lab.data.stored import Columns
from asr_lab.models.base import ModelConfig
from asr_lab.plugins import ModelSpec, Plugins
from asr_lab.reproducibility.hash import state_digest
from asr_lab.tokenizers import Tokenizer, load_tokenizer, train_tokenizer
from asr_lab.training.config import RunConfig
from asr_lab.utils.errors import UserError

SOURCE = "source.pt"
"""Copy of what a run started from, in its folder: what was typed may be gone when it goes on."""
NAMED = 4
"""Weights that are named one by one; of more, the number is told."""


@dataclass(kw_only=True, eq=False)
class Start:
    """A model that was trained before, with what belongs to it."""

    path: str
    """What was typed."""
    portable: PortableModel
    config: ModelConfig
    """Configuration that the weights were trained with."""
    tokenizer: Tokenizer
    anew: tuple[str, ...] = ()
    """Weights that the run makes anew, because their size follows another vocabulary."""

    @cached_property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of all weights."""
        return state_digest(self.portable.tensors)

    def facts(self) -> dict[str, object]:
        """Return what the record of a run says about its start."""
        return {
            "path": self.path,
            "digest": self.digest,
            "model": self.portable.model,
            "weights": self.portable.weights,
            "run_id": self.portable.run_id,
            "made_anew": list(self.anew),
        }

    def load_into(self, model: nn.Module) -> None:
        """Copy the weights into a freshly built model, but for those that are made anew."""
        load_weights(model, self.portable, self.anew)

    def forget_weights(self) -> None:
        """Free their memory, once the model has them; the digest stays."""
        assert self.digest
        self.portable = replace(self.portable, tensors={})

    def for_tokenizer(self, tokenizer: Tokenizer, spec: ModelSpec) -> "Start":
        """Return what remains of it with a tokenizer that may be another than its own."""
        if tokenizer.digest == self.tokenizer.digest:
            return self
        return replace(self, anew=tuple(sorted(vocabulary_weights(spec, self.config))))

    def notes(self, config: ModelConfig) -> list[str]:
        """Return what a person should know, one line each."""
        run = f", run {self.portable.run_id}" if self.portable.run_id else ""
        found = [f"starts from {self.path}{run}"]
        if other := changes(self.config, config):
            found.append(f"settings that are not its own: {told(other)}")
        if self.anew:
            more = f" and {len(self.anew) - NAMED} more" if len(self.anew) > NAMED else ""
            found.append(f"made anew for the vocabulary: {', '.join(self.anew[:NAMED])}{more}")
        return found


def read_start(
    config: RunConfig, spec: ModelSpec, plugins: Plugins, copy: Path | None = None
) -> Start | None:
    """Return what a run starts from, read from `copy` if given; None if it starts from chance.

    Raises UserError for what cannot be read, is of another model, or does not fit the settings.
    """
    if not config.from_:
        return None
    portable = read_source(copy or Path(config.from_), plugins)
    if portable.model != config.model:
        raise UserError(f"{config.from_} is of model {portable.model}, not {config.model}")
    theirs = config_of(portable, plugins)
    if wrong := weight_changes(spec, theirs, config.model_config):
        raise UserError(
            f"the weights of {config.from_} have other settings: {told(wrong)}; "
            "settings that change weights must stay as they are there"
        )
    start = Start(
        path=config.from_,
        portable=portable,
        config=theirs,
        tokenizer=tokenizer_of(portable, theirs),
    )
    if not config.new_tokenizer:
        _refuse_another_vocabulary(config, start)
    return start


def _refuse_another_vocabulary(config: RunConfig, start: Start) -> None:
    """Raise UserError if somebody asked for a vocabulary that is not the checkpoint's."""
    kind, size = start.portable.tokenizer_kind, start.tokenizer.size
    wanted = str(config.changes.get("data.tokenizer", kind))
    vocab = config.changes.get("data.vocab", size)
    if wanted.rpartition("/")[2] != kind.rpartition("/")[2]:
        asked = f"--data.tokenizer {wanted}"
    elif isinstance(vocab, int) and (vocab < size or (vocab != size and kind == "bpe")):
        asked = f"--data.vocab {vocab}"
    else:
        return
    raise UserError(
        f"{asked}: the vocabulary of {start.path} is {size} tokens of kind {kind}; "
        "leave it out, or say --new-tokenizer to make all that follows the vocabulary anew"
    )


def with_vocabulary(
    config: RunConfig, start: Start | None, texts: Selection
) -> tuple[RunConfig, Tokenizer]:
    """Return the tokenizer of a run, trained on `texts`, and the settings that follow from it.

    It is that of the weights the run starts from, if there are any and no other was asked for.
    """
    data = config.data_config
    if start is None or config.new_tokenizer:
        tokenizer = _trained(data.tokenizer, texts, data.vocab)
    else:
        tokenizer = start.tokenizer
        data = replace(data, tokenizer=start.portable.tokenizer_kind)
    model_config = replace(config.model_config, vocab=tokenizer.size)
    return replace(config, model_config=model_config, data_config=data), tokenizer


def _trained(kind: str, texts: Selection, size: int) -> Tokenizer:
    """Train a tokenizer, or read what was trained on the same texts before."""

    def make() -> Columns:
        return {"tokenizer": memoryview(train_tokenizer(kind, texts.texts(), size).to_bytes())}

    return load_tokenizer(kind, bytes(texts.stored(["tokenizer", kind, size], make)["tokenizer"]))
