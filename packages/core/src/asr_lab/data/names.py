"""Names of data sets as people type them, `NAME[/CONFIG][/SPLIT][:LOCATION][*WEIGHT]`."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from asr_lab.data.config import ANY_CONFIG, ANY_SPLIT, TEST_ONLY
from asr_lab.data.utterance import Utterance
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import DatasetSpec, load_target
from asr_lab.utils.errors import UnknownNameError, UserError, unknown

FORM = "NAME[/CONFIG][/SPLIT][:LOCATION][*WEIGHT]"
OPEN = (ANY_SPLIT, TEST_ONLY)
"""Splits of a source that has one, which is nevertheless to be said."""
LISTED = 6
"""Most choices that an error lists; of more, it names the closest."""
WEIGHT = re.compile(r"\*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class DatasetName:
    """The parts of a data set's name; those that were left out are empty."""

    name: str
    """Registered name, or `plugin/name` where that was said."""
    config: str = ""
    split: str = ""
    location: str = ""
    """File or folder as it was typed."""
    weight: float = 1.0
    """How often the data set is walked, relative to the others of a run."""

    def __str__(self) -> str:
        """Return the name as it is typed."""
        head = "/".join(part for part in (self.name, self.config, self.split) if part)
        location = f":{self.location}" if self.location else ""
        weight = f"*{self.weight!r}".removesuffix(".0") if self.weight != 1 else ""
        return head + location + weight


@dataclass(frozen=True, kw_only=True)
class ResolvedDataset:
    """A data set that is known to be there, with nothing left out."""

    spec: DatasetSpec
    plugin: str
    """Plugin that registered it."""
    config: str
    """Configuration; empty where there are none, or where the reader finds the only one."""
    split: str
    location: Path | None
    """File or folder that exists; None for data that come with the plugin."""
    weight: float = 1.0

    @property
    def label(self) -> str:
        """Name, configuration and split, for reports."""
        return "/".join(part for part in (self.spec.name, self.config, self.split) if part)

    @property
    def typed(self) -> str:
        """What to type to get this data set again; a split that needs no name is left out."""
        split = "" if self.split == _only_split(self.spec) else self.split
        head = "/".join(part for part in (self.spec.name, self.config, split) if part)
        return f"{head}:{self.location}" if self.location else head


def parse(text: str, registry: Registry) -> DatasetName:
    """Take a data set's name apart; `registry` tells a configuration from a split.

    Raises UserError for a form that is none, UnknownNameError for an unknown data set,
    configuration or split, AmbiguousNameError for a short name that several plugins use.
    """
    if not text or text[0] in ":*/":
        raise UserError(f"a data set is written {FORM}; got {text!r}")
    rest, weight = _split_weight(text)
    head, colon, location = rest.partition(":")
    if colon and not location:
        raise UserError(f"{text!r} names no location after the colon; a data set is {FORM}")
    name, spec, parts = _find(head, registry)
    config, split = _config_and_split(spec, parts, text)
    return DatasetName(name=name, config=config, split=split, location=location, weight=weight)


def _split_weight(text: str) -> tuple[str, float]:
    found = WEIGHT.search(text)
    if found is None:
        if "*" in text.partition(":")[0]:
            raise UserError(f"the weight after * must be a number; got {text!r}")
        return text, 1.0
    weight = float(found[1])
    if not 0 < weight < float("inf"):
        raise UserError(f"a weight must be above 0; got {found[1]} in {text!r}")
    return text[: found.start()], weight


def _find(head: str, registry: Registry) -> tuple[str, DatasetSpec, list[str]]:
    """Return registered name, specification and what follows it.

    `a/b` is configuration or split `b` of data set `a`, or data set `b` of plugin `a`. The first
    reading wins where `a` is one data set and has a `b`.
    """
    parts = head.split("/")
    everything = registry.all(DatasetSpec)
    parts[0] = _spelled(parts[0], [spec.name for _, spec in everything])
    owners = [spec for _, spec in everything if spec.name == parts[0]]
    qualified = "/".join(parts[:2])
    if any(f"{plugin}/{spec.name}" == qualified for plugin, spec in everything):
        if len(owners) != 1 or not _has(owners[0], parts[1]):
            return qualified, registry.find(DatasetSpec, qualified)[1], parts[2:]
    if not owners:
        _refuse_path(head)
    return parts[0], registry.find(DatasetSpec, parts[0])[1], parts[1:]


