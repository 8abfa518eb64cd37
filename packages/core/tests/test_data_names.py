"""Names of data sets: taking them apart, filling in what was left out, reading what they mean."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.data.names import DatasetName, ResolvedDataset, parse, read_dataset, resolve
from asr_lab.data.utterance import AudioSource, Utterance
from asr_lab.plugins import DatasetSpec, Registry
from asr_lab.plugins.builtin import asr_lab_register
from asr_lab.plugins.specs import load_target
from asr_lab.utils.errors import AmbiguousNameError, UnknownNameError, UserError

READER = "letters:read"


def core() -> Registry:
    """Return what the core registers."""
    registry = Registry()
    with registry.registering("core"):
        asr_lab_register(registry)
    return registry


def read(location: Path | None, config: str, split: str) -> Iterator[Utterance]:
    """Read a data set in which `split` holds the ids, one letter each."""
    for position, letter in enumerate(split):
        source = AudioSource(path=f"{position}.wav")
        yield Utterance(id=letter, audio=source, text="", duration=1.0)


def letters(split: str) -> ResolvedDataset:
    spec = DatasetSpec(name="letters", summary="", reader="letters:read")
    return ResolvedDataset(spec=spec, plugin="test", config="", split=split, location=None)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("spoken", DatasetName(name="spoken")),
        ("spoken/en", DatasetName(name="spoken", config="en")),
        ("spoken/test", DatasetName(name="spoken", split="test")),
        ("spoken/en/test*2", DatasetName(name="spoken", config="en", split="test", weight=2.0)),
        ("core/spoken/en", DatasetName(name="core/spoken", config="en")),
        ("core/spoken", DatasetName(name="core/spoken")),
        (
            "librispeech/test-clean:/root*0.5",
            DatasetName(name="librispeech", split="test-clean", location="/root", weight=0.5),
        ),
        ("manifest:a:b*c.jsonl", DatasetName(name="manifest", location="a:b*c.jsonl")),
        ("common_voice/de", DatasetName(name="common_voice", config="de")),
        ("common_voice/test:x", DatasetName(name="common_voice", split="test", location="x")),
    ],
)
def test_a_name_is_taken_apart_and_printed_again(text: str, name: DatasetName) -> None:
    assert parse(text, core()) == name
    assert str(name) == text


@given(
    head=st.sampled_from(["spoken", "spoken/en", "fleurs/en_us/dev", "core/librispeech/train"]),
    location=st.text(st.characters(blacklist_characters="*"), max_size=20),
    weight=st.floats(1e-6, 1e6),
)
def test_printing_and_taking_apart_agree(head: str, location: str, weight: float) -> None:
    text = head + (f":{location}" if location else "") + f"*{weight!r}"
    name = parse(text, core())
    assert (name.location, name.weight) == (location, weight)
    assert parse(str(name), core()) == name


def test_a_language_stands_for_its_only_variant() -> None:
    assert parse("fleurs/en", core()).config == "en_us"
    assert parse("fleurs/es/test", core()).config == "es_419"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a data set is written NAME"),
        ("/spoken", "a data set is written NAME"),
        ("spoken/", "empty part"),
        ("spoken//test", "empty part"),
        ("spoken/en/test/more", "too many parts"),
        ("spoken:", "names no location"),
        ("spoken*x", "must be a number"),
        ("spoken*0", "must be above 0"),
        ("spoken*-1", "must be above 0"),
        ("spoken*1e999", "must be above 0"),
        ("spokn", "did you mean spoken"),
        ("spoken/de", "choose from en, train, dev, test"),
        ("spoken/de/test", "no configuration 'de'; choose from en"),
        ("spoken/en/tst", "no split 'tst'; choose from train, dev, test"),
        ("librispeech/test-claen", "did you mean test-clean"),
        ("fleurs/en_uk", "did you mean"),
    ],
)
def test_a_name_that_means_nothing_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(text, core())
    assert "\n" not in str(caught.value)


def test_a_path_without_a_kind_says_which_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").touch()
    with pytest.raises(UserError, match="say manifest:mine/train.jsonl"):
        parse("mine/train.jsonl", core())
    with pytest.raises(UserError, match="say folder:mine"):
        parse("mine", core())


def test_two_plugins_with_one_name_are_told_apart_by_the_plugin() -> None:
    registry = core()
    with registry.registering("other"):
        registry.add(DatasetSpec(name="spoken", summary="", reader=READER, splits=("train",)))
    with pytest.raises(AmbiguousNameError, match="core/spoken or other/spoken"):
        parse("spoken/en", registry)
    assert parse("other/spoken/train", registry) == DatasetName(name="other/spoken", split="train")


def test_a_plugin_and_its_data_set_may_share_a_name() -> None:
    registry = Registry()
    with registry.registering("a"):
        registry.add(DatasetSpec(name="a", summary="", reader=READER, configs=("a", "b")))
    assert parse("a/a", registry) == DatasetName(name="a", config="a")
    assert parse("a/a/test", registry) == DatasetName(name="a", config="a", split="test")
    with registry.registering("b"):
        registry.add(DatasetSpec(name="a", summary="", reader=READER, configs=("a", "b")))
    assert parse("a/a/b/train", registry) == DatasetName(name="a/a", config="b", split="train")


def test_what_was_left_out_is_filled_in() -> None:
    resolved = resolve("spoken", core(), "train")
    assert (resolved.plugin, resolved.config, resolved.split) == ("core", "en", "train")
    assert (resolved.location, resolved.weight, resolved.label) == (None, 1, "spoken/en/train")


def test_a_manifest_is_one_split_whatever_is_asked(tmp_path: Path) -> None:
    for default in ("train", "dev", "test"):
        assert resolve(f"manifest:{tmp_path}", core(), default).split == "all"


def test_evaluation_takes_the_last_split_where_there_is_no_test() -> None:
    registry = Registry()
    registry.add(DatasetSpec(name="x", summary="", reader=READER, splits=("a", "b"), bundled=True))
    assert resolve("x", registry, "test").split == "b"
    with pytest.raises(UnknownNameError, match="no split 'train'; choose from a, b"):
        resolve("x", registry, "train")


@pytest.mark.parametrize(
    ("text", "default", "config"),
    [
        ("fleurs", "en", "en_us"),
        ("fleurs", "en_gb", "en_us"),
        ("fleurs", "de_de", "de_de"),
        ("fleurs/fr_fr", "en", "fr_fr"),
        ("spoken", "de", "en"),
        ("spoken", "en_us", "en"),
        ("librispeech", "en", ""),
    ],
)
def test_a_missing_configuration_is_the_language(
    tmp_path: Path, text: str, default: str, config: str
) -> None:
    text = text if text == "spoken" else f"{text}:{tmp_path}"
    assert resolve(text, core(), "test", default).config == config


@pytest.mark.parametrize("default", ["", "xx"])
def test_an_open_configuration_lists_the_choices(tmp_path: Path, default: str) -> None:
    with pytest.raises(UserError, match="needs a configuration; say fleurs/CONFIG.* en_us, "):
        resolve(f"fleurs:{tmp_path}", core(), "test", default)


def test_folders_are_configurations_where_the_corpus_says_so(tmp_path: Path) -> None:
    (tmp_path / "de").mkdir()
    assert resolve(f"common_voice:{tmp_path}", core(), "test", "de").config == "de"
    assert resolve(f"common_voice:{tmp_path}", core(), "test", "fr").config == ""
    assert resolve(f"common_voice/fr:{tmp_path}", core(), "test", "de").config == "fr"


def test_a_missing_location_is_below_the_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_LAB_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"is not at .*librispeech; say librispeech:LOCATION"):
        resolve("librispeech", core(), "test")
    (tmp_path / "librispeech").mkdir()
    assert resolve("librispeech", core(), "test").location == tmp_path / "librispeech"


def test_a_missing_location_without_data_folder_says_what_it_must_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ASR_LAB_DATA", raising=False)
    with pytest.raises(UserError, match="set ASR_LAB_DATA .* test-clean"):
        resolve("librispeech", core(), "test")


def test_a_location_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder .*none.jsonl' for data set manifest"):
        resolve(f"manifest:{tmp_path}/none.jsonl", core(), "train")


def test_a_data_set_is_read_by_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    assert [utterance.id for utterance in read_dataset(letters("abc"))] == ["a", "b", "c"]


def test_an_empty_data_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    with pytest.raises(UserError, match="letters is empty"):
        read_dataset(letters(""))


def test_an_id_given_twice_is_refused_with_both_places(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    with pytest.raises(UserError, match=r"'b' twice: utterances 2 \(1.wav\) and 4 \(3.wav\)"):
        read_dataset(letters("abcb"))


def publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `read` importable as `letters:read`, as a plugin's reader is."""
    module = types.ModuleType("letters")
    module.__dict__["read"] = read
    monkeypatch.setitem(sys.modules, "letters", module)


def test_every_reader_of_the_core_can_be_imported() -> None:
    for _, spec in core().all(DatasetSpec):
        assert callable(load_target(spec.reader)), spec.name
