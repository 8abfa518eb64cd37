"""`asr-lab evaluate` behind its flags: recognise a data set and tell how well that went."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import usable
from asr_lab.data.loader import Request, evaluation_dataset, load, refuse_bad
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.plan import sorted_batches
from asr_lab.data.utterance import Utterance
from asr_lab.evaluation.evaluator import Evaluator
from asr_lab.evaluation.folders import HYPOTHESES, RESULT, cleared, output_folder
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.evaluation.recogniser import Loaded, load_checkpoint
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.plugins import installed_plugins
from asr_lab.plugins.observers import Observers
from asr_lab.utils.files import write_atomically

SHOWN_WORST = 3
"""Utterances with most errors that are printed; the result holds more."""
MOST_UTTERANCES = 256
"""Most utterances in a batch."""


def evaluate(options: EvaluateOptions) -> int:
    """Evaluate, write result and hypotheses, print the summary; return the exit status.

    Raises UserError for a checkpoint or data set that cannot be used, before anything is written.
    """
    plugins = installed_plugins()
    loaded = load_checkpoint(Path(options.checkpoint), plugins)
    dataset = resolve(options.dataset, plugins.registry, "test", loaded.portable.language)
    policy = options.on_bad_utterance
    utterances, unusable = usable(read_dataset(dataset), options.max_duration, policy, "--")
    folder = output_folder(options.output, options.overwrite, loaded.path, dataset.label)
    try:
        result = recognise(options, loaded, dataset.typed, utterances, len(unusable))
        result.write_hypotheses(cleared(folder) / HYPOTHESES)
    except BaseException:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        raise
    report = {"checkpoint": loaded.path.name, "run_id": loaded.portable.run_id, **result.to_dict()}
    write_atomically(folder / RESULT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    Observers(plugins).evaluation_finished(folder, report)
    print(json.dumps(report) if options.json else "\n".join(summary(loaded, result, folder)))
    return 0


def recognise(
    options: EvaluateOptions,
    loaded: Loaded,
    label: str,
    utterances: list[Utterance],
    unusable: int,
) -> EvaluationResult:
    """Recognise and score utterances as the options say."""
    evaluator = Evaluator.of(loaded, options.decoding, options.precision, options.device)
    evaluator = replace(evaluator, rule=options.rule)
    speakers = {utterance.id: utterance.speaker for utterance in utterances}
    found = batches(options, utterances, evaluator.recipe.sample_rate, evaluator.shortest)
    return evaluator.evaluate(found, label, speakers, unusable)


def batches(
    options: EvaluateOptions, utterances: list[Utterance], sample_rate: int, shortest: int = 1
) -> Iterator[AudioBatch]:
    """Load the utterances, longest first; those of less than `shortest` samples are bad."""
    dataset = evaluation_dataset(utterances, sample_rate, shortest=shortest)
    planned = sorted_batches(dataset.index.durations, options.batch_seconds, MOST_UTTERANCES)
    requests = [Request(0, batch) for batch in planned]
    loaded = load(dataset, requests, workers=options.workers, prefetch=2)
    return refuse_bad(loaded) if options.on_bad_utterance == "fail" else loaded


def summary(loaded: Loaded, result: EvaluationResult, folder: Path) -> list[str]:
    """Return what a person wants to know."""
    with_loading = f"{result.rtfx_with_loading:,.0f}x with loading"
    lines = [
        f"{loaded.portable.model} · {loaded.path} on {result.dataset}",
        f"{result.summary()} ({with_loading})",
        result.doubt(),
        *result.findings.lines(),
    ]
    for one in result.worst[:SHOWN_WORST]:
        lines.append(f"worst  {one.id}: said {one.reference_normalised!r}")
        lines.append(f"       {' ' * len(one.id)}  read {one.hypothesis_normalised!r}")
    return [*lines, f"files  {folder / RESULT}, {HYPOTHESES}"]
