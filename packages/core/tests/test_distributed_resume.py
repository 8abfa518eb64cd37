"""Three processes that are stopped and go on end with the bits of three that were not."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from asr_lab.checkpoints.directory import steps
from asr_lab.reproducibility.chain import Chain
from asr_lab.reproducibility.hash import file_digest

Command = Callable[..., list[str]]
FLAGS = (
    "--repro exact --train.accumulate 3 --train.steps 3 --train.eval-every 3 --train.save-every 1 "
    "--train.digest-every 1 --train.keep 9 --model.dropout 0.2 --data.workers 0 --no-model.follow"
)


def digests(run: Path) -> dict[str, str]:
    """Return the digests of all tensors of all checkpoints."""
    return {
        f"{step} {file.name}": file_digest(file)
        for step, path in steps(run / "checkpoints")
        for file in sorted(path.glob("*.safetensors"))
    }


def test_the_first_step_after_a_restart_adds_up_gradients_as_it_would_have_without(
    command: Command, tmp_path: Path
) -> None:
    """Two processes could not show it: a sum of two has one order."""
    groups = [
        {"command": command(FLAGS, "--output", tmp_path / "whole"), "variables": {}},
        {
            "command": command(FLAGS, "--output", tmp_path / "cut"),
            "variables": {"PROBE_SIGNAL": "SIGTERM:1"},
        },
        {"command": ["resume", str(tmp_path / "cut")], "variables": {}},
    ]
    file = tmp_path / "groups.json"
    file.write_text(json.dumps([{**group, "size": 3} for group in groups]))
    done = subprocess.run(
        [sys.executable, "-m", "probe_asr.groups", str(file)],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout.splitlines()[-1]) == [[0] * 3, [130] * 3, [0] * 3], done.stderr
    assert "unused parameters" not in done.stderr
    expected = digests(tmp_path / "whole")
    assert len(expected) == 6
    assert digests(tmp_path / "cut") == expected
    assert Chain.read(tmp_path / "cut").head == Chain.read(tmp_path / "whole").head
