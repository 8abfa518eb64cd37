"""`train --from` goes on from our conformers, from NeMo's archives and from Parakeet folders."""

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path

import pytest
import torch
from torch import Tensor

from asr_lab.checkpoints import PortableModel, read_portable
from asr_lab.checkpoints.directory import load, steps
from asr_lab.cli import main
from asr_lab.models.conformer.interop import read_nemo
from asr_lab.testing.speech import write_corpus

FIXTURES = Path(__file__).parent / "fixtures" / "nemo"
SMALL = (
    "--model.dim 32 --model.layers 1 --model.heads 2 --model.predictor-dim 16 --model.joint-dim 16"
)
LOUD = "--train.log-every 1 --train.eval-every 20 --data.workers 0 --device cpu --train.steps"
STATISTICS = ("running_mean", "running_var")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the flags that name a small corpus."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, ["ab ace", "bad cab", "fed a dad", "bed", "a cab fed ed"], seed=1)
    name = f"manifest:{folder / 'manifest.jsonl'}"
    return f"--data {name} --dev-data {name} --eval-data {name}"


def train(data: str, *flags: object, steps: int = 3) -> int:
    words = [word for flag in (LOUD, steps, data, *flags) for word in str(flag).split()]
    return main(["train", *words])


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [sum(v for k, v in line.items() if "loss/" in k) for line in lines if "lr" in line]


def last(run: Path) -> PortableModel:
    """Return the model of the last step, whichever was the best."""
    weights = load(steps(run / "checkpoints")[-1][1]).tensors["model"]
    return replace(read_portable(run / "best.pt"), tensors=weights)


def changed(before: dict[str, Tensor], after: PortableModel) -> set[str]:
    return {n for n, tensor in after.tensors.items() if not torch.equal(before[n], tensor)}


@pytest.mark.parametrize("head", ["ctc", "rnnt+ctc", "tdt"])
def test_the_loss_goes_on_where_it_was(head: str, data: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    still = "--data.freq-masks 0 --data.time-masks 0 --train.schedule constant --output"
    base = f"--model conformer --config tiny {SMALL} --model.head {head} --train.ema 0"
    plain = "--data.speeds 1.0 --data.batch-seconds 60 --train.lr 3e-3"
    assert train(data, base, plain, still, first, steps=12) == 0
    assert train(data, "--from", first, "--train.lr 1e-5", still, second, steps=2) == 0
    learned, restarted = losses(first), losses(second)
    assert restarted[0] < (learned[0] + learned[-1]) / 2
    assert restarted[0] == pytest.approx(learned[-1], rel=0.3)
    config = read_portable(second / "best.pt").config
    assert (config["head"], config["dim"]) == (head, 32)


@pytest.mark.parametrize("name", ["ctc", "tdt", "hybrid"])
def test_an_archive_of_nemo_is_tuned_with_the_statistics_it_has(
    name: str, data: str, tmp_path: Path
) -> None:
    source = FIXTURES / f"{name}.nemo"
    assert train(data, "--from", source, "--train.lr 1e-3 --output", tmp_path) == 0
    model, tokenizer = read_nemo(source)
    before, after = model.state_dict(), last(tmp_path)
    moved = changed(before, after)
    assert not [weight for weight in moved if weight.endswith(STATISTICS)]
    assert len(moved) > len(before) / 2
    assert after.tokenizer == tokenizer.to_bytes() and after.config["freeze_statistics"]
    assert len(losses(tmp_path)) == 3 and all(map(isfinite, losses(tmp_path)))


def test_statistics_may_be_set_free(data: str, tmp_path: Path) -> None:
    source = FIXTURES / "ctc.nemo"
    flags = "--no-model.freeze-statistics --output"
    assert train(data, "--from", source, flags, tmp_path) == 0
    moved = changed(read_nemo(source)[0].state_dict(), last(tmp_path))
    assert [weight for weight in moved if weight.endswith(STATISTICS)]


def test_a_model_that_hears_all_is_tuned_to_stream(data: str) -> None:
    flags = "--model.features nemo_plain --model.attention chunked --model.causal-convolution"
    assert train(data, "--from", FIXTURES / "ctc.nemo", flags, "--dry-run") == 0


def test_a_folder_of_parakeet_is_tuned_like_the_checkpoint_it_was_made_of(
    data: str, tmp_path: Path
) -> None:
    best, folder = tmp_path / "best.pt", tmp_path / "parakeet"
    assert main(["import", str(FIXTURES / "ctc.nemo"), "--output", str(best)]) == 0
    assert main(["export", str(best), "--format", "parakeet", "--output", str(folder)]) == 0
    found = []
    for source in (best, folder, FIXTURES / "ctc.nemo"):
        run = tmp_path / f"from-{source.name}"
        assert train(data, "--from", source, "--output", run) == 0
        found.append(losses(run))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["tdt", "hybrid"])
def test_a_new_vocabulary_makes_only_what_follows_it_anew(
    name: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = FIXTURES / f"{name}.nemo"
    flags = "--new-tokenizer --data.tokenizer characters --train.lr 1e-12 --output"
    assert train(data, "--from", source, flags, tmp_path) == 0
    record = json.loads((tmp_path / "run.json").read_text())
    before, after = read_nemo(source)[0].state_dict(), last(tmp_path)
    anew = set(record["source"]["made_anew"])
    assert "made anew for the vocabulary: " in capsys.readouterr().out
    assert anew == {n for n, tensor in after.tensors.items() if tensor.shape != before[n].shape}
    assert 2 <= len(anew) <= 5 and not [weight for weight in anew if "encoder" in weight]
    for weight in after.tensors.keys() - anew:
        assert torch.allclose(after.tensors[weight], before[weight], atol=1e-6), weight


def pack(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("kind", ["truncated", "outside", "settings", "preset"])
def test_an_archive_that_cannot_be_used_is_refused_in_one_line(
    kind: str, data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, run = tmp_path / "bad.nemo", tmp_path / "run"
    whole = (FIXTURES / "ctc.nemo").read_bytes()
    reason, flags = f"{path} was refused: it holds '../../evil'", ""
    if kind == "outside":
        pack(path, [("../../evil", b"evil"), ("model_config.yaml", b"")])
    else:
        path.write_bytes(whole[: len(whole) // 2] if kind == "truncated" else whole)
    if kind == "truncated":
        reason = f"{path} is truncated or no tar archive"
    elif kind == "settings":
        flags, reason = "--model.layers 7", f"the weights of {path} have other settings: layers is "
    elif kind == "preset":
        flags, reason = "--config large", f"--config large is not {path}: mels is 16 there, 80 here"
    words = ["import", str(path), "--output", str(run)]
    for command in ("train", "import") if not flags else ("train",):
        tuned = command == "train"
        status = train(data, "--from", path, flags, "--output", run) if tuned else main(words)
        told = capsys.readouterr().err
        assert status == 2 and told.startswith(f"asr-lab: {reason}") and told.count("\n") == 1
    assert not run.exists() and not (tmp_path.parent.parent / "evil").exists()
