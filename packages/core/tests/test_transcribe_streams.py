"""Recordings that are followed as streams have the transcripts of the whole recordings."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from jaxtyping import Bool
from torch import Tensor, nn

from asr_lab.audio.features import features
from asr_lab.audio.recipes import recipe
from asr_lab.cli import main
from asr_lab.decoding import decode
from asr_lab.evaluation.recogniser import Recogniser
from asr_lab.evaluation.transcription import StreamTranscriber, Transcriber, Transcript
from asr_lab.evaluation.transcription.streams import MOST_STREAMS
from asr_lab.layers import CTCModel
from asr_lab.models.base import (
    Batch,
    DecodingOptions,
    Encoder,
    EncoderOutput,
    Hypothesis,
    ModelConfig,
    Sequences,
    State,
)
from asr_lab.tokenizers import CharacterTokenizer
from asr_lab.utils.errors import UserError

TOKENIZER = CharacterTokenizer("abc ")
RATE = 8000
LENGTH = torch.tensor([8 * RATE])


class Config(ModelConfig):
    def steps(self, frames: int) -> int:
        return frames


class Framewise(Encoder):
    """Hears each frame alone, and so streams without a state worth the name."""

    look_ahead = 0

    def __init__(self, mels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(mels, 16)

    def forward(self, features: Sequences, state: State = None) -> EncoderOutput:
        padded = features.pad()
        return EncoderOutput(Sequences(self.layer(padded.values), padded.lengths), state)

    def initial_state(self, batch: int) -> State:
        return torch.zeros(batch)

    def end(self, state: State, streams: Bool[Tensor, " batch"]) -> State:
        return state


class Model(CTCModel[ModelConfig]):
    def transcribe(self, batch: Batch, decoding: DecodingOptions) -> list[Hypothesis]:
        return decode(self.head, self.encoder(batch.features), decoding, self.config.vocab)


def recogniser(**changes: object) -> Recogniser:
    """Return a random model that streams."""
    torch.manual_seed(1)
    config = Config(vocab=TOKENIZER.size, features="kaldi", mels=8, sample_rate=RATE)
    encoder = Framewise(8)
    model = Model(config, encoder, 16)
    samples = torch.from_numpy(sound(8.0)).float()[None]
    with torch.no_grad():  # the head hears how frames differ, and so says all kinds of things
        steps = encoder.layer(features(recipe("kaldi", 8, RATE), samples, LENGTH)[0][0])
        head = model.head.linear
        head.weight.div_(steps.std(0)).mul_(2)
        head.bias.copy_(-head.weight @ steps.mean(0))
    kept: Recogniser = replace(
        Recogniser(model=model, tokenizer=TOKENIZER, recipe=recipe("kaldi", 8, RATE)),
        **changes,  # type: ignore[arg-type]
    )
    return kept


def sound(seconds: float, rate: int = RATE) -> np.ndarray:
    """Return noise whose level and colour change twenty times a second."""
    draw = np.random.default_rng(round(1000 * seconds))
    parts = []
    for _ in range(round(seconds * 20) + 1):
        noise = draw.normal(0, draw.uniform(0.01, 0.2), rate // 20 + 8)
        parts.append(np.convolve(noise, draw.normal(0, 0.5, 9), "valid"))
    return np.clip(np.concatenate(parts), -1, 1)[: round(seconds * rate)]


def write(path: Path, seconds: float, rate: int = RATE) -> Path:
    soundfile.write(path, sound(seconds, rate), rate)
    return path


def heard(transcriber: Transcriber, paths: Sequence[Path]) -> list[Transcript]:
    return list(transcriber.transcribe(paths))


def test_files_of_any_length_have_the_transcripts_of_the_whole(tmp_path: Path) -> None:
    lengths = {"a.wav": 23.4, "b.flac": 0.3, "c.wav": 10.0, "d.wav": 0.02, "e.flac": 31.0}
    files = [write(tmp_path / name, seconds) for name, seconds in lengths.items()]
    files.append(write(tmp_path / "f.wav", 12.3, 11025))
    whole = heard(Transcriber(recogniser=recogniser(), chunk_seconds=100.0), files)
    found = heard(StreamTranscriber(recogniser=recogniser()), files)
    for one, other in zip(found, whole, strict=True):
        assert (one.text, one.words, one.duration) == (other.text, other.words, other.duration)
    assert len(found[0].text) > 100 and len(found[0].words) > 10
    assert [segment.end for segment in found[4].segments] == [31.0]


def test_more_files_than_streams_keep_their_order(tmp_path: Path) -> None:
    lengths = [0.1 + 0.1 * (7 * n % 19) for n in range(MOST_STREAMS + 3)]
    files = [write(tmp_path / f"{n}.wav", seconds) for n, seconds in enumerate(lengths)]
    found = heard(StreamTranscriber(recogniser=recogniser()), files)
    assert [one.path for one in found] == list(map(str, files))
    assert [one.duration for one in found] == [round(seconds, 3) for seconds in lengths]
    alone = heard(StreamTranscriber(recogniser=recogniser()), files[-1:])
    assert found[-1] == alone[0]


def test_a_file_that_turns_out_bad_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    first, last = write(tmp_path / "first.wav", 15.0), write(tmp_path / "last.wav", 25.0)
    cut = write(tmp_path / "cut.flac", 40.0)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    files = [first, cut, tmp_path / "missing.wav", last]
    seen: list[tuple[float, float]] = []
    transcriber = StreamTranscriber(recogniser=recogniser())
    found = list(transcriber.transcribe(files, lambda done, total: seen.append((done, total))))
    assert [bool(one.problem) for one in found] == [False, True, True, False]
    assert "is cut off" in found[1].problem and "is not there" in found[2].problem
    assert found[1].text == "" and [found[0], found[3]] == heard(transcriber, [first, last])
    assert seen[0] == (0.0, 80.0) and seen[-1] == (80.0, 80.0) and len(seen) > 3
    assert seen == sorted(seen)


def test_no_files_make_no_transcripts_and_bad_ones_alone_only_problems(tmp_path: Path) -> None:
    transcriber = StreamTranscriber(recogniser=recogniser())
    assert heard(transcriber, []) == []
    (found,) = heard(transcriber, [tmp_path / "missing.wav"])
    assert found.problem.endswith("is not there; check the path")


def test_a_model_in_train_mode_is_followed_in_eval_mode_and_left_as_it_was(tmp_path: Path) -> None:
    kept = recogniser()
    kept.model.train()
    assert heard(StreamTranscriber(recogniser=kept), [write(tmp_path / "a.wav", 1.0)])[0].text
    assert kept.model.training


def test_the_look_ahead_is_that_of_the_features_and_a_beam_is_refused() -> None:
    assert StreamTranscriber(recogniser=recogniser()).look_ahead_ms == 17.5
    wide = recogniser(decoding=DecodingOptions(beam=4))
    with pytest.raises(UserError, match="searched greedily; found a beam of 4; leave it out"):
        _ = StreamTranscriber(recogniser=wide).look_ahead_ms


def test_the_command_refuses_a_model_that_does_not_stream_before_it_works(
    checkpoint: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "a.wav", 1.0)
    words = [str(tmp_path / "a.wav"), "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert main(["transcribe", *words, "--stream"]) == 2
    printed = capsys.readouterr()
    assert "does not stream: its encoder sees the whole" in printed.err and printed.out == ""
