"""A tracker that writes one line per step."""

from collections.abc import Mapping
from pathlib import Path


class Ledger:
    """Metrics as comma-separated lines."""

    def __init__(self, path: Path) -> None:
        """Start a file."""
        self.file = path.open("w", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the metrics of an optimizer step."""
        pairs = (f"{name}={value:g}" for name, value in sorted(metrics.items()))
        self.file.write(",".join([str(step), *pairs]) + "\n")

    def finish(self) -> None:
        """Close the file."""
        self.file.close()


def open_ledger(folder: Path, config: Mapping[str, object]) -> Ledger:
    """Open the ledger of a run."""
    return Ledger(folder / "ledger.csv")
