"""The embedded data set is what its description says, and a damaged copy is named in one line."""

import hashlib
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from jaxtyping import Float32

from asr_lab.audio.files import audio_duration, read_audio
from asr_lab.data.spoken import COLUMNS, DIGESTS, INDEX, SAMPLE_RATE, SHARD, SHARDS, SPLITS, read
from asr_lab.data.utterance import Utterance
from asr_lab.utils.errors import UnknownNameError, UserError

DOCUMENT = Path(__file__).parents[3] / "docs/data-spoken.md"
LARGEST = 10_000_000
"""Bytes that the data set may add to the wheel."""
STEP = 0.04
"""Seconds per encoder step of a model that shortens 10 ms frames fourfold."""
FASTEST = 1.1
"""Largest speed factor of the usual speed perturbation."""
WIDEBAND = 1e-3
"""Least part of the energy above 4 kHz in the middle utterance; a narrow-band codec leaves 2e-4."""
SPLIT = {split: list(read(None, "en", split)) for split in SPLITS}
EVERYTHING = [utterance for split in SPLITS for utterance in SPLIT[split]]


def hours(utterances: list[Utterance]) -> float:
    """Return how long the utterances are together."""
    return sum(utterance.duration for utterance in utterances) / 3600


def decoded(utterance: Utterance) -> Float32[np.ndarray, " samples"]:
    """Return the samples of an utterance, read the plain way: its bytes are a file."""
    source = utterance.audio
    content = Path(source.path).read_bytes()[source.offset : source.offset + source.size]
    samples: Float32[np.ndarray, " samples"]
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32")
    assert rate == SAMPLE_RATE
    return samples


@pytest.mark.parametrize("name", DIGESTS)
def test_the_shipped_files_match_the_pinned_digests(name: str) -> None:
    assert hashlib.sha256((SHARDS / name).read_bytes()).hexdigest() == DIGESTS[name]


def test_all_shipped_files_fit_in_ten_megabytes() -> None:
    assert sum(path.stat().st_size for path in SHARDS.iterdir()) <= LARGEST


def test_no_sentence_is_in_two_splits_nor_twice_in_one() -> None:
    texts = [utterance.text for utterance in EVERYTHING]
    assert len(set(texts)) == len(texts) > 2500


def test_no_voice_of_one_split_speaks_in_another() -> None:
    variants = [{utterance.speaker.split("+")[1] for utterance in SPLIT[s]} for s in SPLITS]
    assert all(variants)
    assert len(set.union(*variants)) == sum(map(len, variants))


@pytest.mark.parametrize(
    ("split", "least", "shortest", "longest", "voices"),
    [("train", 2400, 1.4, 1.6, 66), ("dev", 100, 0.06, 0.08, 8), ("test", 200, 0.15, 0.17, 12)],
)
def test_every_split_has_the_hours_and_voices_that_the_documents_state(
    split: str, least: int, shortest: float, longest: float, voices: int
) -> None:
    assert len(SPLIT[split]) >= least
    assert shortest <= hours(SPLIT[split]) <= longest
    assert len({utterance.speaker for utterance in SPLIT[split]}) == voices


@pytest.mark.skipif(not DOCUMENT.is_file(), reason="the documents are not beside this package")
def test_the_document_states_the_sizes_and_digests_of_what_is_shipped() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, digest in DIGESTS.items():
        assert f"| `{name}` | `{digest}` |" in text
    for split in SPLITS:
        voices = len({utterance.speaker for utterance in SPLIT[split]})
        minutes = 60 * hours(SPLIT[split])
        assert f"| `{split}` | {len(SPLIT[split]):,} | {minutes:.1f} minutes | {voices} |" in text


def test_every_voice_of_a_split_speaks_about_as_often_as_the_others() -> None:
    for utterances in SPLIT.values():
        speakers = [utterance.speaker for utterance in utterances]
        counts = [speakers.count(speaker) for speaker in set(speakers)]
        assert max(counts) - min(counts) <= 1


def test_transcripts_are_lower_case_words_that_training_has_heard() -> None:
    words = {split: {w for u in SPLIT[split] for w in u.text.split()} for split in SPLITS}
    assert words["dev"] | words["test"] <= words["train"]
    assert len(words["train"]) == 141
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words["train"])
    assert all(3 <= len(u.text.split()) <= 9 and u.text == u.text.strip() for u in EVERYTHING)


def test_ids_are_unique_and_say_the_split() -> None:
    assert len({utterance.id for utterance in EVERYTHING}) == len(EVERYTHING)
    assert all(u.id.startswith(f"spoken-en-{split}-") for split in SPLITS for u in SPLIT[split])
    assert {utterance.language for utterance in EVERYTHING} == {"en"}