def _spelled(name: str, known: Sequence[str]) -> str:
    """Return the one name that differs in underscores only: commonvoice -> common_voice."""
    alike = {each for each in known if each.replace("_", "") == name.replace("_", "")}
    return name if name in known or len(alike) != 1 else alike.pop()


def _has(spec: DatasetSpec, part: str) -> bool:
    return part in spec.splits or part in spec.configs or spec.configs == ANY_CONFIG


def _refuse_path(head: str) -> None:
    """Raise UserError if what stands where a name belongs is a file or folder."""
    path = Path(head)
    if path.is_file():
        raise UserError(f"{head} is a file, not the name of a data set; say manifest:{head}")
    if path.is_dir():
        raise UserError(f"{head} is a folder, not the name of a data set; say folder:{head}")


def _config_and_split(spec: DatasetSpec, parts: list[str], text: str) -> tuple[str, str]:
    if len(parts) > 2:
        raise UserError(f"{text!r} has too many parts; a data set is written {FORM}")
    if not all(parts):
        raise UserError(f"{text!r} has an empty part; a data set is written {FORM}")
    if len(parts) == 2:
        return _config(spec, parts[0]), _known_split(spec, parts[1])
    if not parts:
        return "", ""
    part = parts[0]
    if part in spec.splits:
        return "", part
    if spec.configs == ANY_CONFIG or _closest_config(spec.configs, part):
        return _config(spec, part), ""
    kind = "configuration or split" if spec.configs else "split"
    raise _unknown_part(spec, kind, part, (*spec.configs, *spec.splits))


def _unknown_part(
    spec: DatasetSpec, kind: str, part: str, choices: Sequence[str]
) -> UnknownNameError:
    """Return the error for a part that `spec` does not have; a few choices are all listed."""
    if len(choices) > LISTED:
        return unknown(f"{kind} of {spec.name}", part, choices)
    listed = ", ".join(choices)
    return UnknownNameError(f"{spec.name} has no {kind} {part!r}; choose from {listed}")


def _config(spec: DatasetSpec, wanted: str) -> str:
    if spec.configs == ANY_CONFIG:
        return wanted
    if found := _closest_config(spec.configs, wanted):
        return found
    raise _unknown_part(spec, "configuration", wanted, spec.configs)


def _closest_config(configs: Iterable[str], wanted: str) -> str:
    """Return `wanted` if it is there, else the only one that continues it: en -> en_us."""
    known = list(configs)
    longer = [config for config in known if re.match(rf"{re.escape(wanted)}[_-]", config)]
    return wanted if wanted in known else longer[0] if len(longer) == 1 else ""


def _known_split(spec: DatasetSpec, split: str) -> str:
    if split not in spec.splits and spec.splits != ANY_SPLIT:
        raise _unknown_part(spec, "split", split, spec.splits)
    return split


def resolve(
    name_text: str, registry: Registry, default_split: str, default_config: str = ""
) -> ResolvedDataset:
    """Find the data set that `name_text` means, with what was left out filled in.

    A missing split is `default_split` where there is one; a source with one split is that split
    unless it is a test set, and an evaluation split other than `train` falls back to `test`, then
    to the last. A missing configuration is that of the language `default_config`, else the only
    one. A missing location is `$ASR_LAB_DATA/NAME`. Raises what `parse` raises, and UserError where
    a choice is open or the location is not there.
    """
    name = parse(name_text, registry)
    plugin, spec = registry.find(DatasetSpec, name.name)
    if spec.choose:
        return _chosen(name, spec, plugin, default_split, default_config)
    location = _location(spec, name.location)
    return ResolvedDataset(
        spec=spec,
        plugin=plugin,
        config=name.config or _default_config(spec, default_config, location),
        split=name.split or _default_split(spec, default_split),
        location=location,
        weight=name.weight,
    )


