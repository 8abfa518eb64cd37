"""From samples to text: a stream is recognised as the whole audio is, within its look-ahead."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr_lab.audio.features import features, recipe
from asr_lab.checkpoints import PortableModel, write_portable
from asr_lab.cli import main
from asr_lab.decoding import StreamingRecogniser
from asr_lab.models.base import Batch, DecodingOptions, Hypothesis, Sequences
from asr_lab.models.conformer import (
    ConformerASRModel,
    ConformerConfig,
    put_in_streaming_mode,
)
from asr_lab.tokenizers import CharacterTokenizer
from asr_lab.utils.errors import UserError

TINY = ConformerConfig(
    vocab=11,
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
    durations=(0, 1, 2, 3),
    dropout=0.0,
)
DECODING = DecodingOptions(max_symbols=2)
TOLERANCE = 1e-5
"""Largest absolute difference of encoder steps, which are about 1, in FP32."""
HEADS = ("ctc", "rnnt", "tdt", "tdt+ctc")


def make(**changes: object) -> ConformerASRModel:
    """Return a random model that says many different things, because its heads see deviations."""
    torch.manual_seed(0)
    model = ConformerASRModel(replace(TINY, **changes)).eval()  # type: ignore[arg-type]
    sides: list[nn.Linear] = []
    if model.head is not None:
        sides.append(model.head.linear)
    if model.transducer is not None:
        sides.append(model.transducer.encoder_projection)
    with torch.no_grad():
        steps = model.encoder(extracted(model.config, speech(32000, 9))).sequences.values[0]
        for side in sides:
            side.weight.div_(steps.std(0)).mul_(4)
            side.bias.copy_(-side.weight @ steps.mean(0))
        if model.transducer is not None:
            model.transducer.out.weight.mul_(4)
            model.transducer.out.bias[TINY.vocab] += 3.0
    return model


def extracted(config: ConformerConfig, wave: Tensor) -> Sequences:
    rules = recipe(config.features, config.mels, config.sample_rate)
    return Sequences(*features(rules, wave[None], torch.tensor([len(wave)])))


def speech(samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples + 8, generator=generator)
    level = torch.randn(samples // 1600 + 1, generator=generator).repeat_interleave(1600)
    return 0.1 * level[:samples].exp() * noise.unfold(0, 8, 1).mean(-1)[:samples]


@torch.inference_mode()
def offline(model: ConformerASRModel, wave: Tensor, decoder: str = "") -> Hypothesis:
    none = torch.zeros(1, 0, dtype=torch.int64)
    batch = Batch(features=extracted(model.config, wave), tokens=none, token_lengths=none.sum(1))
    return model.transcribe(batch, replace(DECODING, decoder=decoder))[0]


def online(
    recogniser: StreamingRecogniser, waves: Sequence[Tensor], cuts: Sequence[Sequence[int]]
) -> list[Hypothesis]:
    """Push each wave in pieces of its own sizes, and end each stream when its wave has."""
    places, open_streams, turn = [0] * len(waves), set(range(len(waves))), 0
    found: list[Hypothesis] = []
    while open_streams:
        sizes = [some[turn % len(some)] for some in cuts]
        parts = [w[p : p + s] for w, p, s in zip(waves, places, sizes, strict=True)]
        recogniser.push(parts)
        places = [place + size for place, size in zip(places, sizes, strict=True)]
        done = [row for row in sorted(open_streams) if places[row] >= len(waves[row])]
        found = recogniser.finish(done)
        open_streams -= set(done)
        turn += 1
    return found


def same(found: Hypothesis, expected: Hypothesis) -> bool:
    exact = (found.tokens, found.times) == (expected.tokens, expected.times)
    return exact and abs(found.score - expected.score) < 1e-3


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("chunk", [1, 2, 7, 16])
def test_the_final_text_is_that_of_the_whole_audio(head: str, chunk: int) -> None:
    model, wave = make(head=head, chunk=chunk), speech(48000)
    for decoder in model.decoders:
        recogniser = StreamingRecogniser(model, decoding=replace(DECODING, decoder=decoder))
        (found,) = online(recogniser, [wave], [[1234, 1, 5000]])
        expected = offline(model, wave, decoder)
        assert same(found, expected)
        assert len(set(expected.tokens)) >= 3 and len(expected.tokens) >= 6, expected


MODELS = {head: make(head=head) for head in HEADS}


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(HEADS),
    st.lists(
        st.tuples(
            st.integers(0, 12000),
            st.lists(st.one_of(st.just(1), st.integers(0, 4000)), min_size=1, max_size=3),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_pieces_of_any_size_of_streams_at_different_places_give_the_same_text(
    head: str, streams: list[tuple[int, list[int]]]
) -> None:
    model = MODELS[head]
    waves = [speech(length, seed) for seed, (length, _) in enumerate(streams)]
    cuts = [sizes if max(sizes) > 200 else [*sizes, 900] for _, sizes in streams]
    found = online(StreamingRecogniser(model, streams=len(waves), decoding=DECODING), waves, cuts)
    for one, wave in zip(found, waves, strict=True):
        assert same(one, offline(model, wave))


def test_pieces_of_one_sample_give_the_same_text() -> None:
    model, wave = MODELS["ctc"], speech(3000)
    recogniser = StreamingRecogniser(model)
    for sample in wave:
        recogniser.push([sample[None]])
    assert same(recogniser.finish()[0], offline(model, wave))


@pytest.mark.parametrize("chunk", [1, 2, 7, 16])
@pytest.mark.parametrize("recipe_name", ["nemo_plain", "kaldi"])
def test_from_samples_on_the_steps_are_those_of_the_whole(
    chunk: int, recipe_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, wave = make(chunk=chunk, features=recipe_name), speech(40000, 3)
    with torch.inference_mode():
        expected = model.encoder(extracted(model.config, wave)).sequences.values[0]
    forward, steps = model.encoder.forward, []

    def listening(*arguments: object) -> object:
        output = forward(*arguments)  # type: ignore[arg-type]
        steps.append(output.sequences.values[0, : output.sequences.lengths[0]])
        return output

    monkeypatch.setattr(model.encoder, "forward", listening)
    online(StreamingRecogniser(model), [wave], [[1234, 1, 5000, 160]])
    found = torch.cat(steps)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE


REACHES: dict[str, dict[str, object]] = {
    "causal": {},
    "symmetric": {"causal_subsampling": False},
    "relative": {"positions": "relative", "norm": "batch"},
}


@pytest.mark.parametrize("changed", [4001, 9999, 24160])
@pytest.mark.parametrize("kind", REACHES)
def test_a_future_sample_alters_no_step_that_was_given_out(
    kind: str, changed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(**REACHES[kind])
    wave = speech(32000, 4)
    other = torch.cat([wave[:changed], 0.5 * speech(32000 - changed, 5)])
    with torch.inference_mode():
        wholes = [
            model.encoder(extracted(model.config, one)).sequences.values[0] for one in (wave, other)
        ]
    forward, steps = model.encoder.forward, []

    def listening(*arguments: object) -> object:
        output = forward(*arguments)  # type: ignore[arg-type]
        steps.append(output.sequences.values[0])
        return output

    monkeypatch.setattr(model.encoder, "forward", listening)
    StreamingRecogniser(model).push([wave[:changed]])
    known = torch.cat(steps)
    assert len(known) and not torch.allclose(wholes[0], wholes[1], atol=1e-2)
    for whole in wholes:
        assert (whole[: len(known)] - known).abs().max() <= TOLERANCE


@pytest.mark.parametrize("samples", [0, 1, 16, 159, 160])
def test_next_to_no_audio_is_recognised_as_offline(samples: int) -> None:
    for head, model in MODELS.items():
        recogniser, wave = StreamingRecogniser(model, decoding=DECODING), speech(samples)
        recogniser.push([wave])
        assert same(recogniser.finish()[0], offline(model, wave)), head


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(HEADS), st.integers(1, 30000), st.integers(0, 2**31))
def test_a_future_sample_changes_nothing_that_was_given_out(
    head: str, changed: int, seed: int
) -> None:
    wave = speech(32000, seed)
    other = torch.cat([wave[:changed], 0.5 * speech(32000 - changed, seed + 1)])
    recogniser = StreamingRecogniser(MODELS[head], decoding=DECODING)
    (before,) = recogniser.push([wave[:changed]])
    (after,) = recogniser.push([other[changed:]])
    count = len(before.tokens)
    assert (after.tokens[:count], after.times[:count]) == (before.tokens, before.times)
    assert recogniser.finish()[0].tokens == offline(MODELS[head], other).tokens


@pytest.mark.parametrize(
    ("changes", "milliseconds"),
    [
        ({"chunk": 1}, 12.5),
        ({"chunk": 14}, 13 * 80 + 12.5),
        ({"chunk": 1, "causal_subsampling": False}, 70 + 12.5),
        ({"chunk": 3, "subsampling": 4, "causal_subsampling": False}, 2 * 40 + 30 + 12.5),
        ({"chunk": 2, "features": "kaldi"}, 80 + 17.5),
    ],
)
def test_a_chunk_is_given_out_as_soon_as_its_look_ahead_has_come(
    changes: dict[str, object], milliseconds: float
) -> None:
    model = make(**changes)
    recogniser, config = StreamingRecogniser(model), model.config
    assert recogniser.look_ahead_ms == milliseconds
    step = 3 * config.chunk  # the first of the fourth chunk
    needed = 160 * config.subsampling * step + int(16 * milliseconds)
    wave, counts = speech(needed), []
    push = model.encoder.forward

    def counting(*arguments: object) -> object:
        output = push(*arguments)  # type: ignore[arg-type]
        counts.append(int(output.sequences.lengths))
        return output

    model.encoder.forward = counting  # type: ignore[assignment, method-assign]
    recogniser.push([wave[: needed - 1]])
    recogniser.push([wave[needed - 1 :]])
    assert counts == [step, config.chunk]


def test_bad_samples_of_one_stream_leave_the_others_alone() -> None:
    model, wave = MODELS["ctc"], speech(16000)
    recogniser = StreamingRecogniser(model, streams=2)
    recogniser.push([torch.full((16000,), torch.nan), wave])
    assert same(recogniser.finish()[1], offline(model, wave))


def test_a_checkpoint_whose_features_need_the_whole_utterance_is_refused() -> None:
    with pytest.raises(UserError, match="'nemo' are normalised over the whole.*nemo_plain"):
        StreamingRecogniser(make(features="nemo"))


def test_a_model_that_does_not_stream_is_refused() -> None:
    with pytest.raises(UserError, match="this ConformerConfig does not stream.*streaming preset"):
        StreamingRecogniser(make(attention="full"))
    with pytest.raises(UserError, match="train mode does not stream; call its eval"):
        StreamingRecogniser(make().train())


def test_the_wrong_number_of_pieces_and_samples_behind_the_end_are_refused() -> None:
    recogniser = StreamingRecogniser(MODELS["ctc"], streams=2)
    with pytest.raises(ValueError, match="there are 2 streams; got 1 pieces"):
        recogniser.push([speech(10)])
    recogniser.finish([1])
    with pytest.raises(ValueError, match="has ended"):
        recogniser.push([speech(10), speech(10)])


def test_full_context_weights_put_into_streaming_mode_warn_and_stream() -> None:
    whole = make(attention="full", causal_convolution=False, causal_subsampling=False)
    with pytest.warns(UserWarning, match="trained to hear what comes later") as caught:
        model = put_in_streaming_mode(whole, chunk=7, left_context=20)
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert model.config.chunk == 7 and not model.training
    shared = zip(whole.parameters(), model.parameters(), strict=True)
    assert all(one.data_ptr() == other.data_ptr() for one, other in shared)
    wave = speech(30000)
    (found,) = online(StreamingRecogniser(model), [wave], [[3000]])
    assert same(found, offline(model, wave))


def test_a_chunk_that_training_drew_does_not_warn_and_another_does() -> None:
    model = make(chunks=(1, 2, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert put_in_streaming_mode(model, chunk=4, left_context=9).config.chunk == 4
    with pytest.warns(UserWarning, match="trained with chunks of 1, 2, 4 steps; chunks of 5"):
        put_in_streaming_mode(model, chunk=5, left_context=9)


def command(folder: Path, model: ConformerASRModel) -> list[str]:
    """Write a checkpoint and 5 s of sound; return the words that transcribe it."""
    tokenizer = CharacterTokenizer("abcdefghij ")
    portable = PortableModel(
        model="conformer/conformer",
        distribution="asr-lab-conformer",
        distribution_version="?",
        config=model.config.to_dict(),
        tokenizer_kind=tokenizer.kind,
        tokenizer=tokenizer.to_bytes(),
        tensors=model.state_dict(),
        features=model.config.features,
    )
    write_portable(folder / "best.pt", portable)
    soundfile.write(folder / "a.wav", speech(16000 * 5).clamp(-1, 1).numpy(), 16000)
    words = ["transcribe", str(folder / "a.wav"), "--checkpoint", str(folder / "best.pt")]
    return [*words, "--device", "cpu", "--format", "json"]


@pytest.mark.parametrize("head", ["ctc", "tdt"])
def test_the_command_follows_a_file_and_prints_the_look_ahead(
    head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(tmp_path, make(head=head))
    assert main(words) == 0
    whole = json.loads(capsys.readouterr().out)
    assert main([*words, "--stream"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == whole and len(set(whole["text"])) > 3
    assert printed.err.splitlines()[-1] == "asr-lab: look-ahead 92.5 ms"
    assert main([*words, "--stream", "--beam", "3"]) == 2
    assert "streams are searched greedily; found a beam of 3" in capsys.readouterr().err


def test_the_command_keeps_full_attention_within_a_context(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = make(attention="full", subsampling=4)
    near = ConformerASRModel(
        replace(whole.config, attention="local", left_context=3, right_context=3)
    )
    near.load_state_dict(whole.state_dict())
    found = []
    for model, flags in ((whole, []), (whole, ["--context-seconds", "0.12"]), (near, [])):
        assert main([*command(tmp_path, model), *flags]) == 0
        found.append(json.loads(capsys.readouterr().out)["text"])
    assert found[0] != found[1] == found[2] and len(set(found[1])) > 3
