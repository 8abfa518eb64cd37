"""Read a configuration file into the same flat text that the command line is made of.

Every scalar stays text, so that `3e-4` and the language `no` mean what they say, and one
conversion with one set of errors serves file and flags.
"""

import json
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from asr_lab.cli.arguments import closest
from asr_lab.cli.flags import Assignment, Flag, shown_name
from asr_lab.cli.values import show
from asr_lab.utils.errors import UserError

Flat = dict[str, tuple[str, ...]]


def looks_like_file(text: str) -> bool:
    """Return True if `--config` was given a file and not the name of a preset."""
    return "/" in text or Path(text).suffix in READERS or Path(text).is_file()


def read_config_file(path: Path) -> Flat:
    """Return words by dotted key, for example `{"train.lr": ("3e-4",)}`.

    Raises UserError for a file that is missing, of another kind, damaged, or that gives a key
    twice.
    """
    if path.suffix not in READERS:
        kinds = ", ".join(READERS)
        raise UserError(f"--config {path}: neither a preset nor a file that ends in {kinds}")
    try:
        tree = READERS[path.suffix](path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"--config {path}: there is no such file") from None
    except (UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(tree, Mapping):
        raise UserError(f"{path}: must hold keys and values, such as `train.lr: 3e-4`")
    return flatten(tree, str(path))


def flatten(tree: Mapping[str, object], source: str) -> Flat:
    """Return the leaves of nested mappings by dotted key, as words one could type.

    Raises UserError for a key given twice or a list of anything but plain values.
    """
    flat: Flat = {}
    for name, words in _leaves(tree, "", source):
        if name in flat:
            raise UserError(f"{shown_name(name, source)} is given twice")
        flat[name] = words
    return flat


def _leaves(
    tree: Mapping[str, object], prefix: str, source: str
) -> Iterable[tuple[str, tuple[str, ...]]]:
    for key, value in tree.items():
        name = f"{prefix}{key}".replace("_", "-")
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.", source)
        elif not isinstance(value, list | tuple):
            yield name, (_word(value),)
        elif any(isinstance(item, list | tuple | Mapping) for item in value):
            raise UserError(f"{shown_name(name, source)}: a list holds plain values only")
        else:
            yield name, tuple(map(_word, value))


def _word(value: object) -> str:
    return repr(value) if isinstance(value, float) else show(value)


def assignments(
    flat: Flat, source: str, flags: Sequence[Flag]
) -> tuple[list[Assignment], list[str]]:
    """Return the assignments to known flags, and a problem for every other key."""
    known = {flag.name for flag in flags if not flag.positional}
    found = [Assignment(name=n, texts=t, source=source) for n, t in flat.items() if n in known]
    problems = [
        f"{shown_name(name, source)}: no such key{closest(name, known)}"
        for name in flat
        if name not in known
    ]
    return found, problems


def _pairs(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Build a mapping, refusing a key given twice."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is given twice")
        found[key] = value
    return found


def _read_json(text: str) -> object:
    tree: object = json.loads(
        text, object_pairs_hook=_pairs, parse_float=str, parse_int=str, parse_constant=str
    )
    return tree


def _read_toml(text: str) -> object:
    return tomllib.loads(text, parse_float=str)


def _read_yaml(text: str) -> object:
    import yaml  # type: ignore[import-untyped, unused-ignore]

    try:
        node: object = yaml.compose(text, Loader=yaml.BaseLoader)
        return {} if node is None else _yaml_value(node)
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {error}") from None
    except RecursionError:
        raise ValueError("not YAML that ends: it contains itself") from None


def _yaml_value(node: object) -> object:
    """Turn a node into mappings, lists and text; no tag of YAML is obeyed."""
    kind, value = node.id, node.value  # type: ignore[attr-defined]
    if kind == "mapping":
        return _pairs([(str(_yaml_value(key)), _yaml_value(inner)) for key, inner in value])
    return [_yaml_value(inner) for inner in value] if kind == "sequence" else value


READERS: dict[str, Callable[[str], object]] = {
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_json,
    ".toml": _read_toml,
}