def _chosen(
    name: DatasetName, spec: DatasetSpec, plugin: str, default_split: str, default_config: str
) -> ResolvedDataset:
    """Let the data set itself say what the name means, for what is there decides."""
    typed = name.location or str(_location(spec, ""))
    choose = cast(
        Callable[[str, str, str, str, str], tuple[Path, str, str]], load_target(spec.choose)
    )
    location, config, split = choose(typed, name.config, name.split, default_split, default_config)
    return ResolvedDataset(
        spec=spec, plugin=plugin, config=config, split=split, location=location, weight=name.weight
    )


def _default_split(spec: DatasetSpec, wanted: str) -> str:
    if wanted in spec.splits:
        return wanted
    if wanted != "train":
        return "test" if "test" in spec.splits else spec.splits[-1]
    if only := _only_split(spec):
        return only
    raise _unknown_part(spec, "split", wanted, spec.splits)


def _only_split(spec: DatasetSpec) -> str:
    """Return the split of a source that is one split, which is no test set; empty for others."""
    return spec.splits[0] if len(spec.splits) == 1 and spec.splits not in OPEN else ""


def _default_config(spec: DatasetSpec, wanted: str, location: Path | None) -> str:
    """Choose by language: exactly, else the only variant of it, else the only one there is."""
    if spec.configs == ANY_CONFIG:
        return wanted if wanted and location and (location / wanted).is_dir() else ""
    language = re.split("[_-]", wanted)[0]
    found = (_closest_config(spec.configs, choice) for choice in (wanted, language) if choice)
    if config := next(filter(None, found), ""):
        return config
    if len(spec.configs) > 1:
        choices = ", ".join(spec.configs)
        form = f"{spec.name}/CONFIG"
        raise UserError(f"{spec.name} needs a configuration; say {form} with one of {choices}")
    return spec.configs[0] if spec.configs else ""


def _location(spec: DatasetSpec, typed: str) -> Path | None:
    if typed:
        path = Path(typed).expanduser()
        if not path.exists():
            raise UserError(f"no file or folder {typed!r} for data set {spec.name}")
        return path
    if spec.bundled:
        return None
    advice = f"say {spec.name}:LOCATION or set ASR_LAB_DATA to the folder that holds {spec.name}"
    content = f"; LOCATION is {spec.location}" if spec.location else ""
    if not (root := os.environ.get("ASR_LAB_DATA", "")):
        raise UserError(f"data set {spec.name} has no location; {advice}{content}")
    path = Path(root).expanduser() / spec.name
    if not path.exists():
        raise UserError(f"data set {spec.name} is not at {path}; {advice}{content}")
    return path


def read_dataset(resolved: ResolvedDataset) -> Sequence[Utterance]:
    """Read all utterances of a data set, in the reader's order.

    Columns of a large one stay what they are: their reader has looked for ids given twice.

    Raises UserError for a data set that is empty or gives two utterances the same id.
    """
    from asr_lab.data.packed import PackedUtterances  # takes numpy, which names do without

    reader = cast(
        Callable[[Path | None, str, str], Iterable[Utterance]], load_target(resolved.spec.reader)
    )
    read = reader(resolved.location, resolved.config, resolved.split)
    if isinstance(read, PackedUtterances):
        return read
    utterances = list(read)
    if not utterances:
        where = f" ({resolved.location})" if resolved.location else ""
        raise UserError(f"data set {resolved.label}{where} is empty; it has no utterance")
    first: dict[str, int] = {}
    for position, utterance in enumerate(utterances):
        if first.setdefault(utterance.id, position) != position:
            before = utterances[first[utterance.id]].audio.path
            raise UserError(
                f"data set {resolved.label} has id {utterance.id!r} twice: utterances "
                f"{first[utterance.id] + 1} ({before}) and {position + 1} "
                f"({utterance.audio.path}); give each its own id"
            )
    return utterances
