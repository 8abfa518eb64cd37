"""Features of arriving audio are those of the whole, however it is cut."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.audio.features import features, recipe
from asr_lab.audio.online import OnlineFeatures
from asr_lab.audio.recipes import FeatureRecipe
from asr_lab.utils.errors import UserError

NAMES = ("kaldi", "mfcc", "nemo_plain")
TOLERANCE = 1e-5
"""Relative; sums of other numbers of frames at once are rounded in another order."""


def speech(samples: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples + 8, generator=generator)
    return 0.1 * noise.unfold(0, 8, 1).mean(-1)[:samples]


def whole(rules: FeatureRecipe, wave: Tensor) -> Tensor:
    found, count = features(rules, wave[None], torch.tensor([len(wave)]))
    return found[0, : int(count[0])]


def pieces(wave: Tensor, cuts: list[int]) -> list[Tensor]:
    """Cut into pieces of these lengths, in turn, until nothing is left."""
    found: list[Tensor] = []
    start = 0
    while start < len(wave):
        length = cuts[len(found) % len(cuts)]
        found.append(wave[start : start + length])
        start += length
    return found or [wave]


def push(
    online: OnlineFeatures, parts: list[Tensor], ends: list[int] | None = None
) -> list[Tensor]:
    """Push one piece for each stream, with NaN as padding, and return each one's new frames."""
    lengths = torch.tensor([len(part) for part in parts])
    samples = torch.full((len(parts), int(lengths.max())), torch.nan)
    for row, part in zip(samples, parts, strict=True):
        row[: len(part)] = part
    ending = torch.tensor([row in (ends or []) for row in range(len(parts))])
    found, count = online.push(samples, lengths, ending)
    return [row[:n] for row, n in zip(found, count.tolist(), strict=True)]


def close(found: Tensor, expected: Tensor) -> bool:
    assert found.shape == expected.shape
    limit = TOLERANCE * max(1.0, float(expected.abs().max()) if expected.numel() else 0.0)
    return torch.allclose(found, expected, rtol=0, atol=limit)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.sampled_from([8000, 16000]),
    st.integers(0, 2500),
    st.lists(st.one_of(st.just(1), st.integers(1, 1200)), min_size=1, max_size=5),
)
def test_pieces_of_any_size_give_the_frames_of_the_whole(
    name: str, rate: int, samples: int, cuts: list[int]
) -> None:
    rules, wave = recipe(name, 23, rate), speech(samples)
    cuts = cuts if max(cuts) > 5 else [*cuts, 300]
    online, found = OnlineFeatures(rules, 1), []
    for piece in pieces(wave, cuts):
        found += push(online, [piece])
    found += push(online, [wave[:0]], ends=[0])
    assert close(torch.cat(found), whole(rules, wave))


@pytest.mark.parametrize("name", NAMES)
def test_pieces_of_one_sample_give_the_frames_of_the_whole(name: str) -> None:
    rules, wave = recipe(name, 23, 8000), speech(700)
    online = OnlineFeatures(rules, 1)
    found = [frame for piece in pieces(wave, [1]) for frame in push(online, [piece])]
    assert close(torch.cat(found + push(online, [wave[:0]], ends=[0])), whole(rules, wave))


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(50, 900)), min_size=2, max_size=4),
)
def test_streams_that_stand_at_different_places_do_not_disturb_each_other(
    name: str, streams: list[tuple[int, int]]
) -> None:
    rules = recipe(name, 23, 16000)
    waves = [speech(length, seed) for seed, (length, _) in enumerate(streams)]
    cut = [pieces(wave, [size]) for wave, (_, size) in zip(waves, streams, strict=True)]
    online = OnlineFeatures(rules, len(waves))
    found: list[list[Tensor]] = [[] for _ in waves]
    for turn in range(max(map(len, cut))):
        parts = [some[turn] if turn < len(some) else torch.zeros(0) for some in cut]
        ends = [row for row, some in enumerate(cut) if turn == len(some) - 1]
        for row, frames in enumerate(push(online, parts, ends)):
            found[row].append(frames)
    for wave, stream in zip(waves, found, strict=True):
        assert close(torch.cat(stream), whole(rules, wave))


def test_a_frame_is_given_with_the_last_sample_of_its_window_and_not_before() -> None:
    rules, wave = recipe("nemo_plain", 23, 16000), speech(4000)
    online = OnlineFeatures(rules, 1)
    assert online.look_ahead == 200
    assert len(push(online, [wave[: 10 * 160 + 199]])[0]) == 10
    assert len(push(online, [wave[10 * 160 + 199 :][:1]])[0]) == 1


def test_what_is_kept_does_not_grow() -> None:
    rules = recipe("nemo_plain", 23, 16000)
    online = OnlineFeatures(rules, 2)
    for turn in range(40):
        push(online, [speech(1111), speech(90 * (turn % 3))])
        assert online._tail.shape[1] < rules.window_length + 2 * rules.hop_length


def test_bad_samples_of_one_stream_leave_the_others_alone() -> None:
    rules, wave = recipe("nemo_plain", 23, 16000), speech(2000)
    online = OnlineFeatures(rules, 2)
    _, found = push(online, [torch.full((1500,), torch.nan), wave], ends=[0, 1])
    assert close(found, whole(rules, wave))


@pytest.mark.parametrize("name", ["nemo", "whisper"])
def test_a_recipe_that_needs_the_whole_utterance_is_refused(name: str) -> None:
    expected = f"features '{name}' are normalised over the whole utterance.*nemo_plain"
    with pytest.raises(UserError, match=expected):
        OnlineFeatures(recipe(name, 80, 16000), 1)


def test_a_stream_that_has_ended_takes_no_more_samples() -> None:
    online = OnlineFeatures(recipe("kaldi", 23, 16000), 2)
    push(online, [speech(500), speech(500)], ends=[1])
    push(online, [speech(500), speech(0)])
    with pytest.raises(ValueError, match="has ended"):
        push(online, [speech(0), speech(1)])


def test_plain_features_are_those_of_nemo_before_they_are_normalised() -> None:
    wave = speech(4000)
    plain = whole(recipe("nemo_plain", 23, 16000), wave)
    normal = whole(recipe("nemo", 23, 16000), wave)
    again = (plain - plain.mean(0)) / (plain.std(0) + 1e-5)
    assert torch.allclose(again, normal, atol=1e-4)
