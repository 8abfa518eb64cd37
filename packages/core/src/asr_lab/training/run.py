"""`asr-lab train` and `asr-lab resume` behind their flags: run, and tell how it went."""

import json
import shlex
from pathlib import Path

from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.claiming import check_output
from asr_lab.training.config import RunConfig
from asr_lab.training.config_io import from_dict, to_dict
from asr_lab.training.display import (
    Display,
    JsonDisplay,
    SilentDisplay,
    TerminalDisplay,
    clock,
    notes,
    utterances,
)
from asr_lab.training.distributed import is_first_process
from asr_lab.training.run_folder import BAD
from asr_lab.training.setup import Setup, prepare
from asr_lab.training.trainer import FitResult, Interrupted, Trainer
from asr_lab.utils.errors import UserError

SIGNALLED = 130
"""Exit status of a run that was stopped by a signal and can be resumed."""


def train(config: RunConfig, *, dry_run: bool = False, as_json: bool = False) -> int:
    """Train a model and print the summary; return the exit status."""
    if dry_run:
        check_output(config)
        _print_plan(prepare(config, installed_plugins()), as_json)
        return 0
    return _fit(Trainer(config, display=_display(as_json)), as_json)


def resume(folder: Path, *, as_json: bool = False) -> int:
    """Go on with a run that was stopped. Raises UserError for one that is finished."""
    record = RunRecord.read(folder)
    if record.status == "finished":
        raise UserError(f"{folder} is finished; its model is {folder / 'best.pt'}")
    config = from_dict(record.config, installed_plugins().registry)
    return _fit(Trainer(config, resume=folder, display=_display(as_json)), as_json)


def _display(as_json: bool) -> Display:
    if not is_first_process():
        return SilentDisplay()
    return JsonDisplay() if as_json else TerminalDisplay()


def _fit(trainer: Trainer, as_json: bool) -> int:
    try:
        result = trainer.fit()
    except Interrupted as stopped:
        trainer.display.message(str(stopped))
        if as_json and is_first_process():
            stop = {"event": "interrupted", "step": stopped.step, "folder": str(stopped.folder)}
            print(json.dumps(stop))
        return SIGNALLED
    if is_first_process():
        print(json.dumps(_summary(result)) if as_json else "\n".join(_lines(result)))
    return 0


def _summary(result: FitResult) -> dict[str, object]:
    return {
        "event": "finished",
        "folder": str(result.folder),
        "checkpoint": str(result.best),
        "seconds": result.seconds,
        "bad_utterances": result.state.bad_utterances,
        "skipped_steps": result.state.skipped_total,
        "result": result.result.to_dict(),
    }


def _lines(result: FitResult) -> list[str]:
    """Return the summary: how long, how good, where the files are, and what to do next."""
    kind = "test" if (result.folder / "test.hypotheses.jsonl").exists() else "dev"
    state, best = result.state, shlex.quote(str(result.best))
    lines = [f"done in {clock(result.seconds)}"]
    if state.bad_utterances:
        bad = utterances(state.bad_utterances, "bad")
        lines.append(f"note   {bad} left out; see {result.folder / BAD}")
    if state.skipped_total:
        count = f"{state.skipped_total:,} {'step' if state.skipped_total == 1 else 'steps'}"
        lines.append(f"note   {count} skipped: loss or gradient was not finite")
    if not state.best_step:
        lines.append("note   no step was better on the dev set than the start, which is kept")
    return [
        *lines,
        f"{kind:6} {result.result.summary()}",
        f"files  {result.best}, run.json, {kind}.hypotheses.jsonl",
        f"next   asr-lab transcribe FILE --checkpoint {best}",
        f"       asr-lab evaluate --checkpoint {best} --dataset {example_dataset(result)}",
    ]


def example_dataset(result: FitResult) -> str:
    """Return a data set to evaluate on next: the same, or one of the person's own."""
    return shlex.quote(result.dataset) if result.dataset else "manifest:FILE.jsonl"


def _print_plan(setup: Setup, as_json: bool) -> None:
    """Say what a run would do."""
    if as_json:
        plan = {
            "config": to_dict(setup.config),
            "steps": setup.steps,
            "steps_per_epoch": setup.steps_per_epoch,
            "data": setup.describe(),
            "notes": notes(setup),
        }
        print(json.dumps(plan))
        return
    config = setup.config
    print(f"{config.model} {config.preset} · {config.precision} · seed {config.seed}")
    print(f"data   {setup.describe()}")
    print(f"plan   {setup.steps:,} steps · {setup.steps_per_epoch:,} an epoch · nothing written")
    for note in notes(setup):
        print(f"note   {note}")
