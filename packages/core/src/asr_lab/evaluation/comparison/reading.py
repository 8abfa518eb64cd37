"""Find and read the results that are compared: what `train`, `evaluate` and `score` wrote."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr_lab.evaluation.folders import HYPOTHESES, RESULT
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import ErrorCounts

RECORD, CHECKPOINT = "run.json", "best.pt"
KINDS = ("test", "dev")
"""Sets that a run is evaluated on at its end; the first that is there is taken."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What one system made of one utterance."""

    id: str
    reference: str
    """As it was said."""
    hypothesis: str
    reference_normalised: str
    hypothesis_normalised: str
    words: ErrorCounts
    characters: ErrorCounts
    duration: float = 0.0
    """Seconds of audio; 0 if unknown."""
    speaker: str = ""
    contrast: float = math.nan
    """Loud parts over quiet ones, in dB; not a number if the file does not say."""


@dataclass(frozen=True, kw_only=True)
class System:
    """One result: how a system did on a data set, and on what machine."""

    name: str
    """What tables call it."""
    result: Path
    """File that holds the rates."""
    hypotheses: Path
    dataset: str
    normalizer: str
    normalizer_digest: str
    """SHA-256 of the normaliser; empty in results that hold its id alone."""
    rule: str
    heard: Mapping[str, Heard]
    """What was recognised, by the utterance's id."""
    model: str = ""
    rtfx: float = math.nan
    """Seconds of audio recognised in a second; not a number if it was not measured."""
    device: str = ""
    parameters: int = 0
    """Numbers in the model; 0 if unknown."""
    memory: int = 0
    """Most bytes in use; 0 if unknown."""
    while_training: bool = False
    """Whether the memory of a training run is in them."""
    size: int = 0
    """Bytes of the checkpoint; 0 if it does not lie where it was."""


def read_systems(arguments: Sequence[str]) -> list[System]:
    """Read what the command line names, `PATH` or `NAME=PATH`.

    Raises UserError for what holds no result, a damaged one, and one that comes twice.
    """
    found: list[System] = []
    for argument in arguments:
        name, path = _split(argument)
        one = _system(name, *locate(path))
        for other in found:
            if other.result.resolve() == one.result.resolve():
                raise UserError(f"{path} is there twice (as {other.name}); name another result")
            if name and name == other.name:
                raise UserError(f"two results have the name {name!r}; give each its own")
        found.append(one)
    return _distinct(found)


def locate(path: Path) -> tuple[Path, Path]:
    """Return the files of a result, rates and hypotheses. Raises UserError if there are none."""
    if path.is_file():
        return _located_file(path)
    if not path.is_dir():
        raise UserError(f"no file or folder {str(path)!r}; name the folder of a run or a result")
    pairs = [("", RESULT, HYPOTHESES)]
    pairs += [("", f"{kind}.{RESULT}", f"{kind}.{HYPOTHESES}") for kind in KINDS]
    for _, rates, texts in pairs:
        if (path / rates).is_file():
            return _both(path / rates, path / texts)
    below = sorted(path.glob(f"*/{RESULT}"))
    if len(below) == 1:
        return _both(below[0], below[0].parent / HYPOTHESES)
    if below:
        names = ", ".join(one.parent.name for one in below)
        raise UserError(f"{path} holds {len(below)} results ({names}); name one of these folders")
    raise UserError(f"no result in {path}; asr-lab evaluate makes one, and a finished run has one")


def _located_file(path: Path) -> tuple[Path, Path]:
    for ours, theirs in ((RESULT, HYPOTHESES), (HYPOTHESES, RESULT)):
        if path.name.endswith(ours):
            beside = path.with_name(path.name.removesuffix(ours) + theirs)
            return _both(path, beside) if ours == RESULT else _both(beside, path)
    raise UserError(f"{path} is no result; asr-lab score makes one of a file of hypotheses")


def _both(rates: Path, texts: Path) -> tuple[Path, Path]:
    if not rates.is_file():
        raise UserError(f"{texts} has no {rates.name} beside it; asr-lab score makes one")
    if not texts.is_file():
        raise UserError(f"{rates} has no {texts.name} beside it; evaluate again")
    return rates, texts


