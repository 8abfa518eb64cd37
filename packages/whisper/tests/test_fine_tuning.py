"""`train --from` goes on from a Whisper-shaped model; a new vocabulary leaves its encoder alone."""

import json
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints import read_portable
from asr_lab.cli import main
from asr_lab.testing.speech import write_corpus

SMALL = "--model.dim 32 --model.heads 2 --model.encoder-layers 1 --model.decoder-layers 1"
STILL = (
    "--data.freq-masks 0 --data.time-masks 0 --data.speeds 1.0 --data.batch-seconds 60 "
    "--train.ema 0 --train.schedule constant --train.log-every 1 --train.eval-every 20 "
    "--data.workers 0 --device cpu"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the flags that name a small corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, ["ab ace", "bad cab", "fed a dad", "bed"], seed=1)
    name = f"manifest:{folder / 'manifest.jsonl'}"
    return f"--data {name} --dev-data {name} --eval-data {name}"


@pytest.fixture(scope="module")
def first(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that has learned a little."""
    run = tmp_path_factory.mktemp("runs") / "first"
    start = f"--model whisper --config tiny {SMALL} --train.steps 12 --train.lr 3e-3 --output"
    assert train(data, start, run) == 0
    return run


def train(data: str, *flags: object) -> int:
    return main(["train", *STILL.split(), *data.split(), *" ".join(map(str, flags)).split()])


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [sum(v for k, v in line.items() if "loss/" in k) for line in lines if "lr" in line]


def test_the_loss_goes_on_where_it_was(first: Path, data: str, tmp_path: Path) -> None:
    assert train(data, "--from", first, "--train.lr 1e-5 --train.steps 2 --output", tmp_path) == 0
    learned, restarted = losses(first), losses(tmp_path)
    assert restarted[0] < (learned[0] + learned[-1]) / 2
    assert restarted[0] == pytest.approx(learned[-1], rel=0.3)


def test_a_new_vocabulary_makes_only_what_follows_it_anew(
    first: Path, data: str, tmp_path: Path
) -> None:
    bpe = "--new-tokenizer --data.tokenizer bpe --data.vocab 270 --train.lr 1e-12 --train.steps 1"
    assert train(data, "--from", first, bpe, "--output", tmp_path) == 0
    before, after = (read_portable(run / "best.pt").tensors for run in (first, tmp_path))
    anew = set(json.loads((tmp_path / "run.json").read_text())["source"]["made_anew"])
    assert anew == {name for name in after if after[name].shape != before[name].shape} != set()
    assert not [name for name in anew if name.startswith("encoder.")]
    for name in after.keys() - anew:
        assert torch.allclose(after[name], before[name], atol=1e-6), name
