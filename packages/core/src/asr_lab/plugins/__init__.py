"""Hooks, registry and loading of plugins; imports nothing but the standard library and pluggy."""

from asr_lab.plugins.hooks import hookimpl
from asr_lab.plugins.lazy import lazy_attributes
from asr_lab.plugins.loading import Plugins, PluginStatus, installed_plugins, load_plugins
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import (
    CommandSpec,
    DatasetSpec,
    FormatSpec,
    ModelSpec,
    PrecisionSpec,
    TokenizerSpec,
    Tracker,
    TrackerSpec,
)

__all__ = [
    "CommandSpec",
    "DatasetSpec",
    "FormatSpec",
    "ModelSpec",
    "PluginStatus",
    "Plugins",
    "PrecisionSpec",
    "Registry",
    "TokenizerSpec",
    "Tracker",
    "TrackerSpec",
    "hookimpl",
    "installed_plugins",
    "lazy_attributes",
    "load_plugins",
]
