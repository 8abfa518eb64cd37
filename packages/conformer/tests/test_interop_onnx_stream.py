"""A chunk step in onnxruntime is that of our streaming session, and so is the text of a stream."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr_lab.audio.online import OnlineFeatures
from asr_lab.audio.recipes import recipe
from asr_lab.checkpoints import PortableModel, write_portable
from asr_lab.cli import main
from asr_lab.decoding import StreamingRecogniser
from asr_lab.models.base import DecodingOptions, Sequences
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig, put_in_streaming_mode
from asr_lab.models.conformer.interop import write_onnx_stream
from asr_lab.tokenizers import CharacterTokenizer
from asr_lab.utils.errors import UserError

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("without_shape_checks")

TOLERANCE = 1e-5
"""Largest absolute difference that the order of sums in FP32 may make; outputs are about 1."""
TOKENIZER = CharacterTokenizer("abcdefghij ")
TINY = ConformerConfig(
    vocab=TOKENIZER.size,
    features="nemo_plain",
    mels=16,
    dim=32,
    layers=2,
    heads=2,
    feedforward=2,
    subsampling_channels=8,
    attention="chunked",
    left_context=9,
    chunk=2,
    causal_convolution=True,
    causal_subsampling=True,
    predictor_dim=24,
    joint_dim=32,
    dropout=0.0,
)
RELATIVE: dict[str, object] = {"positions": "relative", "norm": "batch", "scale_input": True}
VARIANTS: dict[str, dict[str, object]] = {
    "chunks of 2": {"head": "tdt+ctc", "durations": (0, 1, 2, 3)},
    "chunks of 1, relative": {**RELATIVE, "chunk": 1, "head": "rnnt", "kernel": 5},
    "chunks of 7, symmetric": {"chunk": 7, "causal_subsampling": False, "bias": False},
    "chunks of 16, relative by 4": {**RELATIVE, "chunk": 16, "subsampling": 4, "head": "tdt"},
    "no past": {"left_context": 0, "kernel": 1, "head": "rnnt+ctc", "joint_activation": "tanh"},
}
ENOUGH = 3
"""Kinds of token that a text must have to tell one stream from another."""


def make(**changes: object) -> ConformerASRModel:
    """Return a random model, far from its start, that says many different things."""
    torch.manual_seed(0)
    model = ConformerASRModel(replace(TINY, **changes)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "bias" in name or "running_mean" in name:
                tensor.normal_(0, 0.3)
            elif "running_var" in name:
                tensor.uniform_(0.5, 2)
        steps = model.encoder(Sequences(frames_of(speech(32000))[None], torch.tensor([200])))
        values, sides = steps.sequences.values[0], list[nn.Linear]()
        if model.head is not None:
            sides.append(model.head.linear)
        if model.transducer is not None:
            sides.append(model.transducer.encoder_projection)
            model.transducer.out.weight.mul_(4)
            model.transducer.out.bias[TINY.vocab] += 3.0
        for side in sides:  # which hear how steps differ
            side.weight.div_(values.std(0)).mul_(4)
            side.bias.copy_(-side.weight @ values.mean(0))
    return model


def speech(samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    level = torch.randn(samples // 1600 + 1, generator=generator).repeat_interleave(1600)
    noise = torch.randn(samples + 8, generator=generator).unfold(0, 8, 1).mean(-1)
    return 0.1 * level[:samples].exp() * noise[:samples]


def frames_of(wave: Tensor) -> Tensor:
    online = OnlineFeatures(recipe(TINY.features, TINY.mels, TINY.sample_rate), 1)
    return online.push(wave[None], torch.tensor([len(wave)]), torch.tensor([True]))[0][0]


Runtime: TypeAlias = Any
"""A session of onnxruntime, which declares no types."""


@cache
def loaded(file: Path) -> Runtime:
    """Return a graph in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options)


