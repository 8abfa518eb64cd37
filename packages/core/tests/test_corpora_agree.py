"""The same corpus reads the same in every format, by name and without heavy imports."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr_lab.data.names import read_dataset, resolve
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.plugins import Registry
from asr_lab.plugins.builtin import asr_lab_register
from asr_lab.utils.errors import UserError

MILLISECOND = 1e-3
READERS = (
    "ami",
    "checks",
    "common_voice",
    "coraal",
    "covost",
    "earnings",
    "fleurs",
    "folder",
    "gigaspeech",
    "hub",
    "kaldi",
    "leaderboards",
    "lhotse",
    "librispeech",
    "manifests",
    "mls",
    "names",
    "spgispeech",
    "tedlium",
    "voxpopuli",
)


@st.composite
def corpora(draw: st.DrawFn) -> list[Utterance]:
    """Draw segments of a few recordings, at whole milliseconds."""
    words = st.lists(st.text("aäbß'", min_size=1, max_size=4), min_size=1, max_size=3)
    found = []
    for number in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, 10**6)) * MILLISECOND
        duration = draw(st.integers(1, 30000)) * MILLISECOND
        path = f"/far/{draw(st.integers(0, 2))}.wav"
        found.append(
            Utterance(
                id=f"u{number}",
                audio=AudioSource(path=path, start=start, duration=duration),
                text=" ".join(draw(words)),
                duration=duration,
                language=draw(st.sampled_from(["de", "en_us"])),
                speaker=draw(st.sampled_from(["s1", "s2"])),
            )
        )
    return found


def as_manifest(utterance: Utterance) -> dict[str, object]:
    return {
        "id": utterance.id,
        "audio_filepath": utterance.audio.path,
        "offset": utterance.audio.start,
        "duration": utterance.duration,
        "text": utterance.text,
        "lang": utterance.language,
        "speaker": utterance.speaker,
    }


def as_cut(utterance: Utterance) -> dict[str, object]:
    source = {"type": "file", "channels": [0], "source": utterance.audio.path}
    spoken = {"text": utterance.text, "language": utterance.language, "speaker": utterance.speaker}
    return {
        "id": utterance.id,
        "start": utterance.audio.start,
        "duration": utterance.duration,
        "supervisions": [{"id": f"{utterance.id}-0", "start": 0, "duration": 1, **spoken}],
        "recording": {"id": utterance.audio.path, "sources": [source]},
        "type": "MonoCut",
    }


def write_kaldi(folder: Path, corpus: list[Utterance]) -> None:
    folder.mkdir(exist_ok=True)
    paths = {utterance.audio.path: Path(utterance.audio.path).stem for utterance in corpus}
    tables: dict[str, list[str]] = {"wav.scp": [f"{name} {path}" for path, name in paths.items()]}
    for utterance in corpus:
        name, audio = utterance.id, utterance.audio
        end = audio.start + utterance.duration
        tables.setdefault("segments", []).append(
            f"{name} {paths[audio.path]} {audio.start:.3f} {end:.3f}"
        )
        tables.setdefault("text", []).append(f"{name} {utterance.text}")
        tables.setdefault("utt2spk", []).append(f"{name} {utterance.speaker}")
        tables.setdefault("utt2lang", []).append(f"{name} {utterance.language}")
    for table, lines in tables.items():
        (folder / table).write_text("\n".join(lines), encoding="utf-8")


def rounded(utterance: Utterance) -> Utterance:
    """Return an utterance at whole milliseconds: Kaldi stores ends, not lengths."""
    start, duration = round(utterance.audio.start, 3), round(utterance.duration, 3)
    audio = AudioSource(path=utterance.audio.path, start=start, duration=duration)
    return replace(utterance, audio=audio, duration=duration)


def by_name(name: str, split: str = "test") -> Sequence[Utterance]:
    registry = Registry()
    with registry.registering("core"):
        asr_lab_register(registry)
    return read_dataset(resolve(name, registry, split))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(corpus=corpora())
def test_a_corpus_reads_the_same_in_every_format(tmp_path: Path, corpus: list[Utterance]) -> None:
    manifest, cuts = tmp_path / "m.jsonl", tmp_path / "c.jsonl"
    manifest.write_text("\n".join(json.dumps(as_manifest(u)) for u in corpus), encoding="utf-8")
    cuts.write_text("\n".join(json.dumps(as_cut(u)) for u in corpus), encoding="utf-8")
    write_kaldi(tmp_path / "kaldi", corpus)
    assert by_name(f"manifest:{manifest}") == corpus
    assert by_name(f"lhotse:{cuts}") == corpus
    kaldi = by_name(f"kaldi:{tmp_path / 'kaldi'}")
    assert [rounded(u) for u in kaldi] == [rounded(u) for u in corpus]


def test_an_empty_manifest_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").touch()
    with pytest.raises(UserError, match=r"manifest/all \(.*m.jsonl\) is empty"):
        by_name(f"manifest:{tmp_path / 'm.jsonl'}")


def test_two_files_with_one_text_share_an_id_and_are_refused(tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, [0.0] * 160, 16000)
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(UserError, match="has id 'a' twice"):
        by_name(f"folder:{tmp_path}")


def test_what_comes_with_the_core_needs_no_location() -> None:
    found = by_name("spoken", "dev")
    assert found and all(utterance.duration > 0 for utterance in found)
    assert {utterance.language for utterance in found} == {"en"}


def test_readers_import_neither_torch_nor_numpy() -> None:
    modules = ", ".join(f"asr_lab.data.{name}" for name in READERS)
    heavy = "{'torch', 'numpy', 'soundfile', 'lhotse'} & set(sys.modules)"
    code = f"import sys, {modules}; sys.exit(str({heavy}) if {heavy} else 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
