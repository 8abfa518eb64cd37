"""`asr-lab score` behind its flags: count the errors of saved hypotheses again, without a model."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from asr_lab.evaluation.folders import HYPOTHESES, RESULT, cleared, output_folder
from asr_lab.evaluation.hypothesis_files import SavedHypothesis, read_hypotheses, sctk_files
from asr_lab.evaluation.normalising import cache_folder, normalise, refuse_empty
from asr_lab.evaluation.normalizers import Normalizer, normalizers, unlike
from asr_lab.evaluation.options import ScoreOptions
from asr_lab.evaluation.results import EvaluationResult, ScoredUtterance, summarise
from asr_lab.models.base.options import DecodingOptions
from asr_lab.utils.errors import tell
from asr_lab.utils.files import make_numbered, write_atomically
from asr_lab.utils.metrics import Rule, utterance_errors

TIMES = ("decode_seconds", "wall_seconds", "rtfx", "rtfx_with_loading")
NOT_MEASURED = ("decoding", "execution", *TIMES)
"""Keys of an evaluation's result that saved hypotheses say nothing about."""


def score(options: ScoreOptions) -> int:
    """Score, write result and hypotheses, print the summary; return the exit status.

    Raises UserError, before anything is written.
    """
    path, (rule, *others) = Path(options.hypotheses[0]), normalizers(options.normalizer)
    saved = read_hypotheses(path, options.references)
    if saved:
        refuse_empty((one.reference for one in saved), rule, str(path))
    result = rescore(saved, rule, options.rule, str(path))
    also = [rescore(saved, other, options.rule, str(path)) for other in others]
    report = {key: value for key, value in result.to_dict().items() if key not in NOT_MEASURED}
    report["also"] = [one.rates_to_dict() for one in also]
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
    for warning in result.warnings:
        tell(warning)
    if options.json:
        print(json.dumps(report))
        return 0
    rates = [result.rates(), result.doubt(), *(one.rates() for one in also)]
    print("\n".join([*rates, *result.findings.lines()]))
    if changed := other_normalizer(path, report):
        print(f"before    {changed}")
    print(f"files     {', '.join([str(folder / RESULT), HYPOTHESES, *extra])}")
    return 0


def rescore(
    saved: Sequence[SavedHypothesis | ScoredUtterance],
    rule: Normalizer,
    errors: Rule,
    dataset: str,
    language: str = "",
) -> EvaluationResult:
    """Count the errors of hypotheses; nothing in the result about search and speed is meant."""
    texts = [text for one in saved for text in (one.reference, one.hypothesis)]
    normalised = normalise(texts, rule, folder=cache_folder(len(texts), rule))
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
        normalizer=rule,
        decoding=DecodingOptions(),
        rule=errors,
        skipped=0,
        decode_seconds=0.0,
        wall_seconds=0.0,
        language=language,
    )


def normalised_by(
    rule: Normalizer, result: EvaluationResult, language: str = ""
) -> EvaluationResult:
    """Count the errors of a result again, by another normaliser."""
    found = rescore(result.utterances, rule, result.rule, result.dataset, language)
    return replace(found, decoding=result.decoding, skipped=result.skipped)


def other_normalizer(path: Path, report: Mapping[str, object]) -> str:
    """Return a line if the result beside the hypotheses was made by another normaliser."""
    try:
        before = json.loads((path.parent / RESULT).read_text("utf-8"))
        rate = before["words"]["error_rate"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if not isinstance(rate, float) or not (why := unlike(before, report)):
        return ""
    return f"WER {100 * rate:.1f} %, but {why}"
