"""`asr-lab train` and `asr-lab resume` behind their flags: run, and tell how it went."""

import json
from pathlib import Path

from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.config import RunConfig
from asr_lab.training.config_io import from_dict, to_dict
from asr_lab.training.display import Display, SilentDisplay, TerminalDisplay, clock
from asr_lab.training.distributed import is_first_process
from asr_lab.training.setup import Setup, prepare
from asr_lab.training.trainer import FitResult, Interrupted, Trainer
from asr_lab.utils.errors import UserError

SIGNALLED = 130
"""Exit status of a run that was stopped by a signal and can be resumed."""


def train(config: RunConfig, *, dry_run: bool = False, as_json: bool = False) -> int:
    """Train a model and print the summary; return the exit status."""
    if dry_run:
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
    return SilentDisplay() if as_json or not is_first_process() else TerminalDisplay()


def _fit(trainer: Trainer, as_json: bool) -> int:
    try:
        result = trainer.fit()
    except Interrupted as stopped:
        trainer.display.message(str(stopped))
        return SIGNALLED
    if is_first_process():
        print(json.dumps(_summary(result)) if as_json else "\n".join(_lines(result)))
    return 0


def _summary(result: FitResult) -> dict[str, object]:
    return {
        "folder": str(result.folder),
        "checkpoint": str(result.best),
        "seconds": result.state.seconds,
        "result": result.result.to_dict(),
    }


def _lines(result: FitResult) -> list[str]:
    """Return the summary: how long, how good, where the files are, and what to do next."""
    kind = "test" if (result.folder / "test.hypotheses.jsonl").exists() else "dev"
    files = f"{result.best}, run.json, {kind}.hypotheses.jsonl"
    lines = [
        f"done in {clock(result.state.seconds)}",
        f"{kind:6} {result.result.summary()}",
        f"files  {files}",
        f"next   asr-lab evaluate --checkpoint {result.best} --dataset {example_dataset(result)}",
    ]
    if result.state.bad_utterances:
        count = result.state.bad_utterances
        lines.insert(1, f"note   {count:,} bad utterances skipped; see bad-utterances.jsonl")
    return lines


def example_dataset(result: FitResult) -> str:
    """Return a data set that the model can be evaluated on next."""
    return "manifest:FILE.jsonl"


def _print_plan(setup: Setup, as_json: bool) -> None:
    """Say what a run would do."""
    if as_json:
        plan = {"config": to_dict(setup.config), "steps": setup.steps, "data": setup.describe()}
        print(json.dumps(plan))
        return
    config = setup.config
    print(f"{config.model} {config.preset} · {config.precision} · seed {config.seed}")
    print(f"data   {setup.describe()}")
    print(f"plan   {setup.steps:,} steps · {setup.steps_per_epoch:,} an epoch · nothing written")
    for note in setup.notes:
        print(f"note   {note}")
