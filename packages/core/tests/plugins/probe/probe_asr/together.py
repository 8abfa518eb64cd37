"""Runs commands in all processes that torchrun started, and notes how each of them fared.

`python -m torch.distributed.run … -m probe_asr.together FILE` takes a JSON object from names to
commands, and writes NAME-RANK.json beside FILE. In the command `stopped`, the second process alone
gets SIGTERM, before its fourth step.
"""

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import torch.distributed as dist

from asr_lab.cli import main
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.reproducibility.hash import state_digest
from asr_lab.training import trainer
from asr_lab.training.learner import Learner, StepResult
from asr_lab.training.run_folder import RunFolder
from asr_lab.training.state import TrainState

RANK = int(os.environ["RANK"])
digests: list[str] = []
stopping = False


class WatchedFolder(RunFolder):
    """Notes the weights of this process at every checkpoint."""

    def save(self, learner: Learner, state: TrainState) -> None:
        """Note, then save."""
        digests.append(state_digest(dict(learner.unwrapped.named_parameters())))
        super().save(learner, state)


class DisturbedLearner(Learner):
    """Sends the second process SIGTERM before the fourth step, if that is wanted."""

    def step(self, batches: Sequence[AudioBatch], step: int) -> StepResult:
        """Disturb, then learn."""
        if stopping and RANK == 1 and step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(batches, step)


def run(name: str, command: list[str]) -> dict[str, object]:
    """Run one command and return how it went."""
    global stopping
    stopping = name == "stopped"
    digests.clear()
    return {"status": main(command), "digests": list(digests)}


if __name__ == "__main__":
    trainer.RunFolder, trainer.Learner = WatchedFolder, DisturbedLearner
    dist.init_process_group("gloo")  # once, for several runs
    commands = Path(sys.argv[1])
    for name, command in json.loads(commands.read_text()).items():
        found = run(name, command)
        (commands.parent / f"{name}-{RANK}.json").write_text(json.dumps(found))
    dist.barrier()  # neither leaves while the other still listens
    dist.destroy_process_group()
