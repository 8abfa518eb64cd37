"""Which of the registered formats of other systems some files have; torch-free."""

from pathlib import Path

from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import FormatSpec, load_target
from asr_lab.utils.errors import UserError


def find_format(source: Path, name: str, registry: Registry) -> tuple[str, FormatSpec]:
    """Return the plugin and specification of the format that is named, or that `source` has.

    Raises UserError if there is none, or more than one.
    """
    names = format_names(registry)
    if name:
        owner, spec = registry.find(FormatSpec, name)
        if not spec.read:
            raise UserError(f"format {name!r} can only be written; choose from {names}")
        return owner, spec
    found = detected(source, registry)
    if len(found) != 1:
        what = "of no known format" if not found else "of more than one format"
        raise UserError(f"{source} is {what}; say --format ({names})")
    return found[0]


def detected(source: Path, registry: Registry) -> list[tuple[str, FormatSpec]]:
    """Return plugin and specification of every format that recognises `source` as its own."""
    return [pair for pair in _readable(registry) if _detects(pair[1], source)]


def format_names(registry: Registry) -> str:
    """Return the names of the formats that can be read, for messages."""
    return ", ".join(spec.name for _, spec in _readable(registry)) or "none is installed"


def _readable(registry: Registry) -> list[tuple[str, FormatSpec]]:
    return [(owner, spec) for owner, spec in registry.all(FormatSpec) if spec.read]


def _detects(spec: FormatSpec, source: Path) -> bool:
    detect = load_target(spec.detect)
    assert callable(detect)
    return bool(detect(source))
