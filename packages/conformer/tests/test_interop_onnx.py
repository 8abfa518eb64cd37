"""ONNX files give what the model gives, at any size of batch and length, in onnxruntime."""

import errno
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from asr_lab.checkpoints import PortableModel, write_portable
from asr_lab.cli import main
from asr_lab.models.base import Batch, DecodingOptions, EncoderOutput, Sequences
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.models.conformer.interop import write_onnx
from asr_lab.tokenizers import CharacterTokenizer, train_tokenizer
from asr_lab.utils.errors import UserError

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("without_shape_checks")

TOLERANCE = 1e-4
TOKENIZER = CharacterTokenizer("abcdefghi ")
SMALL = ConformerConfig(
    vocab=TOKENIZER.size,
    mels=16,
    dim=32,
    layers=2,
    heads=2,
    kernel=5,
    feedforward=2,
    subsampling=4,
    subsampling_channels=8,
    predictor_dim=24,
    joint_dim=28,
    left_context=5,
    right_context=3,
    dropout=0.0,
)
PUBLISHED = {"positions": "relative", "norm": "batch", "scale_input": True, "subsampling": 8}
VARIANTS: dict[str, dict[str, object]] = {
    "rotary ctc": {},
    "published tdt": {**PUBLISHED, "head": "tdt", "predictor_layers": 2},
    "local rnnt with ctc": {"attention": "local", "head": "rnnt+ctc", "joint_activation": "tanh"},
    "local published": {**PUBLISHED, "attention": "local", "bias": False},
    "streaming rnnt": {
        "attention": "chunked",
        "chunk": 3,
        "causal_convolution": True,
        "causal_subsampling": True,
        "features": "nemo_plain",
        "head": "rnnt",
    },
    "streaming published": {
        **PUBLISHED,
        "attention": "chunked",
        "chunk": 2,
        "causal_convolution": True,
    },
}