class Streams:
    """Streams of a batch in onnxruntime, as any program would keep them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.session = loaded(folder / "stream.onnx")
        self.settings = json.loads((folder / "config.json").read_text("utf-8"))
        self.window, self.shift, before, _ = self.settings["stream"].values()
        self.frames = [np.full((before, TINY.mels), np.nan, np.float32) for _ in range(count)]
        axes = self.settings["files"]["stream.onnx"]["inputs"]
        self.states = {
            name: np.zeros((count, *sizes), np.float32 if sizes else np.int64)
            for name, (_, *sizes) in axes.items()
            if name not in ("features", "lengths")
        }

    def push(self, pieces: Sequence[Tensor], ends: Sequence[bool]) -> list[Tensor]:
        """Take the next frames of each stream, and return its next steps."""
        found: list[list[Tensor]] = [[] for _ in pieces]
        for row, piece in enumerate(pieces):
            self.frames[row] = np.concatenate([self.frames[row], piece.numpy()])
        going = {row for row, end in enumerate(ends) if end}
        while rows := [r for r, f in enumerate(self.frames) if r in going or len(f) >= self.window]:
            lengths = np.array([min(len(self.frames[row]), self.window) for row in rows])
            features = np.full((len(rows), self.window, TINY.mels), np.nan, np.float32)
            for place, (row, length) in enumerate(zip(rows, lengths, strict=True)):
                features[place, :length] = self.frames[row][:length]
                self.frames[row] = self.frames[row][self.shift :]
            states = {name: state[rows] for name, state in self.states.items()}
            inputs = {"features": features, "lengths": lengths, **states}
            encoded, counts, *after = self.session.run(None, inputs)
            for name, value in zip(states, after, strict=True):
                assert value.shape == states[name].shape and np.isfinite(value).all()
                self.states[name][rows] = value
            for place, row in enumerate(rows):
                found[row].append(torch.from_numpy(encoded[place, : counts[place]]))
                assert not encoded[place, counts[place] :].any()
            going -= {r for r, n in zip(rows, lengths, strict=True) if n < self.window}
        nothing = torch.zeros(0, TINY.dim)
        return [torch.cat([nothing, *steps]) for steps in found]


Pair = tuple[ConformerASRModel, Path]


@pytest.fixture(scope="module", params=VARIANTS)
def pair(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    without_shape_checks: None,
) -> Pair:
    """Return a model and the folder that was written of it."""
    model, folder = make(**VARIANTS[request.param]), tmp_path_factory.mktemp("stream")
    write_onnx_stream(model, TOKENIZER, folder)
    return model, folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, without_shape_checks: None) -> Pair:
    """Return the first of the pairs."""
    model, folder = make(**VARIANTS["chunks of 2"]), tmp_path_factory.mktemp("small")
    write_onnx_stream(model, TOKENIZER, folder)
    return model, folder


def close(found: Tensor, expected: Tensor) -> bool:
    assert found.shape == expected.shape and found.dtype == expected.dtype
    return torch.allclose(found, expected, rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def offline(model: ConformerASRModel, features: Tensor) -> Tensor:
    whole = Sequences(features[None], torch.tensor([len(features)]))
    steps = model.encoder(whole).sequences
    return steps.values[0, : steps.lengths[0]]


@pytest.mark.parametrize("sizes", [(13,), (1, 64), (500,), (0, 7)])
@torch.inference_mode()
def test_every_piece_gives_the_steps_that_our_session_gives(
    sizes: tuple[int, ...], pair: Pair
) -> None:
    model, folder = pair
    streams, state = Streams(folder, 1), model.encoder.initial_state(1)
    features, place, turn, total = frames_of(speech(50_000, 3)), 0, 0, 0
    while place < len(features):
        size = sizes[turn % len(sizes)]
        piece, end = features[place : place + size], place + size >= len(features)
        if end:
            state = model.encoder.end(state, torch.tensor([True]))
        output = model.encoder(Sequences(piece[None], torch.tensor([len(piece)])), state)
        state, place, turn = output.state, place + size, turn + 1
        (found,) = streams.push([piece], [end])
        assert close(found, output.sequences.values[0])
        total += len(found)
    assert total == model.config.steps(len(features)) > 2 * model.config.chunk


@torch.inference_mode()
def test_a_stream_may_end_anywhere(pair: Pair) -> None:
    model, folder = pair
    longest = 3 * model.config.subsampling * model.config.chunk
    for frames in (0, 1, 2, 7, 8, 9, 15, 16, 17, *range(longest - 2, longest + 9)):
        features = frames_of(speech(160 * frames + 80, 5))[:frames]
        (found,) = Streams(folder, 1).push([features], [True])
        assert close(found, offline(model, features))


@settings(max_examples=15)
@given(data=st.data())
def test_streams_of_a_batch_may_stand_at_different_places(small: Pair, data: st.DataObject) -> None:
    model, folder = small
    lengths = data.draw(st.lists(st.integers(0, 200), min_size=2, max_size=4))
    waves = [frames_of(speech(160 * n, seed))[:n] for seed, n in enumerate(lengths)]
    streams, left = Streams(folder, len(waves)), list(waves)
    found: list[list[Tensor]] = [[] for _ in waves]
    ended = [False] * len(waves)
    while not all(ended):
        sizes = data.draw(st.lists(st.integers(0, 90), min_size=len(left), max_size=len(left)))
        if not any(sizes):
            sizes = [90] * len(left)
        pieces = [wave[:size] for wave, size in zip(left, sizes, strict=True)]
        left = [wave[size:] for wave, size in zip(left, sizes, strict=True)]
        ends = [not len(wave) and not end for wave, end in zip(left, ended, strict=True)]
        ended = [one or other for one, other in zip(ends, ended, strict=True)]
        for row, steps in enumerate(streams.push(pieces, ends)):
            found[row].append(steps)
    for wave, pieces in zip(waves, found, strict=True):
        assert close(torch.cat(pieces), offline(model, wave))


def test_how_long_a_stream_has_run_changes_nothing(pair: Pair) -> None:
    model, folder = pair
    streams, piece = Streams(folder, 1), frames_of(speech(160 * 400))
    streams.push([piece], [False])  # so that the past is full
    kept = {name: value.copy() for name, value in streams.states.items()}
    frames, found = list(streams.frames), []
    for steps in (40, 45_000, 10**9):  # behind the past that is kept, after an hour, after years
        streams.states = {name: value.copy() for name, value in kept.items()}
        streams.states["steps"][:] = steps
        streams.frames = list(frames)
        found += streams.push([piece[:200]], [False])
        assert int(streams.states["steps"][0]) == steps + len(found[-1])
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert len(found[0]) >= model.config.chunk


@torch.inference_mode()
def test_the_loop_of_the_documents_says_what_our_session_says_as_soon(
    pair: Pair, documented: dict[str, type[Any]]
) -> None:
    model, folder = pair
    wave, sizes = speech(48_000, 1), (1234, 1, 5000, 160)
    for decoder in model.decoders:
        options = DecodingOptions(decoder=decoder)
        ours, theirs = StreamingRecogniser(model, decoding=options), documented["Stream"](folder)
        if decoder == "ctc":
            theirs.graphs.pop("joint", None)
        online = OnlineFeatures(recipe(TINY.features, TINY.mels, TINY.sample_rate), 1)
        said, place, turn = set[str](), 0, 0
        while place < len(wave):
            piece = wave[place : place + sizes[turn % len(sizes)]]
            place, turn = place + len(piece), turn + 1
            frames, _ = online.push(piece[None], torch.tensor([len(piece)]))
            (known,) = ours.push([piece])
            text = theirs.push(frames[0].numpy())
            assert text == TOKENIZER.decode(known.tokens).strip()
            said.add(text)
        end = torch.tensor([True])
        frames, _ = online.push(torch.zeros(1, 0), torch.tensor([0]), end)
        (final,) = ours.finish()
        text = theirs.push(frames[0].numpy(), last=True)
        assert text == TOKENIZER.decode(final.tokens).strip()
        assert len(set(text)) >= ENOUGH and len(said) >= 2, said


def test_weights_put_into_a_streaming_mode_are_written_with_their_new_chunks(
    tmp_path: Path, small: Pair
) -> None:
    model, _ = small
    with pytest.warns(UserWarning, match="chunks of 4 may cost accuracy"):
        other = put_in_streaming_mode(model, chunk=4, left_context=20)
    write_onnx_stream(other, TOKENIZER, tmp_path)
    features = frames_of(speech(30_000))
    (found,) = Streams(tmp_path, 1).push([features], [True])
    assert close(found, offline(other, features))


def checkpoint(path: Path, model: ConformerASRModel) -> Path:
    portable = PortableModel(
        model="conformer/conformer",
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


def test_the_command_writes_a_chunk_step_and_says_how_to_use_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, folder = checkpoint(tmp_path / "best.pt", make(head="rnnt")), tmp_path / "out"
    words = ["export", str(best), "--format", "onnx-stream", "--output", str(folder)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"files  {folder}"
    names = {"stream.onnx", "decoder.onnx", "joint.onnx", "config.json", "tokens.json"}
    assert {path.name for path in folder.iterdir()} == names
    told = json.loads((folder / "config.json").read_text("utf-8"))
    assert ConformerConfig.from_dict(told["model"]) == replace(TINY, head="rnnt")
    look_ahead = StreamingRecogniser(make()).look_ahead_ms
    # Two steps of 8 frames, of which the second hears 14 frames before its first.
    assert told["stream"] == {
        "window": 14 + 8 + 1,
        "shift": 16,
        "before": 14,
        "look_ahead_ms": look_ahead,
    }
    session, axes = Streams(folder, 1).session, told["files"]["stream.onnx"]
    for side, found in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        assert {one.name: one.shape for one in found} == axes[side]
    assert main(words) == 2
    assert f"{folder} exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "full"}, "this ConformerConfig does not stream: its encoder sees the whole"),
        ({"causal_convolution": False}, "does not stream"),
        ({"features": "nemo"}, "features 'nemo' are normalised over the whole utterance"),
    ],
)
def test_a_model_that_does_not_stream_is_refused_in_one_line_and_nothing_is_written(
    changes: dict[str, object],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = ConformerASRModel(replace(TINY, **changes))  # type: ignore[arg-type]
    best, folder = checkpoint(tmp_path / "best.pt", model), tmp_path / "out"
    assert main(["export", str(best), "--format", "onnx-stream", "--output", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and list(tmp_path.iterdir()) == [best]


def test_the_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the tokenizer has 3 tokens, the model 11"):
        write_onnx_stream(make(), CharacterTokenizer("abc"), tmp_path / "out")
