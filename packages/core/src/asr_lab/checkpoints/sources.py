"""Where training may start: a model of this lab, a run of it, or the files of another system."""

from dataclasses import replace
from pathlib import Path

from asr_lab.checkpoints.directory import MANIFEST, load
from asr_lab.checkpoints.errors import MissingCheckpointError
from asr_lab.checkpoints.foreign import read_foreign
from asr_lab.checkpoints.formats import detected, find_format, format_names
from asr_lab.checkpoints.portable import PortableModel, read_portable
from asr_lab.plugins import Plugins

BEST = "best.pt"


def read_source(path: Path, plugins: Plugins) -> PortableModel:
    """Return the model that a path stands for, with the weights that an evaluation would use.

    It is a `best.pt`, the folder of a run, one of its checkpoints (`step-…`), or what a registered
    format reads. Raises UserError for what is none of them or cannot be used.
    """
    if not path.exists():
        raise MissingCheckpointError(f"no file or folder {path}; check the path")
    if (path / BEST).is_file():
        return read_portable(path / BEST)
    if (path / MANIFEST).is_file():
        return _of_step(path)
    if detected(path, plugins.registry):
        owner, spec = find_format(path, "", plugins.registry)
        return read_foreign(path, owner, spec, "", plugins)
    if path.is_dir():
        raise MissingCheckpointError(
            f"{path} is no checkpoint: it has no {BEST} and is of no known format "
            f"({format_names(plugins.registry)}); give another"
        )
    return read_portable(path)


def _of_step(path: Path) -> PortableModel:
    """Read one of the checkpoints of a run; what goes with the weights stands in `best.pt`."""
    best = path.resolve().parents[1] / BEST
    if not best.is_file():
        raise MissingCheckpointError(
            f"{path} holds no tokenizer, and {best}, which does, is not there; give another"
        )
    portable, checkpoint = read_portable(best), load(path)
    weights = dict(checkpoint.tensors["model"])
    average = checkpoint.tensors.get("average", {})
    weights.update({name: value.to(weights[name].dtype) for name, value in average.items()})
    return replace(
        portable,
        tensors=weights,
        weights="averaged" if average else "raw",
        metrics={"step": checkpoint.step},
    )
