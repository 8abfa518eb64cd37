"""A run that goes on from a model says from which, keeps a copy, and is resumed bit for bit."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from asr_lab.checkpoints import read_portable, write_portable
from asr_lab.checkpoints.directory import load, steps
from asr_lab.cli import main
from asr_lab.reproducibility.hash import state_digest
from asr_lab.reproducibility.record import RunRecord
from asr_lab.training.starting import SOURCE

Train = Callable[..., int]
RANDOM = (
    "--data.speeds 0.9 1.0 1.1 --data.gain-db 3 --model.dropout 0.2 --train.ema 0.9 "
    "--data.batch-seconds 4 --train.save-every 2"
)


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    told = capsys.readouterr()
    assert status == 2 and told.err.count("\n") == 1 and told.out == "", told
    return told.err.removeprefix("asr-lab: ").removesuffix("\n")


def dev_rates(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    name = "dev/word_error_rate"
    return {line["step"]: line[name] for line in lines if name in line}


def weights(run: Path) -> str:
    return state_digest(load(steps(run / "checkpoints")[-1][1]).tensors["model"])


@pytest.mark.parametrize("saved", [True, False])
def test_a_run_that_was_stopped_goes_on_bit_for_bit_without_its_source(
    saved: bool, tune: Train, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent = tmp_path / "lent.pt"
    shutil.copy(source / "best.pt", lent)
    assert tune(RANDOM, "--output", tmp_path / "whole", start=lent) == 0
    cut = tmp_path / "cut"
    if saved:
        monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:3")
        assert tune(RANDOM, "--output", cut, start=lent) == 130
        monkeypatch.delenv("PROBE_SIGNAL")
    else:  # as if it had been killed before its first checkpoint
        shutil.copytree(tmp_path / "whole", cut)
        shutil.rmtree(cut / "checkpoints")
        (cut / "best.pt").unlink()
        record = json.loads((cut / "run.json").read_text())
        (cut / "run.json").write_text(json.dumps({**record, "status": "running"}))
    lent.unlink()
    assert main(["resume", str(cut)]) == 0
    assert weights(cut) == weights(tmp_path / "whole")
    assert list(dev_rates(cut)) == [0, 4] and dev_rates(cut) == dev_rates(tmp_path / "whole")
    assert (cut / "metrics.jsonl").read_text().count('"dev/word_error_rate"') == 2


def test_a_run_with_a_vocabulary_of_its_own_goes_on_bit_for_bit(
    tune: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = f"{RANDOM} --new-tokenizer --data.tokenizer letters --output"
    assert tune(flags, tmp_path / "whole") == 0
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:1")
    assert tune(flags, tmp_path / "cut") == 130
    monkeypatch.delenv("PROBE_SIGNAL")
    assert main(["resume", str(tmp_path / "cut")]) == 0
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("source", "the source of the weights of this run has changed ("),
        ("seed", "the seed of this run has changed ("),
        ("none", "no file or folder {cut}/source.pt; check the path"),
    ],
)
def test_going_on_with_other_weights_or_another_seed_is_refused(
    what: str,
    reason: str,
    tune: Train,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cut = tmp_path / "cut"
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    assert tune("--output", cut) == 130
    if what == "source":
        portable = read_portable(cut / SOURCE)
        shifted = {name: value + 1 for name, value in portable.tensors.items()}
        write_portable(cut / SOURCE, replace(portable, tensors=shifted))
    elif what == "none":
        (cut / SOURCE).unlink()
    else:
        record = json.loads((cut / "run.json").read_text())
        record["config"]["seed"] = 5
        (cut / "run.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert reason.format(cut=cut) in refused(capsys, main(["resume", str(cut)]))


def test_a_record_without_source_and_seed_is_one_of_a_run_from_scratch(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    assert train("--output", tmp_path) == 130
    assert RunRecord.read(tmp_path).source == {}
    record = json.loads((tmp_path / "run.json").read_text())
    del record["source"], record["digests"]["seed"]  # as the first versions wrote it
    (tmp_path / "run.json").write_text(json.dumps(record))
    monkeypatch.delenv("PROBE_SIGNAL")
    assert main(["resume", str(tmp_path)]) == 0
