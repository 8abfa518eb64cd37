"""Audio that cannot be used costs one line, and the files beside it nothing, with every head."""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr_lab.audio.features import features
from asr_lab.audio.recipes import recipe
from asr_lab.checkpoints import PortableModel, write_portable
from asr_lab.cli import main
from asr_lab.models.base import Sequences
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.tokenizers import CharacterTokenizer

RATE = 16000
TOKENIZER = CharacterTokenizer("abcdefghij ")
TINY = ConformerConfig(
    vocab=TOKENIZER.size,
    features="nemo_plain",
    mels=16,
    dim=16,
    layers=1,
    heads=2,
    feedforward=1,
    subsampling_channels=4,
    attention="chunked",
    left_context=9,
    chunk=2,
    causal_convolution=True,
    causal_subsampling=True,
    predictor_dim=16,
    joint_dim=16,
)
BAD = {
    "empty.wav": "holds no samples",
    "nan.wav": "has samples that are NaN or infinite",
    "short.wav": "lasts 1 ms, which is too short",
}
HEADS = ("ctc", "rnnt", "tdt")


def checkpoint(path: Path, head: str, kind: str = "abcdefghij ") -> Path:
    """Write a random model that streams, with a tokenizer of the characters of `kind`."""
    torch.manual_seed(0)
    model, tokenizer = ConformerASRModel(replace(TINY, head=head)), CharacterTokenizer(kind)  # type: ignore[arg-type]
    model.eval()
    rules, wave = recipe(TINY.features, TINY.mels, RATE), torch.from_numpy(noise(2 * RATE, 9))
    with torch.no_grad():  # heads that hear how steps differ, so that they say something
        frames = features(rules, wave[None], torch.tensor([len(wave)]))
        steps = model.encoder(Sequences(*frames)).sequences.values[0]
        sides = [] if model.head is None else [model.head.linear]
        if model.transducer is not None:
            sides.append(model.transducer.encoder_projection)
            model.transducer.out.weight.mul_(4)
            model.transducer.out.bias[TINY.vocab] += 3
        for side in sides:
            side.weight.div_(steps.std(0)).mul_(4)
            side.bias.copy_(-side.weight @ steps.mean(0))
    portable = PortableModel(
        model="conformer/conformer",
        distribution="asr-lab-conformer",
        distribution_version=version("asr-lab-conformer"),
        config=model.config.to_dict(),
        tokenizer_kind=tokenizer.kind,
        tokenizer=tokenizer.to_bytes(),
        tensors=model.state_dict(),
        features=model.config.features,
    )
    write_portable(path, portable)
    return path


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def noise(samples: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).clip(-1, 1).astype(np.float32)


def recordings(folder: Path) -> list[Path]:
    """Write good files of several lengths, and bad ones among them."""
    spoilt = noise(RATE, 1)
    spoilt[RATE // 2 :] = np.nan
    return [
        write(folder / "first.wav", noise(RATE // 2, 2)),
        write(folder / "empty.wav", noise(0, 0)),
        write(folder / "nan.wav", spoilt),
        write(folder / "long.wav", noise(2 * RATE, 3)),
        write(folder / "short.wav", noise(RATE // 1000, 4)),
        write(folder / "last.wav", noise(RATE, 5)),
    ]


@pytest.mark.parametrize("flags", [[], ["--stream"]])
@pytest.mark.parametrize("head", HEADS)
def test_bad_audio_costs_a_line_each_and_its_batch_mates_nothing(
    head: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, files = checkpoint(tmp_path / "best.pt", head), recordings(tmp_path)
    good = [file for file in files if file.name not in BAD]
    words = ["--checkpoint", str(best), "--device", "cpu", *flags]
    assert main(["transcribe", *map(str, good), *words]) == 0
    alone = capsys.readouterr().out
    texts = [line.split("\t")[1] for line in alone.splitlines()]
    assert len(texts) == 3 and len(set("".join(texts))) >= 3, "the model says nothing"
    assert main(["transcribe", *map(str, files), *words]) == 1
    printed = capsys.readouterr()
    assert printed.out == alone
    lines = [line for line in printed.err.splitlines() if "look-ahead" not in line]
    assert len(lines) == len(BAD)
    for name, problem in BAD.items():
        (line,) = (line for line in lines if name in line)
        assert line.startswith("asr-lab: ") and problem in line


def test_a_vocabulary_that_does_not_match_the_weights_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, path = checkpoint(tmp_path / "best.pt", "rnnt", "abc"), tmp_path / "a.wav"
    write(path, noise(RATE, 0))
    for words in (
        ["transcribe", str(path), "--checkpoint", str(best)],
        ["evaluate", "--checkpoint", str(best), "--dataset", "spoken/en/test"],
        ["train", "--from", str(best), "--dry-run"],
        ["export", str(best), "--format", "onnx-stream", "--output", str(tmp_path / "out")],
    ):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "tokenizer has 3 tokens, but its model scores 11" in line
