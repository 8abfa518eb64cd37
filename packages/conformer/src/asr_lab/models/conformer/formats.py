"""Tell by their names which files of other systems may hold a Fast Conformer; torch-free."""

from pathlib import Path


def is_nemo(path: Path) -> bool:
    """Return True for a file that is called a NeMo archive."""
    return path.suffix == ".nemo"


def is_parakeet(path: Path) -> bool:
    """Return True for a folder with a configuration that says it is one of Parakeet."""
    config = path / "config.json"
    return config.is_file() and "parakeet" in config.read_text("utf-8", errors="replace")
