"""Saved hypotheses: JSON Lines that are read again, and the files that NIST's SCTK reads."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr_lab.evaluation.results import ScoredUtterance
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


def read_hypotheses(path: Path) -> list[SavedHypothesis]:
    """Return what a JSON Lines file holds; empty lines are passed over.

    Raises UserError, with the number of the line, for one that is not such a hypothesis, and for an
    id that comes twice.
    """
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
        one = _saved(line, f"{path}:{number}", str(number))
        if one.id in found:
            raise UserError(f"{path}:{number} has the id {one.id!r} of an earlier line")
        found[one.id] = one
    return list(found.values())


def _saved(line: str, where: str, number: str) -> SavedHypothesis:
    """Read one line; without an id, its number is one."""
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON: {error}") from error
    if not isinstance(plain, dict):
        raise UserError(f"{where} is not a JSON object with 'reference' and 'hypothesis'")
    for key in ("reference", "hypothesis"):
        if not isinstance(plain.get(key), str):
            raise UserError(f"{where} has no text {key!r}; 'reference' and 'hypothesis' are needed")
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


def sctk_files(utterances: Sequence[ScoredUtterance], kind: str) -> dict[str, str]:
    """Return names and contents of `trn`, `stm` or `ctm` files, with normalised texts.

    `trn` and `stm` come for references and hypotheses. Hypotheses have no times, so `ctm` shares
    the duration of an utterance out evenly among its words.
    """
    if kind == "ctm":
        return {"hypotheses.ctm": "".join(map(_ctm, utterances))}
    line = _trn if kind == "trn" else _stm
    return {
        f"references.{kind}": "".join(line(one, one.reference_normalised) for one in utterances),
        f"hypotheses.{kind}": "".join(line(one, one.hypothesis_normalised) for one in utterances),
    }


def _trn(one: ScoredUtterance, text: str) -> str:
    return f"{' '.join([*text.split(), f'({_name(one.id)})'])}\n"


def _stm(one: ScoredUtterance, text: str) -> str:
    speaker = _name(one.speaker) or "unknown"
    fields = [_name(one.id), "1", speaker, "0.000", f"{one.duration:.3f}", *text.split()]
    return f"{' '.join(fields)}\n"


def _ctm(one: ScoredUtterance) -> str:
    words = one.hypothesis_normalised.split()
    each = one.duration / max(len(words), 1)
    name = _name(one.id)
    return "".join(f"{name} 1 {i * each:.3f} {each:.3f} {word}\n" for i, word in enumerate(words))


def _name(text: str) -> str:
    """Return a text without spaces and parentheses, which end names in these files."""
    return "_".join(text.split()).replace("(", "_").replace(")", "_")
