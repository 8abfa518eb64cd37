"""`asr-lab export`: a checkpoint of this lab as the files of another system."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr_lab.cli.options import parse_options
from asr_lab.plugins.loading import installed_plugins
from asr_lab.plugins.specs import FormatSpec
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import is_taken

SUMMARY = "Write a checkpoint in the format of another system."


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What `export` takes."""

    checkpoint: str = field(metadata={"positional": True})
    """Portable model such as outputs/best.pt."""
    format: str
    """Format to write, by name."""
    output: str
    """Folder or file to write; a folder must be empty or not there."""


def run(argv: Sequence[str]) -> int:
    """Run the command."""
    options = parse_options(ExportOptions, argv, "export", SUMMARY)
    if options is None:
        return 0
    plugins = installed_plugins()
    owner, spec = plugins.registry.find(FormatSpec, options.format)
    if not spec.write:
        raise UserError(f"format {options.format!r} can only be read")
    output = Path(options.output)
    if is_taken(output):
        raise UserError(f"{output} exists; choose another --output")
    from asr_lab.checkpoints.foreign import export_model

    export_model(Path(options.checkpoint), owner, spec, output, plugins)
    print(f"{options.checkpoint} as {spec.name}")
    print(f"files  {output}")
    return 0
