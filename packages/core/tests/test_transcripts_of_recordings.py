"""What a trained model writes down does not depend on anything but the recording."""

import json
from itertools import pairwise, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import pytest
import soundfile

from asr_lab.data.audio_batch import AudioBatch
from asr_lab.evaluation import Transcriber, Transcript
from asr_lab.evaluation.recogniser import Recogniser, load_checkpoint
from asr_lab.models.base import Hypothesis
from asr_lab.testing.speech import tone_speech

RATE = 16000
LETTER = 0.115
"""Seconds that the longest letter lasts."""
STEP = 0.04
"""Seconds of an encoder step of the probe: hops of 10 ms, of which there are four."""
NOISE = 98
"""The level of the noise behind `tone_speech`, in steps of 16 bits."""
TEXTS = ["bed", "fade bad cab", "face dab fed bed cab ace", "dace"]


@pytest.fixture
def transcriber(checkpoint: Path, probe: Path) -> Transcriber:
    return Transcriber.load(checkpoint, device="cpu")


def spoken(path: Path, text: str, rate: int = RATE, channels: int = 1) -> Path:
    samples = tone_speech(text, 4321, rate) / 32768  # libsndfile spoils 16-bit stereo as MP3
    soundfile.write(path, np.stack([samples] * channels, 1), rate)
    return path


def heard(transcriber: Transcriber, *paths: Path) -> list[Transcript]:
    return list(transcriber.transcribe(paths))


def noise(seconds: float, level: float = NOISE) -> np.ndarray:
    draw = np.random.default_rng(5).normal(0, level, round(seconds * RATE))
    return draw.astype(np.int16)


def test_the_order_of_files_changes_only_the_order_of_transcripts(
    transcriber: Transcriber, tmp_path: Path
) -> None:
    paths = [spoken(tmp_path / f"{k}.wav", text) for k, text in enumerate(TEXTS[:3])]
    alone = {str(path): heard(transcriber, path)[0] for path in paths}
    assert [one.text for one in alone.values()] == TEXTS[:3]
    for order in permutations(paths):
        assert heard(transcriber, *order) == [alone[str(path)] for path in order]


def test_a_file_that_is_named_twice_is_transcribed_twice(
    transcriber: Transcriber, tmp_path: Path
) -> None:
    path = spoken(tmp_path / "a.wav", "bed")
    first, second = heard(transcriber, path, path)
    assert first == second and first.text == "bed"


@pytest.mark.parametrize("seconds", [0.1, 1.0, 1000.0])
def test_times_do_not_depend_on_what_shares_a_batch(
    seconds: float, transcriber: Transcriber, checkpoint: Path, tmp_path: Path
) -> None:
    paths = [spoken(tmp_path / f"{k}.wav", text) for k, text in enumerate(TEXTS)]
    other = Transcriber.load(checkpoint, device="cpu", batch_seconds=seconds)
    assert heard(other, *paths) == heard(transcriber, *paths)


@pytest.mark.parametrize("chunk", [3.0, 7.5, 600.0])
def test_audio_that_fits_into_a_chunk_does_not_feel_its_size(
    chunk: float, transcriber: Transcriber, checkpoint: Path, tmp_path: Path
) -> None:
    path = spoken(tmp_path / "a.wav", TEXTS[2])
    other = Transcriber.load(checkpoint, device="cpu", chunk_seconds=chunk)
    assert heard(other, path) == heard(transcriber, path)


@pytest.mark.parametrize("chunk", [2.0, 3.3, 4.0])
def test_words_of_long_audio_are_when_they_are_in_the_whole(
    chunk: float, transcriber: Transcriber, checkpoint: Path, tmp_path: Path
) -> None:
    path = spoken(tmp_path / "a.wav", " ".join(TEXTS))
    (whole,) = heard(transcriber, path)
    (parts,) = heard(Transcriber.load(checkpoint, device="cpu", chunk_seconds=chunk), path)
    assert len(parts.segments) > 1 and parts.text == whole.text
    for ours, theirs in zip(parts.words, whole.words, strict=True):
        assert abs(ours.start - theirs.start) <= 2 * STEP  # one step on either side of a seam
        assert abs(ours.end - theirs.end) <= 2 * STEP


@pytest.mark.parametrize("text", TEXTS)
def test_words_follow_one_another_inside_the_audio(
    text: str, transcriber: Transcriber, tmp_path: Path
) -> None:
    (found,) = heard(transcriber, spoken(tmp_path / "a.wav", text))
    assert [word.text for word in found.words] == text.split() == found.text.split()
    assert 0 <= found.words[0].start and found.words[-1].end <= found.duration
    assert all(word.start < word.end for word in found.words)
    assert all(left.end <= right.start for left, right in pairwise(found.words))


@pytest.mark.parametrize("before", [0.5, 1.7, 4.2])
def test_silence_in_front_delays_every_word_by_as_much(
    before: float, transcriber: Transcriber, tmp_path: Path
) -> None:
    speech = tone_speech("fade bad cab", 4321, RATE)
    soundfile.write(tmp_path / "a.wav", speech, RATE)
    soundfile.write(tmp_path / "b.wav", np.concatenate([noise(before), speech]), RATE)
    first, second = heard(transcriber, tmp_path / "a.wav", tmp_path / "b.wav")
    assert first.text == second.text == "fade bad cab"
    for ours, theirs in zip(first.words, second.words, strict=True):
        assert abs(theirs.start - ours.start - before) <= 2 * STEP


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [22050, 44100, 48000])
@pytest.mark.parametrize("ending", ["flac", "ogg", "mp3"])
def test_every_encoding_of_a_recording_says_the_same(
    ending: str, rate: int, channels: int, transcriber: Transcriber, tmp_path: Path
) -> None:
    path = spoken(tmp_path / f"a.{ending}", "fade bad", rate, channels)
    (found,) = heard(transcriber, path)
    assert found.text == "fade bad"
    assert [word.text for word in found.words] == ["fade", "bad"]
    assert found.words[1].start == pytest.approx(5.5 * 0.1, abs=5 * LETTER - 0.4 + 2 * STEP)


