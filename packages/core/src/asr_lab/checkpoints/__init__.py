"""Checkpoints: folders that a run resumes from, the portable `best.pt`, and a reader of both."""

from typing import TYPE_CHECKING

from asr_lab.checkpoints.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    MissingCheckpointError,
    NewerCheckpointError,
    UnsafeCheckpointError,
)
from asr_lab.plugins.lazy import lazy_attributes

if TYPE_CHECKING:
    from asr_lab.checkpoints.building import build_model, version_note
    from asr_lab.checkpoints.directory import (
        Checkpoint,
        latest,
        load,
        load_latest,
        prune,
        remove_leftovers,
        save,
    )
    from asr_lab.checkpoints.optimizer import flatten_optimizer, restore_optimizer
    from asr_lab.checkpoints.portable import PortableModel, read_portable, write_portable
    from asr_lab.checkpoints.reader import read_pt
else:
    __getattr__ = lazy_attributes(
        __name__,
        Checkpoint="directory",
        PortableModel="portable",
        build_model="building",
        flatten_optimizer="optimizer",
        latest="directory",
        load="directory",
        load_latest="directory",
        prune="directory",
        read_portable="portable",
        read_pt="reader",
        remove_leftovers="directory",
        restore_optimizer="optimizer",
        save="directory",
        version_note="building",
        write_portable="portable",
    )

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DamagedCheckpointError",
    "MismatchedCheckpointError",
    "MissingCheckpointError",
    "NewerCheckpointError",
    "PortableModel",
    "UnsafeCheckpointError",
    "build_model",
    "flatten_optimizer",
    "latest",
    "load",
    "load_latest",
    "prune",
    "read_portable",
    "read_pt",
    "remove_leftovers",
    "restore_optimizer",
    "save",
    "version_note",
    "write_portable",
]
