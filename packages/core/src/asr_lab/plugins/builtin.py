"""What the core itself registers: it is a plugin like any other."""

from asr_lab.plugins.hooks import hookimpl
from asr_lab.plugins.registry import Registry


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register the core's data sets, tokenizers, precisions, trackers and commands."""