def _split(argument: str) -> tuple[str, Path]:
    name, equals, path = argument.partition("=")
    if equals and name and path and not Path(argument).exists():
        return name, Path(path)
    return "", Path(argument)


def _distinct(systems: Sequence[System]) -> list[System]:
    """Give systems of the same name the path of their result as name."""
    names = [one.name for one in systems]
    return [
        replace(one, name=str(one.result.parent)) if names.count(one.name) > 1 else one
        for one in systems
    ]


def _system(name: str, rates: Path, texts: Path) -> System:
    content = json_object(rates)
    for key in ("normalizer", "rule"):
        if not isinstance(content.get(key), str):
            raise UserError(f"{rates} is no result of an evaluation: it has no {key!r}")
    run = _run_folder(rates.parent)
    record = json_object(run / RECORD) if run else {}
    execution = content.get("execution")
    execution = execution if isinstance(execution, dict) else {}
    device = execution.get("device") or _of(record.get("execution"), "device")
    checkpoint = (run or rates.parent.parent) / CHECKPOINT
    rtfx = content.get("rtfx")
    preset = " ".join(str(record.get(key) or "") for key in ("model", "preset")).strip()
    return System(
        name=name or str(content.get("run_id") or (run or rates.parent).name),
        result=rates,
        hypotheses=texts,
        dataset=str(content.get("dataset", "")),
        normalizer=str(content["normalizer"]),
        normalizer_digest=str(content.get("normalizer_digest") or ""),
        rule=str(content["rule"]),
        heard=read_heard(texts),
        model=preset or str(content.get("model") or ""),
        rtfx=float(rtfx) if isinstance(rtfx, int | float) else math.nan,
        device=str(device or ""),
        parameters=whole(execution.get("parameters")),
        memory=whole(execution.get("peak_memory")),
        while_training=execution.get("while_training") is True,
        size=checkpoint.stat().st_size if checkpoint.is_file() else 0,
    )


def _run_folder(folder: Path) -> Path | None:
    """Return the folder of the run that a result was made of, if it lies where it was made."""
    return next((one for one in (folder, folder.parent) if (one / RECORD).is_file()), None)


def json_object(path: Path) -> dict[str, object]:
    """Return the object in a JSON file. Raises UserError if there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is not JSON; evaluate again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged: it holds no object; evaluate again")
    return content


def read_heard(path: Path) -> dict[str, Heard]:
    """Read a file of scored hypotheses. Raises UserError, with the line, for one that is none."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is not UTF-8; evaluate again") from error
    found: dict[str, Heard] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = _heard(json.loads(line))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number} is no scored hypothesis; evaluate again") from error
        if one.id in found:
            raise UserError(f"{path}:{number} has the id {one.id!r} of an earlier line")
        found[one.id] = one
    if not found:
        raise UserError(f"{path} is empty; evaluate again")
    return found


def _heard(plain: dict[str, object]) -> Heard:
    texts = {}
    for key in ("id", "reference", "hypothesis", "reference_normalised", "hypothesis_normalised"):
        texts[key] = plain[key]
        if not isinstance(texts[key], str):
            raise TypeError(key)
    contrast = plain.get("contrast")
    duration = plain.get("duration")
    return Heard(
        **texts,  # type: ignore[arg-type]
        words=_counts(plain["word_errors"]),
        characters=_counts(plain["character_errors"]),
        duration=float(duration) if isinstance(duration, int | float) else 0.0,
        speaker=str(plain.get("speaker") or ""),
        contrast=float(contrast) if isinstance(contrast, int | float) else math.nan,
    )


def _counts(plain: object) -> ErrorCounts:
    if not isinstance(plain, dict) or not _all_counts(plain.values()):
        raise TypeError("counts")
    return ErrorCounts(**plain)


def _all_counts(values: Iterable[object]) -> bool:
    return all(isinstance(one, int) and one >= 0 for one in values)


def whole(value: object) -> int:
    """Return a number as it is, and 0 for anything else."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _of(mapping: object, key: str) -> object:
    return mapping.get(key) if isinstance(mapping, dict) else None
