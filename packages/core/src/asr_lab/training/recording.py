"""What `run.json` says of a run when it starts, and what must be the same when it goes on."""

import sys
from collections.abc import Mapping
from pathlib import Path

from asr_lab.checkpoints.errors import MismatchedCheckpointError
from asr_lab.plugins import Plugins
from asr_lab.plugins.observers import Observers
from asr_lab.precision import get_precision_manager
from asr_lab.reproducibility.deterministic import kernel_facts
from asr_lab.reproducibility.environment import environment, triton_digest
from asr_lab.reproducibility.hash import text_digest
from asr_lab.reproducibility.levels import Level, resolve_level
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.config_io import to_dict
from asr_lab.training.distributed import Group
from asr_lab.training.setup import Setup
from asr_lab.training.witnesses import first_change
from asr_lab.utils.errors import UserError

ORIGIN = "origin"
MEANING = {
    "index": "training data",
    "dev": "dev set",
    "test": "test set",
    "tokenizer": "tokenizer",
    "config": "model configuration",
    "plan": "order of the batches",
    "seed": "seed",
    "source": "source of the weights",
}
"""What the digests of a run cover, those that explain the others first."""


def new_record(folder: Path, setup: Setup, group: Group, plugins: Plugins) -> RunRecord:
    """Return the record of a run that starts now."""
    config = setup.config
    return RunRecord(
        run_id=folder.name,
        command=("asr-lab", *sys.argv[1:]),
        model=config.model,
        preset=config.preset,
        changes=dict(config.changes),
        config=to_dict(config),
        seeds={"seed": config.seed},
        source=setup.start.facts() if setup.start else {},
        digests=digests(setup),
        environment=environment_with_plugins(plugins),
        execution={
            "device": str(group.device),
            "precision": config.precision,
            "mode": "compiled" if config.train.compile else "eager",
            "processes": group.size,
            "repro": level_of(setup, group),
            "kernels": kernels(config.precision, group),
        },
    )


def level_of(setup: Setup, group: Group) -> Level:
    """Return the level of reproducibility of a run on the device at hand."""
    return resolve_level(setup.config.repro, group.device.type)


def kernels(precision: str, group: Group) -> dict[str, str]:
    """Return which kernels torch takes in a training step, and the digest of those in Triton."""
    with get_precision_manager(precision, group.device).step():
        return {**kernel_facts(), "triton": triton_digest()}


def environment_with_plugins(plugins: Plugins) -> dict[str, str]:
    """Return the facts about this machine, those of plugins included."""
    return {**environment(), **Observers(plugins).environment()}


def digests(setup: Setup) -> dict[str, str]:
    """Return what must not change between the start of a run and its resumption."""
    found = {
        "index": setup.index.digest,
        "dev": setup.dev.digest,
        "tokenizer": setup.tokenizer.digest,
        "config": setup.config.model_config.digest(),
        "plan": setup.plan.digest(),
        "seed": text_digest(str(setup.config.seed)),
    }
    if setup.start:
        found["source"] = setup.start.digest
    return {**found, "test": setup.test.digest} if setup.test else found


def origin(setup: Setup) -> dict[str, str]:
    """Return what a checkpoint says of the run that it belongs to, under ORIGIN."""
    return {
        "model": setup.config.model,
        "configuration": setup.config.model_config.digest(),
        "tokenizer": setup.tokenizer.digest,
    }


def check_origin(path: Path, state: Mapping[str, object], setup: Setup) -> None:
    """Raise MismatchedCheckpointError for the state of a checkpoint of another kind of run.

    Those of the first versions say nothing.
    """
    found = state.get(ORIGIN)
    if not isinstance(found, Mapping):
        return
    for name, here in origin(setup).items():
        if found.get(name) != here:
            both = f"({str(found.get(name))[:16]}, not {here[:16]})"
            raise MismatchedCheckpointError(
                f"checkpoint {path} is that of another {name} than this run's {both}; "
                "put back the run's own, or delete it"
            )


def check_unchanged(recorded: Mapping[str, str], setup: Setup, folder: Path) -> None:
    """Raise UserError, naming what has changed, if the run in `folder` cannot go on as it began."""
    found = digests(setup)
    recorded = {"seed": found["seed"], **recorded}  # runs of the first versions do not have it
    for name, meaning in MEANING.items():
        before, now = recorded.get(name, "none"), found.get(name, "none")
        if before != now:
            data = name in ("index", "dev", "test")
            where = first_change(folder, setup, name) if data else ""
            raise UserError(
                f"the {meaning} of this run has changed ({before[:8]} is recorded, {now[:8]} "
                f"found{where and '; '}{where}); put back what it was or start a new run"
            )
