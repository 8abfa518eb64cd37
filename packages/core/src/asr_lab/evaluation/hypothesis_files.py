"""Saved hypotheses: JSON Lines that are read again, and the files that NIST's SCTK reads."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_lab.evaluation.results import ScoredUtterance
from asr_lab.evaluation.sctk_files import (
    Line,
    ctm,
    read_ctm,
    read_stm,
    read_trn,
    stm,
    trn,
    words_by_line,
)
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class SavedHypothesis:
    """What a line of a file of hypotheses says; the keys are those that `evaluate` writes."""

    id: str
    reference: str
    hypothesis: str
    duration: float = 0.0
    """Length of the audio, in seconds; 0 if the file does not say."""
    score: float = math.nan
    """Log probability that the search gave the hypothesis; not a number if unknown."""
    speaker: str = ""
    confidence: float = math.nan
    """Mean probability of a word; not a number if unknown."""
    loudest: float = math.nan
    """Level of the loudest 20 ms of the audio, in dBFS; not a number if unknown."""
    contrast: float = math.nan
    """Loud parts over quiet ones, in dB; not a number if unknown."""


def read_hypotheses(path: Path, references: str = "") -> list[SavedHypothesis]:
    """Return what a JSON Lines file holds, or a TRN, STM or CTM file by its ending.

    The latter have no references, which stand in the file of that name: `references.trn` or
    `references.stm` beside them, if there is no name. Empty lines are passed over. Raises
    UserError, with the number of the line, for one that is not such a hypothesis, and for an id
    that comes twice.
    """
    if _kind(path) in READERS:
        return _read_sctk(path, references)
    if references:
        raise UserError(f"{path} is JSON Lines, which has them; leave out --references")
    return _read_json(path)


def _read_json(path: Path) -> list[SavedHypothesis]:
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; score wants JSON Lines") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    found: dict[str, SavedHypothesis] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        one = _saved(line, path, number)
        if one.id in found:
            raise UserError(f"{path}:{number} has the id {one.id!r} of an earlier line")
        found[one.id] = one
    return list(found.values())


def _saved(line: str, path: Path, number: int) -> SavedHypothesis:
    """Read one line; without an id, its number is one."""
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number} is not JSON: {error}") from error
    if not isinstance(plain, dict):
        raise UserError(f"{path}:{number} is not a JSON object with 'reference' and 'hypothesis'")
    for key in ("reference", "hypothesis"):
        if not isinstance(plain.get(key), str):
            raise UserError(
                f"{path}:{number} has no text {key!r}; 'reference' and 'hypothesis' are needed"
            )
    return SavedHypothesis(
        id=str(plain.get("id", number)),
        reference=plain["reference"],
        hypothesis=plain["hypothesis"],
        duration=_number(plain.get("duration"), 0.0),
        score=_number(plain.get("score"), math.nan),
        speaker=str(plain.get("speaker") or ""),
        confidence=_number(plain.get("confidence"), math.nan),
        loudest=_number(plain.get("loudest"), math.nan),
        contrast=_number(plain.get("contrast"), math.nan),
    )


def _number(value: object, otherwise: float) -> float:
    """Return a number as it is, and what stands for anything else."""
    return float(value) if isinstance(value, int | float) else otherwise


def _read_sctk(path: Path, references: str) -> list[SavedHypothesis]:
    """Read a file of SCTK's and its references; every reference has a hypothesis, maybe empty."""
    kind = _kind(path)
    place = Path(references) if references else path.with_name(f"references.{BESIDE[kind]}")
    if not references and not place.exists():
        raise UserError(f"{path} holds no references; name a TRN or STM file with --references")
    if _kind(place) not in ("trn", "stm"):
        raise UserError(f"{place} is no file of references; name a TRN or STM file")
    if kind == "ctm" and _kind(place) == "trn":
        raise UserError(f"{place} has no times for the words of {path}; name an STM file")
    spoken = READERS[_kind(place)](place)
    names = _names(spoken, place)
    found = READERS[kind](path)
    if kind == "ctm":
        heard = words_by_line(spoken, found)
    else:
        texts = dict(zip(_names(found, path), (one.text for one in found), strict=True))
        if other := sorted(set(names) ^ set(texts)):
            lacking = path if other[0] in names else place
            raise UserError(f"{lacking} lacks {other[0]!r} ({len(other)} are in one file only)")
        heard = [texts[name] for name in names]
    return [
        SavedHypothesis(
            id=name,
            reference=one.text,
            hypothesis=text,
            duration=one.duration,
            speaker=one.speaker,
        )
        for name, one, text in zip(names, spoken, heard, strict=True)
        if not one.ignored
    ]


def _kind(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _names(lines: Sequence[Line], path: Path) -> list[str]:
    """Return a name for each line: its id, with the time if a recording has several lines."""
    often = Counter(one.id for one in lines)
    timed = _kind(path) != "trn"
    found = [
        f"{one.id} {one.start:.3f}" if timed and often[one.id] > 1 else one.id for one in lines
    ]
    if len(set(found)) < len(found):
        twice = next(name for name, count in Counter(found).items() if count > 1)
        raise UserError(f"{path} has {twice!r} twice")
    return found


def sctk_files(
    utterances: Sequence[ScoredUtterance], kinds: Sequence[str], *, normalised: bool = True
) -> dict[str, str]:
    """Return names and contents of `trn`, `stm` and `ctm` files.

    References of a CTM are an STM, without which it cannot be scored. Without `normalised`, texts
    are as they were said and recognised, so that they can be normalised in another way.
    """
    ours = [
        _line(one, one.reference_normalised if normalised else one.reference) for one in utterances
    ]
    theirs = [
        _line(one, one.hypothesis_normalised if normalised else one.hypothesis)
        for one in utterances
    ]
    files = {}
    for kind in kinds:
        files[f"references.{BESIDE[kind]}"] = WRITERS[BESIDE[kind]](ours)
        files[f"hypotheses.{kind}"] = WRITERS[kind](theirs)
    return files


def _line(one: ScoredUtterance, text: str) -> Line:
    times = one.times if text == one.hypothesis else ()
    return Line(id=one.id, text=text, speaker=one.speaker, duration=one.duration, times=times)


READERS = {"trn": read_trn, "stm": read_stm, "ctm": read_ctm}
WRITERS = {"trn": trn, "stm": stm, "ctm": ctm}
BESIDE = {"trn": "trn", "stm": "stm", "ctm": "stm"}
"""What kind of file the references of each kind stand in."""
