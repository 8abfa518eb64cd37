"""Common Voice as it is distributed, on small data of the same layout."""

from pathlib import Path

import pytest
from corpus_files import ids, write_audio, write_text

from asr_lab.data import common_voice
from asr_lab.utils.errors import UserError

HEADER = "client_id\tpath\tsentence\tup_votes\tlocale\tsegment"


def common_voice_root(root: Path, language: str = "de") -> Path:
    lines = ('v1\tc1.mp3\t"Ja", sagte er.\t2\tde\t', "v2\tc2\tNein.\t2\tde")
    write_text(root / language / "test.tsv", HEADER, *lines)
    for name in ("c1", "c2"):
        write_audio(root / language / "clips" / f"{name}.mp3", 0.5)
    return root


def test_common_voice_reads_clips_and_headers(tmp_path: Path) -> None:
    first, second = common_voice.read(common_voice_root(tmp_path), "de", "test")
    assert (first.id, first.text, first.speaker) == ("c1", '"Ja", sagte er.', "v1")
    assert (second.id, second.text, second.language) == ("c2", "Nein.", "de")
    assert second.audio.path == str(tmp_path / "de" / "clips" / "c2.mp3")
    assert first.duration == pytest.approx(0.5, abs=0.1)


def test_common_voice_takes_lengths_from_its_table(tmp_path: Path) -> None:
    table = common_voice_root(tmp_path) / "de" / "clip_durations.tsv"
    write_text(table, "clip\tduration[ms]", "c1.mp3\t1234", "c2.mp3\t2000")
    found = common_voice.read(tmp_path, "de", "test")
    assert [utterance.duration for utterance in found] == [1.234, 2]


def test_common_voice_finds_the_only_language_and_asks_among_several(tmp_path: Path) -> None:
    root = common_voice_root(tmp_path)
    assert ids(common_voice.read(root, "", "test")) == ["c1", "c2"]
    assert ids(common_voice.read(root / "de", "", "test")) == ["c1", "c2"]
    assert ids(common_voice.read(root / "de", "de", "test")) == ["c1", "c2"]
    common_voice_root(tmp_path, "fr")
    with pytest.raises(UserError, match="say common_voice/LANGUAGE:.*: de, fr"):
        common_voice.read(root, "", "test")
    assert ids(common_voice.read(root, "fr", "test")) == ["c1", "c2"]


def test_common_voice_says_what_is_missing(tmp_path: Path) -> None:
    root = common_voice_root(tmp_path)
    with pytest.raises(UserError, match=r"needs fr/test.tsv; languages with test.tsv in .*: de"):
        common_voice.read(root, "fr", "test")
    with pytest.raises(UserError, match="languages with dev.tsv in .*: none"):
        common_voice.read(root, "de", "dev")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "has no column path"),
        (("client_id\tpath",), "has no column sentence; it has client_id, path"),
        ((HEADER, "v1\tc1.mp3"), "test.tsv:2 has 2 fields; the header has 6"),
    ],
)
def test_a_table_of_common_voice_that_does_not_fit_is_refused(
    tmp_path: Path, lines: tuple[str, ...], message: str
) -> None:
    write_text(common_voice_root(tmp_path) / "de" / "test.tsv", *lines)
    with pytest.raises(UserError, match=message):
        common_voice.read(tmp_path, "de", "test")
