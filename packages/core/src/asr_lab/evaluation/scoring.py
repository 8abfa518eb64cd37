"""`asr-lab score` behind its flags: count the errors of saved hypotheses again, without a model."""

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import chain, repeat
from multiprocessing import get_context
from pathlib import Path

from asr_lab.evaluation.folders import HYPOTHESES, RESULT, cleared, output_folder
from asr_lab.evaluation.hypothesis_files import SavedHypothesis, read_hypotheses, sctk_files
from asr_lab.evaluation.normalizers import WHISPER, Normalizer, normalizer
from asr_lab.evaluation.options import ScoreOptions
from asr_lab.evaluation.results import EvaluationResult, ScoredUtterance, summarise
from asr_lab.models.base.options import DecodingOptions
from asr_lab.utils.files import make_numbered, write_atomically
from asr_lab.utils.metrics import Rule, utterance_errors

NOT_MEASURED = (
    "decoding",
    "decode_seconds",
    "wall_seconds",
    "rtfx",
    "rtfx_with_loading",
    "execution",
)
"""Keys of an evaluation's result that saved hypotheses say nothing about."""
MANY, PART = 10_000, 1_000
"""Texts from which on processes share the work, and how many one takes at a time."""


def score(options: ScoreOptions) -> int:
    """Score, write result and hypotheses, print the summary; return the exit status.

    Raises UserError, before anything is written.
    """
    path, rule = Path(options.hypotheses[0]), normalizer(options.normalizer)
    saved = read_hypotheses(path, options.references)
    result = rescore(saved, rule, options.rule, str(path))
    report = {key: value for key, value in result.to_dict().items() if key not in NOT_MEASURED}
    report["hypotheses_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    if options.output:
        folder = output_folder(options.output, options.overwrite, path, "")
    else:
        folder = make_numbered(path.parent, f"score-{rule.name}")
    try:
        result.write_hypotheses(cleared(folder) / HYPOTHESES)
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        raise
    extra = sctk_files(result.utterances, [options.write]) if options.write else {}
    for name, content in extra.items():
        write_atomically(folder / name, content.encode("utf-8", "backslashreplace"))
    content = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / RESULT, content.encode("utf-8", "backslashreplace"))
    if options.json:
        print(json.dumps(report))
        return 0
    print("\n".join([result.rates(), result.doubt(), *result.findings.lines()]))
    if changed := other_normalizer(path, rule):
        print(f"before    {changed}")
    print(f"files     {', '.join([str(folder / RESULT), HYPOTHESES, *extra])}")
    return 0


def rescore(
    saved: list[SavedHypothesis], rule: Normalizer, errors: Rule, dataset: str
) -> EvaluationResult:
    """Count the errors of hypotheses; nothing in the result about search and speed is meant."""
    normalised = normalise(
        [text for one in saved for text in (one.reference, one.hypothesis)], rule
    )
    ours = [normalised[one.reference] for one in saved]
    theirs = [normalised[one.hypothesis] for one in saved]
    words = utterance_errors(ours, theirs, "word", errors)
    characters = utterance_errors(ours, theirs, "character", errors)
    utterances = [
        ScoredUtterance(
            id=one.id,
            reference=one.reference,
            hypothesis=one.hypothesis,
            reference_normalised=ours[index],
            hypothesis_normalised=theirs[index],
            word_errors=words[index],
            character_errors=characters[index],
            duration=one.duration,
            score=one.score,
            speaker=one.speaker,
            confidence=one.confidence,
            loudest=one.loudest,
            contrast=one.contrast,
        )
        for index, one in enumerate(saved)
    ]
    return summarise(
        utterances,
        dataset=dataset,
        normalizer=rule.id,
        decoding=DecodingOptions(),
        rule=errors,
        skipped=0,
        decode_seconds=0.0,
        wall_seconds=0.0,
    )


def normalise(
    texts: Iterable[str], rule: Normalizer, processes: int | None = None
) -> dict[str, str]:
    """Return what a rule makes of each text; equal texts are done once.

    Whisper's rules take 0.4 ms for a text, so many texts are shared out among processes: one for
    each core, if their number is not given.
    """
    distinct = list(dict.fromkeys(texts))
    if processes is None:
        processes = os.cpu_count() or 1 if len(distinct) >= MANY and rule.name in WHISPER else 1
    if processes == 1:
        return {text: rule.apply(text) for text in distinct}
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        parts = [distinct[start : start + PART] for start in range(0, len(distinct), PART)]
        made = pool.map(_normalise_part, repeat(rule.id), parts)
        return dict(zip(distinct, chain.from_iterable(made), strict=True))


def _normalise_part(rule: str, texts: list[str]) -> list[str]:
    """Apply the rule of an id, in another process."""
    return list(map(normalizer(rule).apply, texts))


def other_normalizer(path: Path, rule: Normalizer) -> str:
    """Return a line if the result beside the hypotheses was made by another normaliser."""
    try:
        before = json.loads((path.parent / RESULT).read_text("utf-8"))
        used, rate = str(before["normalizer"]), before["words"]["error_rate"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if used == rule.id or not isinstance(rate, float):
        return ""
    return f"WER {100 * rate:.1f} % by {used}; do not compare it with one by {rule.id}"