def make(**changes: object) -> ConformerASRModel:
    """Return a random model with weights and statistics far from their start, which says a lot."""
    torch.manual_seed(0)
    model = ConformerASRModel(replace(SMALL, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "bias" in name or "running_mean" in name:
                tensor.normal_(0, 0.3)
            elif "running_var" in name:
                tensor.uniform_(0.5, 2)
        steps = model.encoder(batch_of([400])).sequences.values
        # The heads see how steps differ, not what they have in common. Scores of hundreds would
        # only show the rounding of large numbers.
        linears = [] if model.head is None else [(model.head.linear, 1.0)]
        if model.transducer is not None:
            linears.append((model.transducer.encoder_projection, 4.0))
        for linear, spread in linears:
            linear.weight.mul_(spread / steps[0].std(0).mean())
            linear.bias.copy_(-linear.weight @ steps[0].mean(0))
        if (transducer := model.transducer) is not None:
            transducer.embedding.weight.mul_(4)
            transducer.predictor_projection.weight.mul_(12)
            predicted, _ = transducer.predict(torch.arange(SMALL.vocab + 1)[None], None)
            logits = transducer.joint(transducer.project(steps), predicted)[0].flatten(0, 1)
            transducer.out.bias.sub_(logits.mean(0))
            transducer.out.bias[SMALL.vocab] += 1.5 * logits.std(0).mean()
    return model


def batch_of(frames: list[int], padding: float = float("nan")) -> Sequences:
    """Return features of utterances with so many frames, and nonsense behind them."""
    values = torch.full((len(frames), max(frames), SMALL.mels), padding)
    for row, count in enumerate(frames):
        generator = torch.Generator().manual_seed(count)
        values[row, :count] = torch.randn(count, SMALL.mels, generator=generator)
    return Sequences(values, torch.tensor(frames))


class Runtime:
    """The files of a folder in onnxruntime."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.folder = folder
        self.sessions = {
            path.stem: onnxruntime.InferenceSession(path, options)
            for path in sorted(folder.glob("*.onnx"))
        }

    def run(self, graph: str, **inputs: Tensor) -> list[Tensor]:
        arrays = {name: value.numpy() for name, value in inputs.items()}
        return [torch.from_numpy(found) for found in self.sessions[graph].run(None, arrays)]

    def encode(self, features: Sequences) -> EncoderOutput:
        found = self.run("encoder", features=features.values, lengths=features.lengths)
        return EncoderOutput(Sequences(*found))


@pytest.fixture(scope="module", params=VARIANTS)
def pair(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    without_shape_checks: None,
) -> tuple[ConformerASRModel, Runtime]:
    """Return a model and the files that were written of it."""
    model, folder = make(**VARIANTS[request.param]), tmp_path_factory.mktemp("onnx")
    write_onnx(model, TOKENIZER, folder)
    return model, Runtime(folder)


def close(found: Tensor, expected: Tensor) -> bool:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    return torch.allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("frames", [[1], [43, 34], [211, 8, 97, 160], [0, 30], [7, 700]])
@torch.inference_mode()
def test_the_encoder_gives_the_steps_and_lengths_of_the_model(
    pair: tuple[ConformerASRModel, Runtime], frames: list[int]
) -> None:
    model, runtime = pair
    expected = model.encoder(batch_of(frames)).sequences
    found = runtime.encode(batch_of(frames)).sequences
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert expected.lengths.tolist() == [model.config.steps(count) for count in frames]
    assert close(found.values, expected.values)  # zeros behind the lengths, of NaN as of all


@torch.inference_mode()
def test_the_heads_give_the_scores_of_the_model(pair: tuple[ConformerASRModel, Runtime]) -> None:
    model, runtime = pair
    encoded = model.encoder(batch_of([90, 33, 64]))
    steps = encoded.sequences.values
    heads = {"encoder"}
    if model.head is not None:
        heads |= {"ctc"}
        (scores,) = runtime.run("ctc", encoded=steps)
        assert close(scores, model.head.log_probs(encoded))
    if (transducer := model.transducer) is not None:
        heads |= {"decoder", "joint"}
        blank = model.config.blank_id
        tokens = torch.tensor([[blank, 1, 2, 3, 3], [blank, 4, 0, 9, 1], [blank, 5, 5, 5, 5]])
        expected, _ = transducer.predict(tokens)
        state = [torch.zeros(3, model.config.predictor_layers, model.config.predictor_dim)] * 2
        parts = []
        for part in tokens.split([1, 3, 1], 1):  # the state goes in and out
            predicted, *state = runtime.run("decoder", tokens=part, hidden=state[0], cell=state[1])
            parts.append(predicted)
        assert close(torch.cat(parts, 1), expected)
        (logits,) = runtime.run("joint", encoded=steps, predicted=expected)
        assert close(logits, transducer.joint(transducer.project(steps), expected))
    assert set(runtime.sessions) == heads


@torch.inference_mode()
def test_the_loop_of_the_documents_finds_the_text_of_the_model(
    pair: tuple[ConformerASRModel, Runtime], documented: dict[str, type[Any]]
) -> None:
    model, runtime = pair
    recogniser = documented["Recogniser"](runtime.folder)
    features = batch_of([400, 5, 210, 0])
    nothing = torch.zeros(4, 0, dtype=torch.int64)
    batch = Batch(features=features, tokens=nothing, token_lengths=nothing.sum(1))
    for decoder in model.decoders:
        said = model.transcribe(batch, DecodingOptions(decoder=decoder))
        texts = [TOKENIZER.decode(one.tokens).strip() for one in said]
        if decoder == "ctc":
            recogniser.graphs.pop("joint", None)
        found = recogniser.recognise(features.values.numpy(), features.lengths.numpy())
        assert found == texts
        assert len(set(texts[0])) >= 4 and len(texts[0]) >= 8, texts


def test_pieces_of_bytes_become_characters(
    documented: dict[str, type[Any]], tmp_path: Path
) -> None:
    tokenizer = train_tokenizer("bpe", ["seven eight nine", "ten eleven twelve"], 280)
    write_onnx(make(vocab=280, layers=1), tokenizer, tmp_path)
    recogniser = documented["Recogniser"](tmp_path)
    for text in ("seven eleven", "neun Fäßchen € 𝄞"):
        assert recogniser.text(tokenizer.encode(text)) == text


@torch.inference_mode()
def test_positions_are_exact_far_from_the_start(tmp_path: Path) -> None:
    model = make(layers=1, heads=1, attention="local")
    write_onnx(model, TOKENIZER, tmp_path)
    found, expected = Runtime(tmp_path).encode(batch_of([9000])), model.encoder(batch_of([9000]))
    assert close(found.sequences.values, expected.sequences.values)


@torch.inference_mode()
def test_many_weights_lie_beside_their_graph(tmp_path: Path) -> None:
    model = make(head="rnnt", layers=1)
    write_onnx(model, TOKENIZER, tmp_path / "one")
    write_onnx(model, TOKENIZER, tmp_path / "two", largest=60_000)
    names = {path.name for path in (tmp_path / "one").iterdir()}
    more = {path.name for path in (tmp_path / "two").iterdir()} - names
    graphs = {"encoder.onnx", "decoder.onnx", "joint.onnx"}
    assert names == graphs | {"config.json", "tokens.json"}
    assert more == {"encoder.onnx.data"}
    assert len({path.stat().st_mode for path in (tmp_path / "two").iterdir()}) == 1
    found = Runtime(tmp_path / "two").encode(batch_of([50]))
    assert close(found.sequences.values, model.encoder(batch_of([50])).sequences.values)


def checkpoint(path: Path, model: ConformerASRModel, name: str = "conformer/conformer") -> Path:
    portable = PortableModel(
        model=name,
        distribution="asr-lab-conformer",
        distribution_version="?",
        config=model.config.to_dict(),
        tokenizer_kind=TOKENIZER.kind,
        tokenizer=TOKENIZER.to_bytes(),
        tensors=model.state_dict(),
        features=model.config.features,
    )
    write_portable(path, portable)
    return path


def test_the_command_writes_a_checkpoint_with_all_that_decoding_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make(head="tdt", layers=1, durations=(0, 1, 3))
    best, folder = checkpoint(tmp_path / "best.pt", model), tmp_path / "onnx"
    words = ["export", str(best), "--format", "onnx", "--output", str(folder)]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == f"files  {folder}" and printed.err == ""
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    assert ConformerConfig.from_dict(settings["model"]) == model.config
    assert (settings["blank_id"], settings["durations"]) == (TOKENIZER.size, [0, 1, 3])
    assert settings["features"]["hop_length"] == 160 and settings["seconds_per_step"] == 0.04
    tokens = json.loads((folder / "tokens.json").read_text("utf-8"))
    assert "".join(tokens["pieces"]) == TOKENIZER.characters
    for name, session in Runtime(folder).sessions.items():
        told = settings["files"][f"{name}.onnx"]
        for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
            assert {one.name: one.shape for one in found} == told[side]
    assert main(words) == 2
    assert f"{folder} exists" in capsys.readouterr().err


def test_an_export_that_fails_leaves_nothing_and_may_be_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    best, folder = checkpoint(tmp_path / "best.pt", make(layers=1)), tmp_path / "onnx"
    words = ["export", str(best), "--format", "onnx", "--output", str(folder)]

    def refuse(_: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:  # the last thing that is done to a graph
        patched.setattr("onnx.checker.check_model", refuse)
        assert main(words) == 2
    assert "no space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [best]
    assert main(words) == 0


def test_what_cannot_be_exported_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = make(layers=1), tmp_path / "onnx"
    other = checkpoint(tmp_path / "other.pt", model, "ssm/ssm")
    assert main(["export", str(other), "--format", "onnx", "--output", str(folder)]) == 2
    assert "format onnx is for conformer/conformer" in capsys.readouterr().err
    with pytest.raises(UserError, match="the tokenizer has 3 tokens, the model 10"):
        write_onnx(model, CharacterTokenizer("abc"), folder)
    monkeypatch.setitem(sys.modules, "onnx", None)
    best = checkpoint(tmp_path / "best.pt", model)
    assert main(["export", str(best), "--format", "onnx", "--output", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("is not installed; pip install 'asr-lab-conformer[onnx]'")
    assert not folder.exists()
    assert main(["import", str(tmp_path), "--format", "onnx", "--output", "x.pt"]) == 2
    assert "format 'onnx' can only be written" in capsys.readouterr().err
