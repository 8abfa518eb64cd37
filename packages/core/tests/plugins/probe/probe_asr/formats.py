"""Which files of "another system" hold a probe; imports no torch."""

from pathlib import Path


def is_probe(path: Path) -> bool:
    """Return True for JSON of all that a probe is."""
    return path.suffix in (".probe", ".both")


def is_old(path: Path) -> bool:
    """Return True for the same under its older name."""
    return path.suffix in (".old", ".both")


def never(path: Path) -> bool:
    """Return False: what is only written is never found."""
    return False
