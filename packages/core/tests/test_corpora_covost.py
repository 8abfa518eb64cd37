"""CoVoST 2: Common Voice's clips, split by tables of its own that lie beside them."""

from pathlib import Path

import pytest
import soundfile

from asr_lab.audio.files import read_audio
from asr_lab.data import covost
from asr_lab.data.config import COVOST_CONFIGS
from asr_lab.data.names import read_dataset, resolve
from asr_lab.plugins.loading import installed_plugins
from asr_lab.utils.errors import UserError

VALIDATED = "client_id\tpath\tsentence\tup_votes"
TABLE = "path\ttranslation\tsplit"
CUT = "path\tsentence\ttranslation\tclient_id"


def lines(path: Path, *rows: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def corpus(root: Path, language: str = "de", tables: str = "", target: str = "en") -> Path:
    folder = root / language
    lines(
        folder / "validated.tsv",
        VALIDATED,
        'v1\tc1.mp3\t"Ja", sagte er.\t2',
        "v2\tc2.mp3\tNein.\t2",
        "v1\tc3.mp3\tVielleicht.\t2",
        "v3\tc4.mp3\tNie.\t3",
    )
    lines(
        root / tables / f"covost_v2.{language}_{target}.tsv",
        TABLE,
        "c2.mp3\tNo.\ttest",
        "c1.mp3\tYes.\ttest",
        "c3.mp3\tMaybe.\ttrain",
        "c4.mp3\tNever.\ttrain_covost",
    )
    for number in range(1, 5):
        clip = folder / "clips" / f"c{number}.mp3"
        clip.parent.mkdir(exist_ok=True)
        soundfile.write(clip, [0.0] * 8000, 16000)
    return root


@pytest.mark.parametrize("tables", ["", "de"])
def test_the_text_is_what_is_spoken_in_the_order_of_the_table(tmp_path: Path, tables: str) -> None:
    first, second = covost.read(corpus(tmp_path, tables=tables), "de", "test")
    assert (first.id, first.text, first.speaker) == ("c2", "Nein.", "v2")
    assert (second.id, second.text, second.language) == ("c1", '"Ja", sagte er.', "de")
    assert first.duration == pytest.approx(0.5, abs=0.1)
    assert len(read_audio(first.audio, 16000)) == pytest.approx(8000, abs=1600)


def test_the_training_split_has_what_the_corpus_added(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    assert [each.id for each in covost.read(root, "de", "train")] == ["c3", "c4"]
    assert covost.read(root, "de", "dev") == []


def test_the_folder_of_a_language_is_a_location_too(tmp_path: Path) -> None:
    corpus(tmp_path, "sv-SE", tables="sv-SE")
    assert len(covost.read(tmp_path / "sv-SE", "sv-SE", "test")) == 2
    assert {"sv-SE", "zh-CN", "en"} < set(COVOST_CONFIGS) and len(COVOST_CONFIGS) == 22


def test_the_language_is_that_of_the_model_if_it_is_not_said(tmp_path: Path) -> None:
    root, registry = corpus(tmp_path), installed_plugins().registry
    found = read_dataset(resolve(f"covost2:{root}", registry, "test", "de"))
    assert [each.id for each in found] == ["c2", "c1"]
    with pytest.raises(UserError, match="covost2 needs a configuration; say covost2/CONFIG"):
        resolve(f"covost2:{root}", registry, "test")


def test_any_table_of_a_language_splits_it(tmp_path: Path) -> None:
    corpus(tmp_path, "en", target="zh-CN")
    assert [each.id for each in covost.read(tmp_path, "en", "test")] == ["c2", "c1"]


def test_what_the_corpus_own_script_cut_is_taken_as_it_is(tmp_path: Path) -> None:
    root = corpus(tmp_path)
    lines(root / "covost_v2.de_en.test.tsv", CUT, "c4.mp3\tNie.\tNever.\tv3")
    assert [each.id for each in covost.read(root, "de", "train")] == ["c3", "c4"]
    (root / "de" / "validated.tsv").unlink()
    (found,) = covost.read(root, "de", "test")
    assert (found.id, found.text, found.speaker) == ("c4", "Nie.", "v3")


def test_a_clip_that_is_not_there_is_left_to_the_policy(tmp_path: Path) -> None:
    (corpus(tmp_path) / "de" / "clips" / "c2.mp3").unlink()
    missing, there = covost.read(tmp_path, "de", "test")
    assert missing.duration == 0 < there.duration
    with pytest.raises(UserError, match=r"c2\.mp3: is not there"):
        read_audio(missing.audio, 16000)


def test_damage_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs covost_v2\.de_TARGET\.tsv in .*; unpack one of"):
        covost.read(tmp_path, "de", "test")
    root = corpus(tmp_path)
    lines(root / "de" / "validated.tsv", VALIDATED, "v1\tc1.mp3\tJa.\t2")
    with pytest.raises(
        UserError,
        match=r"validated\.tsv lacks 1 of 2 clips of covost_v2\.de_en\.tsv, first c2\.mp3; take cv",
    ):
        covost.read(root, "de", "test")
    lines(root / "de" / "validated.tsv", "path\tsentence", "c1.mp3\tJa.")
    with pytest.raises(UserError, match=r"validated\.tsv has no column client_id; it has path, s"):
        covost.read(root, "de", "test")
    (root / "de" / "validated.tsv").unlink()
    with pytest.raises(UserError, match=r"needs .*validated\.tsv; unpack cv-corpus-4-2019-12-10"):
        covost.read(root, "de", "test")
    lines(root / "covost_v2.de_en.tsv", "path\ttranslation", "c1.mp3\tYes.")
    with pytest.raises(UserError, match=r"de_en\.tsv has no column split; it has path, translat"):
        covost.read(root, "de", "test")
    lines(root / "covost_v2.de_en.tsv", TABLE, "c1.mp3\tYes.")
    with pytest.raises(UserError, match=r"de_en\.tsv:2 has 2 fields; the header has 3"):
        covost.read(root, "de", "test")
