"""Data sets of the Hugging Face hub on disk: where they are, and which file is of which split."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from asr_lab.data.corpora import FOLDERED
from asr_lab.utils.errors import UnknownNameError, UserError, unknown

Layout: TypeAlias = dict[str, dict[str, list[Path]]]
"""Configuration -> split -> parquet files in order."""

REVISIONS = ("main", "refs/convert/parquet")
"""Revisions that may hold parquet files: the second is what the hub makes of a data set script."""
NAME = re.compile(r"[\w.-]+/[\w.-]+")
SHARD = re.compile(r"(?P<split>.+?)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?")
DEFAULT = "default"
"""Configuration of a data set that has no others."""
ALIASES = {
    "train": ("training",),
    "dev": ("validation", "valid", "val"),
    "test": ("test.clean", "test_clean"),
}
"""Other names of our splits, for one that was not said."""
SPLITS = {*ALIASES, *(name for names in ALIASES.values() for name in names), "test.other"}


def choose(
    typed: str, config: str, split: str, wanted_split: str, wanted_config: str
) -> tuple[Path, str, str]:
    """Find folder, configuration and split for what was typed; nothing is downloaded.

    `typed` is a folder of parquet files or the name ORG/NAME of a data set in the hub's cache. A
    lone part of the name may be either, a configuration or a split. Raises UserError with what to
    download where it is not there, and UnknownNameError for a configuration or a split it lacks.
    """
    folder = locate(typed, "" if not split and config in SPLITS else config)
    there = layout(folder)
    if not there:
        raise UserError(f"{typed} holds no parquet file; {download(typed, REVISIONS[1])}")
    if config and not split and config not in there:
        if any(config in splits for splits in there.values()):
            config, split = "", config
    config = _config(there, config, wanted_config, typed)
    return folder, config, _split(there[config], split, wanted_split, f"{typed}/{config}")


def locate(typed: str, config: str = "") -> Path:
    """Return the folder that `typed` names: itself, or a snapshot in the hub's cache.

    `config` is what is wanted of it, for the advice where it is not there.
    """
    folder = Path(typed).expanduser()
    if folder.is_dir():
        return folder
    if not NAME.fullmatch(typed):
        raise UserError(f"no folder {typed!r} for data set hf, and a name on the hub is ORG/NAME")
    repository = cache_folder() / f"datasets--{typed.replace('/', '--')}"
    snapshots = [found for each in REVISIONS if (found := _snapshot(repository, each))]
    for snapshot in snapshots:
        if any(snapshot.rglob("*.parquet")):
            return snapshot
    if snapshots:
        raise UserError(
            f"{typed} has no parquet file in the hub's cache; {download(typed, REVISIONS[1])}"
        )
    advice = download(typed, config=config)
    raise UserError(f"{typed} is not in the hub's cache {cache_folder()}; {advice}")


def download(typed: str, revision: str = "", config: str = "") -> str:
    """Return what to do to have a data set on disk, or one configuration where that can be had."""
    if not NAME.fullmatch(typed):
        return "name a folder that does"
    of = f" --revision {revision}" if revision else ""
    part = f" --include '{config}/*'" if config and typed in FOLDERED else ""
    return f"download it with `hf download {typed} --repo-type dataset{of}{part}`"


def cache_folder() -> Path:
    """Return the hub's cache, by the environment variables of its own client."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("HF_HOME") or f"{base}/huggingface").expanduser() / "hub"


def _snapshot(repository: Path, revision: str) -> Path | None:
    reference = repository / "refs" / revision
    if not reference.is_file():
        return None
    found = repository / "snapshots" / reference.read_text(encoding="utf-8").strip()
    return found if found.is_dir() else None


def layout(folder: Path) -> Layout:
    """Return the parquet files by configuration and split.

    What the card README.md declares comes first, then the names of files and folders. Raises
    UserError where a file of several is missing.
    """
    found: Layout = {}
    for config, split, path in sorted(_declared(folder)) or sorted(_by_name(folder)):
        files = found.setdefault(config, {}).setdefault(split, [])
        if path not in files:
            files.append(path)
    for splits in found.values():
        for files in splits.values():
            _refuse_incomplete(files)
    return found


