"""Which folder a new run may take: a free one, or with `--overwrite` that of another run."""

import shutil
from pathlib import Path

from asr_lab.reproducibility.record import RECORD
from asr_lab.training.config import RunConfig
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import is_taken, make_numbered, writing

OUTPUTS = Path("outputs")


def check_output(config: RunConfig) -> None:
    """Raise UserError if the folder that was asked for is taken; nothing is changed."""
    folder = Path(config.output)
    if not config.output or not is_taken(folder):
        return
    if not config.overwrite:
        raise UserError(f"{folder} exists; choose another --output or say --overwrite")
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} is not the folder of a run; choose another --output")


def claim_folder(config: RunConfig) -> Path:
    """Make the folder of a new run, in place of an old one if `--overwrite` was said.

    Raises what `check_output` raises, and CannotWriteError.
    """
    check_output(config)
    if not config.output:
        return _next_free(f"{config.model.rpartition('/')[2]}-{Path(config.preset).stem}")
    folder = Path(config.output)
    with writing(folder):
        if is_taken(folder):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _next_free(name: str) -> Path:
    """Make `outputs/NAME-0001`, or the first number after the last."""
    with writing(OUTPUTS / name):
        OUTPUTS.mkdir(exist_ok=True)
        numbers = [int(p.name[-4:]) for p in OUTPUTS.glob(f"{name}-[0-9][0-9][0-9][0-9]")]
    return make_numbered(OUTPUTS, name, max(numbers, default=0) + 1)
