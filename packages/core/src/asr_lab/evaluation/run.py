"""`asr-lab evaluate` behind its flags: recognise a data set and tell how well that went."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from asr_lab.audio.recipes import recipe
from asr_lab.checkpoints import PortableModel, build_model, read_portable, version_note
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.checks import usable
from asr_lab.data.loader import Request, evaluation_dataset, load, refuse_bad
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.plan import sorted_batches
from asr_lab.data.utterance import Utterance
from asr_lab.evaluation.evaluator import Evaluator
from asr_lab.evaluation.folders import HYPOTHESES, RESULT, cleared, output_folder
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.models.base import ASRModel, ModelConfig
from asr_lab.plugins import Plugins, installed_plugins
from asr_lab.plugins.observers import Observers
from asr_lab.precision import get_precision_manager
from asr_lab.precision.devices import choose_device
from asr_lab.tokenizers import Tokenizer
from asr_lab.utils.errors import tell
from asr_lab.utils.files import write_atomically

BEST = "best.pt"
SHOWN_WORST = 3
"""Utterances with most errors that are printed; the result holds more."""
MOST_UTTERANCES = 256
"""Most utterances in a batch."""


@dataclass(frozen=True)
class Loaded:
    """A checkpoint, ready to recognise."""

    path: Path
    portable: PortableModel
    model: ASRModel[ModelConfig]
    tokenizer: Tokenizer


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


def load_checkpoint(path: Path, plugins: Plugins) -> Loaded:
    """Load `best.pt`, given itself or the folder of its run; other versions are noted on stderr."""
    file = path / BEST if path.is_dir() else path
    portable = read_portable(file)
    model, tokenizer = build_model(portable, "cpu", plugins)
    if note := version_note(portable, plugins):
        tell(note)
    return Loaded(file, portable, model, tokenizer)


def recognise(
    options: EvaluateOptions,
    loaded: Loaded,
    label: str,
    utterances: list[Utterance],
    unusable: int,
) -> EvaluationResult:
    """Recognise and score utterances as the options say."""
    device = choose_device(options.device)
    precision = get_precision_manager(options.precision, device)
    precision.prepare(loaded.model)
    config = loaded.model.config
    evaluator = Evaluator(
        model=loaded.model.to(device),
        tokenizer=loaded.tokenizer,
        recipe=recipe(config.features, config.mels, config.sample_rate),
        decoding=options.decoding,
        device=device,
        autocast=precision.autocast,
    )
    loaded.model.decoder(options.decoding)  # a decoder that is not there is told before the work
    speakers = {utterance.id: utterance.speaker for utterance in utterances}
    with precision.step():
        found = batches(options, utterances, config.sample_rate)
        return evaluator.evaluate(found, label, speakers, unusable)


def batches(
    options: EvaluateOptions, utterances: list[Utterance], sample_rate: int
) -> Iterator[AudioBatch]:
    """Load the utterances, longest first."""
    dataset = evaluation_dataset(utterances, sample_rate)
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
    ]
    for one in result.worst[:SHOWN_WORST]:
        lines.append(f"worst  {one.id}: said {one.reference_normalised!r}")
        lines.append(f"       {' ' * len(one.id)}  read {one.hypothesis_normalised!r}")
    return [*lines, f"files  {folder / RESULT}, {HYPOTHESES}"]