def _declared(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield configuration, split and file by the list `configs` of the data set's card."""
    for config in _items(_card(folder).get("configs")):
        name = str(config.get("config_name", DEFAULT))
        files = config.get("data_files")
        for entry in _items(files) or [{"split": "train", "path": files}]:
            paths = entry.get("path")
            for pattern in paths if isinstance(paths, list) else [paths]:
                for path in _matching(folder, str(config.get("data_dir", "")), pattern):
                    yield name, str(entry.get("split", "train")), path


def _matching(folder: Path, below: str, pattern: object) -> Iterator[Path]:
    """Yield files inside `folder`; a card cannot reach outside."""
    text = "/".join(filter(None, (below.strip("/"), str(pattern)))) if pattern else ""
    if text and not text.startswith("/") and ".." not in text.split("/") and "://" not in text:
        yield from (path for path in folder.glob(text) if path.suffix == ".parquet")


def _card(folder: Path) -> Mapping[str, object]:
    """Return the front matter of README.md; nothing where there is none that can be read."""
    import yaml

    path = folder / "README.md"
    try:
        parts = path.read_text(encoding="utf-8").split("---\n", 2)
        card = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return card if isinstance(card, dict) else {}


def _items(value: object) -> list[Mapping[str, object]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _by_name(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield configuration, split and file by `[data/][CONFIG/]SPLIT-00000-of-00002.parquet`.

    Other forms: `CONFIG/SPLIT/0000.parquet` and `[CONFIG/]SPLIT.parquet`.
    """
    for path in folder.rglob("*.parquet"):
        parents = list(path.relative_to(folder).parts[:-1])
        if parents[:1] == ["data"]:
            del parents[0]
        if shard := SHARD.fullmatch(path.stem):
            split = shard["split"]
        elif path.stem.isdigit() and parents:
            split = parents.pop().removeprefix("partial-")
        else:
            split = path.stem
        yield "-".join(parents) or DEFAULT, split, path


def _refuse_incomplete(files: Iterable[Path]) -> None:
    """Raise UserError where one of several numbered files is missing: a part is no data set."""
    counted = [(path, shard) for path in files if (shard := SHARD.fullmatch(path.stem))]
    there = {int(shard["number"]) for _, shard in counted}
    for path, shard in counted:
        count = int(shard["count"])
        if missing := sorted(set(range(count)) - there):
            raise UserError(
                f"{path.parent} has {len(there)} of {count} files of {shard['split']}; number "
                f"{missing[0]:05d} is missing; download it too"
            )


def _default_config(there: Layout, wanted: str) -> str | None:
    """Return the configuration of a language, the default one or the only one."""
    language = re.split("[_-]", wanted)[0] if wanted else ""
    alike = [each for each in there if language and re.split("[_-]", each)[0] == language]
    if wanted in there or len(alike) == 1:
        return wanted if wanted in there else alike[0]
    return DEFAULT if DEFAULT in there else next(iter(there)) if len(there) == 1 else None


def _config(there: Layout, config: str, wanted: str, typed: str) -> str:
    if config in there:
        return config
    if config:
        splits = {split for each in there.values() for split in each}
        error = unknown(f"configuration or split of {typed}:", config, {*there, *splits})
        if typed in FOLDERED:
            raise UnknownNameError(f"{error}; or {download(typed, config=config)}")
        raise error
    if (found := _default_config(there, wanted)) is not None:
        return found
    raise UserError(f"{typed} needs a configuration; say hf/CONFIG with one of {', '.join(there)}")


def _split(there: Mapping[str, object], split: str, wanted: str, label: str) -> str:
    if split and split not in there:
        raise unknown(f"split of {label}:", split, there)
    names = (split, wanted, *ALIASES.get(wanted, ()))
    found = next((name for name in names if name in there), "")
    if not found and (wanted == "train" or len(there) > 1):
        raise UserError(f"{label} has no split {wanted!r}; say one of {', '.join(there)}")
    return found or next(iter(there))
