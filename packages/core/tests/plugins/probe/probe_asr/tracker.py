"""A tracker that writes what it is told, and that it was closed."""

from collections.abc import Mapping
from pathlib import Path


class Notebook:
    """Lines in a file."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self.file = path.open("a", encoding="utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Write the names of the metrics of a step."""
        self.file.write(f"{step} {' '.join(sorted(metrics))}\n")

    def finish(self) -> None:
        """Close the file."""
        self.file.write("closed\n")
        self.file.close()


def open_notebook(folder: Path, config: Mapping[str, object]) -> Notebook:
    """Open the notebook of a run."""
    return Notebook(folder / "notebook.txt")
