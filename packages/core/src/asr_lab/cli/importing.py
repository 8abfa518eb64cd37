"""`asr-lab import`: a checkpoint of this lab from the files of another system."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.checkpoints.formats import find_format
from asr_lab.cli.options import parse_options
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UserError

SUMMARY = "Make a checkpoint, as training does, of a model that another system trained."


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What `import` takes."""

    source: str = field(metadata={"positional": True})
    """File or folder of the other system."""
    output: str
    """Checkpoint to write, such as best.pt."""
    format: str = ""
    """Format of the source; empty to tell by its name and what is in it."""
    language: str = ""
    """Language that the model recognises, such as en; empty if unknown."""
    overwrite: bool = False
    """Replace a checkpoint that is there."""


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    options = parse_options(ImportOptions, argv, "import", SUMMARY)
    if options is None:
        return 0
    plugins = installed_plugins()
    source, output = Path(options.source), Path(options.output)
    if not source.exists():
        raise UserError(f"no file or folder {source}; check the path")
    check_output(source, output, options.overwrite)
    owner, spec = find_format(source, options.format, plugins.registry)
    from asr_lab.checkpoints.foreign import import_model

    portable = import_model(source, owner, spec, output, options.language, plugins)
    print(f"{portable.model} from {source} ({spec.name})")
    print(f"file   {output}")
    print(f"next   asr-lab evaluate --checkpoint {output} --dataset NAME")
    return 0


def check_output(source: Path, output: Path, overwrite: bool) -> None:
    """Raise UserError if the checkpoint has no place at `output`."""
    if output.is_dir():
        raise UserError(f"{output} is a folder; choose a file for --output")
    if output.exists() and output.samefile(source):
        raise UserError(f"{output} is the source itself; choose another --output")
    if output.exists() and not overwrite:
        raise UserError(f"{output} exists; choose another --output or say --overwrite")