def test_the_files_fill_the_shard_from_end_to_end() -> None:
    sources = [utterance.audio for utterance in EVERYTHING]
    assert sources[0].offset == 0
    assert all(before.offset + before.size == after.offset for before, after in pairwise(sources))
    assert sources[-1].offset + sources[-1].size == (SHARDS / SHARD).stat().st_size


def test_ctc_on_characters_can_align_every_utterance_even_at_the_fastest_speed() -> None:
    for utterance in EVERYTHING:
        needed = len(utterance.text) + sum(a == b for a, b in pairwise(utterance.text))
        assert utterance.duration / FASTEST / STEP >= needed, utterance.id


def test_every_utterance_is_a_file_of_its_own_with_the_length_of_the_index() -> None:
    for utterance in EVERYTHING[::61]:
        samples = decoded(utterance)
        assert len(samples) / SAMPLE_RATE == utterance.duration
        assert audio_duration(
            utterance.audio.path, utterance.audio.offset, utterance.audio.size
        ) == (utterance.duration)


def test_the_audio_is_clear_speech_that_neither_clips_nor_starts_with_a_long_silence() -> None:
    for utterance in EVERYTHING[::67]:
        samples = decoded(utterance)
        loud = np.flatnonzero(np.abs(samples) > 0.02)
        assert 0.4 < np.abs(samples).max() < 1.0, utterance.id
        assert loud[0] < 0.25 * SAMPLE_RATE, utterance.id
        assert len(samples) - loud[-1] < 0.5 * SAMPLE_RATE, utterance.id


def test_the_audio_holds_frequencies_above_those_of_a_telephone() -> None:
    shares = []
    for utterance in EVERYTHING[::67]:
        energy = np.abs(np.fft.rfft(decoded(utterance))) ** 2
        shares.append(energy[len(energy) // 2 :].sum() / energy.sum())
    assert float(np.median(shares)) > WIDEBAND


def test_the_lab_reads_an_utterance_from_inside_the_shard() -> None:
    utterance = SPLIT["test"][7]
    samples = read_audio(utterance.audio, SAMPLE_RATE)
    assert np.abs(samples / 32768 - decoded(utterance)).max() < 1e-4


def test_no_configuration_means_english_and_order_never_changes() -> None:
    assert list(read(None, "", "dev")) == SPLIT["dev"]


def test_a_copy_elsewhere_is_read_from_there(tmp_path: Path) -> None:
    shutil.copytree(SHARDS, tmp_path / "copy")
    utterance = next(iter(read(tmp_path / "copy", "en", "test")))
    assert utterance.audio.path == str(tmp_path / "copy" / SHARD)
    assert utterance.text == SPLIT["test"][0].text


def test_an_unknown_configuration_or_split_is_told_with_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="spoken: 'de'; choose from en"):
        read(None, "de", "test")
    with pytest.raises(UnknownNameError, match="spoken: 'tset'; did you mean test"):
        read(None, "en", "tset")


def remove(path: Path) -> None:
    """Delete a file."""
    path.unlink()


def empty(path: Path) -> None:
    """Leave nothing in a file."""
    path.write_bytes(b"")


def heading_only(path: Path) -> None:
    """Leave the first line."""
    path.write_text("\t".join(COLUMNS) + "\n")


def other_heading(path: Path) -> None:
    """Give the columns other names."""
    path.write_bytes(path.read_bytes().replace(b"samples", b"seconds", 1))


def letters_for_a_number(path: Path) -> None:
    """Put letters where the size of the first utterance stands."""
    lines = path.read_text().splitlines()
    fields = lines[1].split("\t")
    lines[1] = "\t".join([*fields[:2], "many", *fields[3:]])
    path.write_text("\n".join(lines))


def not_text(path: Path) -> None:
    """Put bytes there that are no UTF-8."""
    path.write_bytes(b"\xff\xfe\xff")


def cut(path: Path) -> None:
    """Take a few bytes off the end."""
    path.write_bytes(path.read_bytes()[:-5])


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (INDEX, remove, "cannot read .* \\(no such file"),
        (INDEX, empty, "cannot read .* \\(it is empty"),
        (INDEX, heading_only, "is damaged"),
        (INDEX, other_heading, "is damaged"),
        (INDEX, letters_for_a_number, "is damaged"),
        (INDEX, not_text, "cannot read .* \\(it is empty or no text"),
        (SHARD, remove, "is missing"),
        (SHARD, cut, "bytes, not"),
    ],
)
def test_a_damaged_copy_is_named_in_one_line_before_anything_is_read(
    tmp_path: Path, name: str, damage: Callable[[Path], None], message: str
) -> None:
    for shipped in DIGESTS:
        shutil.copy(SHARDS / shipped, tmp_path)
    damage(tmp_path / name)
    with pytest.raises(UserError, match=f"(?i){message}") as caught:
        read(tmp_path, "en", "train")
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_reading_the_list_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from asr_lab.data.spoken import read; list(read(None, 'en', 'test'));"
        "print(sorted({'torch', 'numpy', 'soundfile'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
