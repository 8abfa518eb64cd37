"""`asr-lab evaluate` behind its flags: recognise a data set and tell how well that went."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from asr_lab.data.checks import usable
from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.utterance import Utterance
from asr_lab.evaluation.folders import HYPOTHESES, RESULT, cleared, output_folder
from asr_lab.evaluation.hypothesis_files import sctk_files
from asr_lab.evaluation.measuring import Part, assembled
from asr_lab.evaluation.normalising import refuse_empty
from asr_lab.evaluation.normalizers import Normalizer, normalizers
from asr_lab.evaluation.oddities import oddities
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.evaluation.processes import Alone, Team, ToldElsewhereError, agree
from asr_lab.evaluation.recogniser import Loaded, load_checkpoint
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.evaluation.scoring import normalised_by
from asr_lab.evaluation.sharing import devices, recognise_all
from asr_lab.plugins import Plugins, installed_plugins
from asr_lab.plugins.observers import Observers
from asr_lab.utils.errors import tell
from asr_lab.utils.files import write_atomically

SHOWN_WORST = 3
"""Utterances with most errors that are printed; the result holds more."""
SHOWN_BAD = 3
"""Utterances that were left out and are printed with the reason."""
FAILED = 2
"""Exit status of a process after another one failed."""


@dataclass(frozen=True)
class Task:
    """What is evaluated, and on what."""

    loaded: Loaded
    dataset: str
    """What to type to evaluate on it again."""
    label: str
    """The data set's name, as part of the name of a folder."""
    utterances: list[Utterance]
    unusable: dict[str, str]
    """Why utterances cannot be used, by id."""
    language: str
    """Language of the references; empty if unknown."""
    rules: tuple[Normalizer, ...]
    """The normaliser, and those that stand beside it."""


def evaluate(options: EvaluateOptions, team: Team | None = None) -> int:
    """Evaluate, write result and hypotheses, print the summary; return the exit status.

    All processes of a `team` share the work, and the first of them writes and prints. Raises
    UserError for a checkpoint or data set that cannot be used, before anything is written.
    """
    team, plugins = team or Alone(), installed_plugins()
    folder: Path | None = None
    try:
        task = agree(team, lambda: prepare(options, team, plugins))
        folder = agree(team, lambda: place(options, task) if team.rank == 0 else None)
        parts = recognise_all(options, task.loaded, task.utterances, team, task.language)
        if folder is None:
            return 0
        result = assemble(options, task, parts)
        also = [normalised_by(rule, result, task.language) for rule in task.rules[1:]]
        files = write(options, result, cleared(folder))
    except BaseException as error:
        if folder is not None:
            with suppress(OSError):
                folder.rmdir()  # only if it is empty
        if isinstance(error, ToldElsewhereError):
            return FAILED
        raise
    portable = task.loaded.portable
    report = {
        "checkpoint": task.loaded.path.name,
        "model": portable.model,
        "run_id": portable.run_id,
        **result.to_dict(),
        "also": [one.rates_to_dict() for one in also],
    }
    write_atomically(folder / RESULT, json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    Observers(plugins).evaluation_finished(folder, report)
    for warning in result.warnings:
        tell(warning)
    lines = [
        *summary(task.loaded, result, also),
        f"files  {', '.join([str(folder / RESULT), *files])}",
    ]
    print(json.dumps(report) if options.json else "\n".join(lines))
    return 0


def prepare(options: EvaluateOptions, team: Team, plugins: Plugins) -> Task:
    """Read the checkpoint and the data set."""
    devices(options, team)
    normalizers(options.normalizer, "en")  # a wrong name is told before the model is loaded
    loaded = load_checkpoint(Path(options.checkpoint), plugins, quiet=team.rank > 0)
    dataset = resolve(options.dataset, plugins.registry, "test", loaded.portable.language)
    policy = options.on_bad_utterance
    utterances, unusable = usable(read_dataset(dataset), options.max_duration, policy, "--")
    language = language_of(utterances) or loaded.portable.language
    rules = normalizers(options.normalizer, language)
    refuse_empty((one.text for one in utterances), rules[0], dataset.typed)
    return Task(
        loaded, dataset.typed, dataset.label, utterances, unusable, language=language, rules=rules
    )


def language_of(utterances: Sequence[Utterance]) -> str:
    """Return the language that most utterances name, or nothing."""
    return Counter(one.language for one in utterances).most_common(1)[0][0] if utterances else ""


def place(options: EvaluateOptions, task: Task) -> Path:
    """Make the folder of the result, so that one that cannot be written is told before the work."""
    return output_folder(options.output, options.overwrite, task.loaded.path, task.label)


def assemble(options: EvaluateOptions, task: Task, parts: list[Part]) -> EvaluationResult:
    """Return the result of what all processes recognised."""
    result = assembled(
        parts,
        task.utterances,
        dataset=task.dataset,
        normalizer=task.rules[0],
        rule=options.rule,
        language=task.language,
        left_out=len(task.unusable),
    )
    texts = [(one.reference_normalised, one.reference) for one in result.utterances]
    languages = [one.language for one in task.utterances]
    odd = oddities(texts, languages, task.loaded.portable.language, task.loaded.tokenizer)
    return replace(
        result,
        problems={**task.unusable, **result.problems},
        warnings=(*result.warnings, *odd),
    )


def write(options: EvaluateOptions, result: EvaluationResult, folder: Path) -> list[str]:
    """Write the hypotheses in all kinds of files, and return their names."""
    result.write_hypotheses(folder / HYPOTHESES)
    extra = sctk_files(result.utterances, options.write, normalised=False)
    for name, content in extra.items():
        write_atomically(folder / name, content)
    return [HYPOTHESES, *extra]


def summary(
    loaded: Loaded, result: EvaluationResult, also: Sequence[EvaluationResult] = ()
) -> list[str]:
    """Return what a person wants to know."""
    lines = [
        f"{loaded.portable.model} · {loaded.path} on {result.dataset}",
        f"{result.summary()} ({result.rtfx_with_loading:,.1f}x with reading files)",
        result.doubt(),
        *(one.rates() for one in also),
    ]
    if result.execution:
        lines.append(f"speed  on {result.execution.sentence()}")
    lines += result.findings.lines()
    named = list(result.problems.items())[:SHOWN_BAD]
    more = f" (and {result.skipped - len(named):,} more)" if result.skipped > len(named) else ""
    lines += [f"bad    {name}: {problem}" for name, problem in named]
    lines[-1] += more if named else ""
    for one in result.worst[:SHOWN_WORST]:
        lines.append(f"worst  {one.id}: said {one.reference_normalised!r}")
        lines.append(f"       {' ' * len(one.id)}  read {one.hypothesis_normalised!r}")
    return lines
