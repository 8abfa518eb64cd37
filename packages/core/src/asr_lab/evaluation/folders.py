"""Where the result of an evaluation goes, without touching what is there before it is known."""

import shutil
from pathlib import Path

from asr_lab.utils.errors import UserError
from asr_lab.utils.files import is_taken, make_numbered, writing

RESULT, HYPOTHESES = "result.json", "hypotheses.jsonl"


def output_folder(output: str, overwrite: bool, checkpoint: Path, label: str) -> Path:
    """Return the folder to write to; raises UserError if the one asked for is taken.

    Without `output` it is a new one beside the checkpoint. A new folder is made now, so that a
    place that cannot be written is told before the work; an old one is left for `cleared`.
    """
    if not output:
        return make_numbered(checkpoint.parent, f"evaluate-{label.replace('/', '-')}")
    folder = Path(output)
    if is_taken(folder):
        if not overwrite:
            raise UserError(f"{folder} exists; choose another --output or say --overwrite")
        if not (folder / RESULT).is_file():
            raise UserError(f"{folder} holds no evaluation; choose another --output")
        return folder
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cleared(folder: Path) -> Path:
    """Empty the folder of an old evaluation, now that there is a new one to write."""
    with writing(folder):
        if (folder / RESULT).exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    return folder