@pytest.mark.parametrize("level", [0, NOISE])
@pytest.mark.parametrize("seconds", [0.5, 3.0, 70.0])
def test_silence_of_any_length_has_no_words(
    seconds: float, level: float, transcriber: Transcriber, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", noise(seconds, level), RATE)
    (found,) = heard(transcriber, tmp_path / "a.wav")
    assert not found.problem and found.duration == seconds
    assert (found.text, found.words, found.segments) == ("", (), ())


def test_the_shortest_audio_that_is_taken_is_as_long_as_the_message_says(
    transcriber: Transcriber, tmp_path: Path
) -> None:
    least = RATE // 200  # frames of the probe are centred: half a hop makes one
    for samples in (1, least - 1, least, least + 1):
        soundfile.write(tmp_path / f"{samples:05}.wav", noise(1)[:samples], RATE)
    found = heard(transcriber, *sorted(tmp_path.iterdir()))
    told = [one.problem.partition(": ")[2] for one in found]
    assert told[0] == "lasts 0.0625 ms, which is too short; the model needs 5 ms or more"
    assert told[1].endswith("the model needs 5 ms or more") and told[2:] == ["", ""]


def test_progress_goes_up_to_all_of_the_audio_even_past_bad_files(
    checkpoint: Path, probe: Path, tmp_path: Path
) -> None:
    paths = [spoken(tmp_path / f"{k}.wav", " ".join(TEXTS)) for k in range(3)]
    spoilt = np.tile(tone_speech("bed", 1, RATE) / 32768, 20)
    spoilt[-1] = np.nan
    soundfile.write(tmp_path / "nan.wav", spoilt, RATE, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no audio")
    transcriber = Transcriber.load(checkpoint, device="cpu", chunk_seconds=2.0, batch_seconds=4.0)
    seen: list[tuple[float, float]] = []
    files = [*paths, tmp_path / "nan.wav", tmp_path / "text.wav", tmp_path / "none.wav"]
    list(transcriber.transcribe(files, lambda done, total: seen.append((done, total))))
    done = [one for one, _ in seen]
    assert done == sorted(done) and done[0] == 0 and len(set(done)) > 3
    assert {total for _, total in seen} == {seen[0][1]}
    assert done[-1] == pytest.approx(seen[0][1])


def test_no_files_make_no_transcripts(transcriber: Transcriber) -> None:
    assert heard(transcriber) == []


def test_transcripts_come_before_all_files_are_heard(
    transcriber: Transcriber, checkpoint: Path, tmp_path: Path
) -> None:
    paths = [spoken(tmp_path / f"{k:02}.wav", TEXTS[2]) for k in range(40)]
    impatient = Transcriber.load(checkpoint, device="cpu", batch_seconds=0.1)
    seen: list[float] = []
    found = impatient.transcribe(paths, lambda done, total: seen.append(done / total))
    assert next(found).text == TEXTS[2]
    assert seen[-1] < 0.5


def test_a_loaded_model_and_its_file_transcribe_alike(
    transcriber: Transcriber, checkpoint: Path, tmp_path: Path
) -> None:
    path = spoken(tmp_path / "a.wav", TEXTS[1])
    for source in (load_checkpoint(checkpoint), checkpoint.parent, str(checkpoint)):
        assert heard(Transcriber.load(source, device="cpu"), path) == heard(transcriber, path)


def test_a_transcript_holds_nothing_that_json_lacks(
    transcriber: Transcriber, tmp_path: Path
) -> None:
    (found,) = heard(transcriber, spoken(tmp_path / "a.wav", TEXTS[1]))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain == found.to_dict()
    for part in (*plain["words"], *plain["segments"]):
        assert part["start"] == round(part["start"], 3) and part["end"] == round(part["end"], 3)


class Listening(Recogniser):
    """Notes how long the utterances of each batch are, in samples."""

    batches: ClassVar[list[list[int]]] = []

    def hypotheses(self, batch: AudioBatch) -> list[Hypothesis]:
        self.batches.append(batch.lengths.tolist())
        return super().hypotheses(batch)


def test_recordings_of_like_length_share_a_batch(checkpoint: Path, probe: Path) -> None:
    listening = Listening.of(load_checkpoint(checkpoint), device="cpu")
    with TemporaryDirectory() as folder:
        texts = ["bed", "fade bad cab face dab fed bed cab ace"] * 5
        files = [spoken(Path(folder) / f"{n}.wav", text) for n, text in enumerate(texts)]
        list(Transcriber(recogniser=listening, batch_seconds=15.0).transcribe(files))
    padded = sum(len(batch) * max(batch) for batch in listening.batches)
    assert len(listening.batches) > 1 and sum(map(len, listening.batches)) == len(files)
    assert padded < 1.3 * sum(map(sum, listening.batches))
