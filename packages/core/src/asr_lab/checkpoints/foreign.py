"""Checkpoints from and to the files of other systems, by the formats that plugins registered."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, cast

from asr_lab.checkpoints.building import build_model
from asr_lab.checkpoints.errors import MismatchedCheckpointError
from asr_lab.checkpoints.portable import PortableModel, read_portable, write_portable
from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.plugins import FormatSpec, Plugins
from asr_lab.plugins.specs import load_target
from asr_lab.tokenizers import Tokenizer

Read: TypeAlias = Callable[[Path], tuple[ASRModel[ModelConfig], Tokenizer]]
Write: TypeAlias = Callable[[ASRModel[ModelConfig], Tokenizer, Path], None]


def import_model(
    source: Path, owner: str, spec: FormatSpec, output: Path, language: str, plugins: Plugins
) -> PortableModel:
    """Read a model of another system, write it as a portable checkpoint, and return that.

    Raises UserError for files that cannot be used, and CannotWriteError.
    """
    portable = read_foreign(source, owner, spec, language, plugins)
    write_portable(output, portable)
    return portable


def read_foreign(
    source: Path, owner: str, spec: FormatSpec, language: str, plugins: Plugins
) -> PortableModel:
    """Read a model of another system. Raises UserError for files that cannot be used."""
    model, tokenizer = cast(Read, load_target(spec.read))(source)
    distribution, version = plugins.distribution_of(owner)
    return PortableModel(
        model=f"{owner}/{spec.model}",
        distribution=distribution,
        distribution_version=version,
        config=model.config.to_dict(),
        tokenizer_kind=tokenizer.kind,
        tokenizer=tokenizer.to_bytes(),
        tensors=model.state_dict(),
        features=model.config.features,
        language=language,
    )


def export_model(
    checkpoint: Path, owner: str, spec: FormatSpec, output: Path, plugins: Plugins
) -> None:
    """Write a portable checkpoint in the format of another system.

    Raises MismatchedCheckpointError for a checkpoint of a model that the format is not for, and
    UserError for one that the other system cannot hold.
    """
    portable = read_portable(checkpoint)
    if portable.model != f"{owner}/{spec.model}":
        raise MismatchedCheckpointError(
            f"{checkpoint} is of model {portable.model}; format {spec.name} is for "
            f"{owner}/{spec.model}"
        )
    model, tokenizer = build_model(portable, "cpu", plugins)
    cast(Write, load_target(spec.write))(model, tokenizer, output)
