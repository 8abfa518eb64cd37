"""The loader gives what was asked for, whoever decodes it; bad audio keeps its place."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr_lab.audio.files import read_audio
from asr_lab.audio.recipes import recipe
from asr_lab.audio.speed import change_speed
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.cache import AudioCache
from asr_lab.data.features import Augmentation, lengths_only, to_batch
from asr_lab.data.index import Index
from asr_lab.data.loader import AudioDataset, Request, evaluation_dataset, load, refuse_bad
from asr_lab.data.manifests import read
from asr_lab.data.plan import MicroBatch
from asr_lab.data.settings import DataConfig
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.reproducibility.seeding import utterance_keys
from asr_lab.utils.errors import UserError

RATE = 16000
CPU = torch.device("cpu")
RECIPE = recipe("nemo", 20, RATE)


def encode(text: str) -> list[int]:
    return [ord(character) for character in text]


@pytest.fixture
def utterances(corpus: Path) -> Sequence[Utterance]:
    return read(corpus / "train" / "manifest.jsonl", "", "all")


def dataset(utterances: Sequence[Utterance], cache_hours: float = 0.0) -> AudioDataset:
    index = Index.build(utterances, encode)
    return AudioDataset(index, encode, sample_rate=RATE, seed=3, cache_hours=cache_hours)


def request(*positions: int, epoch: int = 0, speed: float = 1.0, counted: bool = True) -> Request:
    speeds = np.full(len(positions), speed, np.float32)
    return Request(epoch, MicroBatch(np.array(positions, np.int64), speeds, counted))


def same(one: AudioBatch, other: AudioBatch) -> bool:
    """Compare every field."""
    pairs = ((value, getattr(other, name)) for name, value in vars(one).items())
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_a_batch_holds_the_audio_and_the_tokens_that_were_asked_for(
    utterances: list[Utterance],
) -> None:
    batch = dataset(utterances)[request(7, 0, 20, epoch=4, speed=0.9)]
    chosen = [utterances[i] for i in (7, 0, 20)]
    assert batch.utterance_ids == tuple(u.id for u in chosen)
    assert batch.texts == tuple(u.text for u in chosen)
    assert batch.problems == ("", "", "") and batch.valid.tolist() == [True] * 3
    assert batch.speeds.tolist() == [pytest.approx(0.9)] * 3
    assert torch.equal(batch.keys, utterance_keys(3, 4, batch.utterance_ids))
    for row, utterance in enumerate(chosen):
        samples, _ = soundfile.read(utterance.audio.path, dtype="int16")
        count, tokens = int(batch.lengths[row]), int(batch.token_lengths[row])
        assert np.array_equal(batch.samples[row, :count].numpy(), samples)
        assert not batch.samples[row, count:].any()
        assert batch.tokens[row, :tokens].tolist() == encode(utterance.text)
        assert not batch.tokens[row, tokens:].any()


def test_processes_prefetching_and_cache_change_nothing(utterances: list[Utterance]) -> None:
    draw = np.random.default_rng(0)
    requests = [
        request(*draw.choice(24, draw.integers(1, 6), replace=False).tolist(), epoch=number % 2)
        for number in range(9)
    ]
    plain = dataset(utterances)
    expected = [plain[one] for one in requests]
    for workers, prefetch, hours in ((0, 1, 0.0), (0, 1, 1.0), (2, 1, 0.0), (3, 3, 1.0)):
        loaded = load(dataset(utterances, hours), requests, workers=workers, prefetch=prefetch)
        found = list(loaded)
        assert len(found) == len(expected)
        assert all(map(same, found, expected)), (workers, prefetch, hours)


def test_loading_draws_nothing_from_the_global_generator(utterances: list[Utterance]) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(load(dataset(utterances), [request(1), request(2)], workers=1, prefetch=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_requests_are_asked_for_no_further_ahead_than_prefetching_needs(
    utterances: list[Utterance],
) -> None:
    taken = []

    def requests() -> object:
        for number in range(1000):
            taken.append(number)
            yield request(number % 24)

    loaded = load(dataset(utterances), requests(), workers=2, prefetch=2)  # type: ignore[arg-type]
    for _ in range(3):
        next(loaded)
    assert len(taken) <= 3 + 2 * 2 + 1


# Bad audio


@pytest.fixture
def spoilt(utterances: list[Utterance], tmp_path: Path) -> list[Utterance]:
    """Return utterances of which the second has no file."""
    (tmp_path / "empty.wav").touch()
    missing = Utterance(
        id="gone", audio=AudioSource(path=str(tmp_path / "gone.wav")), text="ab", duration=0.5
    )
    return [utterances[0], missing, *utterances[1:5]]


@pytest.mark.parametrize("hours", [0.0, 1.0])
def test_an_utterance_that_cannot_be_read_is_silence_that_does_not_count(
    hours: float, spoilt: list[Utterance]
) -> None:
    batch = dataset(spoilt, hours)[request(0, 1, 2)]
    assert batch.valid.tolist() == [True, False, True]
    assert "gone.wav: is not there" in batch.problems[1]
    assert int(batch.lengths[1]) == RATE // 2 and not batch.samples[1].any()
    assert batch.tokens[1, :2].tolist() == encode("ab")  # its place in the batch is as planned
    moved = to_batch(batch, RECIPE, CPU)
    assert moved.valid.tolist() == [True, False, True]
    assert moved.features.values.isfinite().all()


def test_bad_audio_can_be_refused_by_name(spoilt: list[Utterance]) -> None:
    loaded = load(dataset(spoilt), [request(0), request(2, 1)], workers=0, prefetch=1)
    checked = refuse_bad(loaded)
    assert len(next(checked)) == 1
    with pytest.raises(UserError, match=r"utterance 'gone': .*; mend it or say --on-bad-utt"):
        next(checked)


def test_a_filler_has_the_shape_of_its_utterance_and_does_not_count(
    utterances: list[Utterance],
) -> None:
    batch = dataset(utterances)[request(4, counted=False)]
    assert batch.valid.tolist() == [False] and batch.problems == ("",)
    assert batch.samples.any()


@pytest.mark.parametrize("size", ["small", "large"])
def test_audio_far_longer_than_its_manifest_says_is_bad(size: str, tmp_path: Path) -> None:
    path, seconds = tmp_path / "long.wav", {"small": 4, "large": 60}[size]
    soundfile.write(path, np.zeros(seconds * RATE), RATE)
    found = [Utterance(id="u", audio=AudioSource(path=str(path)), text="", duration=2.5)]
    (problem,) = dataset(found)[request(0)].problems
    assert problem == f"its audio lasts {seconds}.0 s, not 2.5 s; correct the manifest"
    near = [Utterance(id="u", audio=AudioSource(path=str(path)), text="", duration=seconds - 0.9)]
    assert dataset(near)[request(0)].problems == ("",)
    # A part of a long recording is not the recording.
    part = AudioSource(path=str(path), start=1.0, duration=2.0)
    batch = dataset([Utterance(id="u", audio=part, text="", duration=2.0)])[request(0)]
    assert batch.problems == ("",) and batch.lengths.tolist() == [2 * RATE]


# Memory


def test_what_is_decoded_once_is_not_read_again(
    utterances: list[Utterance], tmp_path: Path
) -> None:
    copies = []
    for utterance in utterances[:4]:
        path = tmp_path / Path(utterance.audio.path).name
        path.write_bytes(Path(utterance.audio.path).read_bytes())
        copies.append(
            Utterance(
                id=utterance.id,
                audio=AudioSource(path=str(path)),
                text=utterance.text,
                duration=utterance.duration,
            )
        )
    kept, read_each_time = dataset(copies, 1.0), dataset(copies)
    expected = kept[request(0, 1, 2, 3)]
    assert kept.decode() == {}
    for utterance in copies:
        os.remove(utterance.audio.path)
    assert same(kept[request(0, 1, 2, 3)], expected)
    assert not read_each_time[request(0)].valid.any()


def test_decoding_ahead_fills_the_cache_and_names_what_is_bad(spoilt: list[Utterance]) -> None:
    kept = dataset(spoilt, 1.0)
    problems = kept.decode()
    assert list(problems) == ["gone"] and "is not there" in problems["gone"]
    assert kept.cache is not None
    cached = [kept.cache.get(position) for position in range(len(spoilt))]
    assert cached[1] is None
    for utterance, samples in zip(spoilt, cached, strict=True):
        if samples is not None:
            assert np.array_equal(samples, read_audio(utterance.audio, RATE))


def test_only_a_corpus_that_fits_is_kept_and_only_on_the_cpu_without_processes(
    utterances: list[Utterance],
) -> None:
    hours = sum(utterance.duration for utterance in utterances) / 3600
    small, large = dataset(utterances, hours * 1.01), dataset(utterances, hours * 0.99)
    assert small.hours == pytest.approx(hours, rel=1e-3)
    assert small.stays_in_memory(CPU) and not large.stays_in_memory(CPU)
    assert not small.stays_in_memory(torch.device("cuda"))


def test_the_cache_keeps_ragged_rows_apart_and_refuses_what_does_not_fit() -> None:
    draw = np.random.default_rng(1)
    durations = draw.integers(0, 200, 40)
    cache = AudioCache(durations, RATE)
    rows = {}
    for index in draw.permutation(40)[:30].tolist():
        length = int(durations[index]) * RATE // 1000 + int(draw.integers(0, 30))
        rows[index] = draw.integers(-32768, 32767, max(length, 1)).astype(np.int16)
        cache.put(index, rows[index])
    for index in range(40):
        found = cache.get(index)
        if index in rows:
            assert found is not None and np.array_equal(found, rows[index])
        else:
            assert found is None
    cache.put(0, np.ones(int(durations[0]) * 17 + 1000, np.int16))
    after = cache.get(0)
    assert after is None if 0 not in rows else np.array_equal(after, rows[0])  # type: ignore[arg-type]
    AudioCache([], RATE)  # nothing to keep is no error


# Features


def test_the_speed_changes_samples_and_frames_of_the_whole_batch(
    utterances: list[Utterance],
) -> None:
    source = dataset(utterances)
    slow, plain = source[request(0, 5, speed=0.9)], source[request(0, 5)]
    expected, lengths = change_speed(plain.samples.float() / 32768, plain.lengths, slow.speeds)
    found = to_batch(slow, RECIPE, CPU)
    assert found.features.lengths.tolist() == [RECIPE.frames(n) for n in lengths.tolist()]
    assert (found.features.lengths > to_batch(plain, RECIPE, CPU).features.lengths).all()
    assert torch.equal(found.keys, slow.keys) and found.utterance_ids == slow.utterance_ids
    assert expected.shape[1] >= int(lengths.max())


AUGMENTED = DataConfig(noise_snr=(5.0, 20.0), gain_db=6.0, freq_masks=2, time_masks=2)


def test_an_utterance_is_augmented_alike_in_any_batch(utterances: list[Utterance]) -> None:
    source, augment = dataset(utterances), Augmentation(AUGMENTED)
    alone = to_batch(source[request(3)], RECIPE, CPU, augment).features
    together = to_batch(source[request(1, 3, 9)], RECIPE, CPU, augment).features
    frames = int(alone.lengths[0])
    torch.testing.assert_close(
        together.values[1, :frames], alone.values[0, :frames], rtol=1e-4, atol=1e-4
    )
    plain = to_batch(source[request(3)], RECIPE, CPU).features.values
    later = to_batch(source[request(3, epoch=1)], RECIPE, CPU, augment).features.values
    assert not torch.allclose(plain, alone.values, atol=0.1)
    assert not torch.allclose(later, alone.values, atol=0.1)


def test_lengths_alone_say_what_counts(spoilt: list[Utterance]) -> None:
    batch = dataset(spoilt)[request(0, 1)]
    found = lengths_only(batch, RECIPE)
    assert torch.equal(found.token_lengths, batch.token_lengths)
    assert found.valid.tolist() == [True, False] and found.features.values.numel() == 0


@pytest.mark.parametrize("setting", ["noise_files", "impulse_responses"])
def test_recordings_are_read_from_a_folder_and_an_empty_one_is_refused(
    setting: str, utterances: list[Utterance], tmp_path: Path
) -> None:
    config = DataConfig(**{setting: str(tmp_path), "noise_snr": (0.0, 5.0)})  # type: ignore[arg-type]
    with pytest.raises(UserError, match=f"no audio files in {tmp_path}; looked for .wav"):
        Augmentation.load(config, RATE, CPU)
    (tmp_path / "below").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, 8000)
    soundfile.write(tmp_path / "below" / "one.wav", noise, 8000)
    augment = Augmentation.load(config, RATE, CPU)
    recordings = augment.noises if setting == "noise_files" else augment.impulse_responses
    assert recordings is not None and recordings.lengths.tolist() == [2 * 8000]
    batch = dataset(utterances)[request(0, 1)]
    plain = to_batch(batch, RECIPE, CPU).features.values
    assert not torch.allclose(to_batch(batch, RECIPE, CPU, augment).features.values, plain)


def test_utterances_to_be_recognised_may_say_anything(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(1600), RATE)
    line = {"audio_filepath": "a.wav", "text": "Ça 7 \u2581"}
    (tmp_path / "a.jsonl").write_text(json.dumps(line))
    source = evaluation_dataset(read(tmp_path / "a.jsonl", "", "all"), RATE)
    batch = source[request(0)]
    assert batch.texts == ("Ça 7 \u2581",) and batch.token_lengths.tolist() == [0]
