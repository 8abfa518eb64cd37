"""Why a checkpoint cannot be used; each is one line for the user."""

from pathlib import Path

from asr_lab.utils.errors import UserError


class CheckpointError(UserError):
    """A checkpoint that cannot be used."""


class MissingCheckpointError(CheckpointError):
    """There is no checkpoint of that name."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint that is truncated, changed or incomplete."""


class UnsafeCheckpointError(CheckpointError):
    """A file that asks for code to be run, or for more than it holds; nothing was run."""


class NewerCheckpointError(CheckpointError):
    """A checkpoint of a format that a newer version of the lab writes."""

    def __init__(self, path: Path, found: int, supported: int) -> None:
        """Say which format was found and which can be read."""
        super().__init__(
            f"{path} is format {found}; this version reads up to {supported}; upgrade asr-lab-core"
        )


class MismatchedCheckpointError(CheckpointError):
    """A checkpoint of another model than the one it is loaded into."""
