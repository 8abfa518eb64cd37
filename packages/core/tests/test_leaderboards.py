"""The tables of the documentation: every corpus, every test set, and that all can be named."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import pytest

from asr_lab.data.config import ANY_CONFIG
from asr_lab.data.corpora import CORPORA, Corpus, of_repository
from asr_lab.data.leaderboards import BOARDS, MULTILINGUAL, Entry, board_table, corpus_table
from asr_lab.data.names import parse
from asr_lab.data.utterance import Utterance
from asr_lab.plugins.builtin import DATASETS
from asr_lab.plugins.loading import installed_plugins
from asr_lab.plugins.specs import load_target
from asr_lab.utils.errors import UserError

PAGE = Path(__file__).parents[3] / "docs" / "corpora.md"
OTHERS = {"spoken", "manifest", "folder", "kaldi", "lhotse", "hf"}
"""Data sets that are no corpora."""
CALLED = {"mcv": "common_voice"}
"""Corpora that the leaderboards call otherwise."""
REMEDIES = ("unpack", "download", "get the folder", "cut it", "say common_voice/")
BOARD_IDS = [f"{entry.board}: {entry.title}" for entry in BOARDS]


@pytest.mark.parametrize("table", [corpus_table, board_table])
def test_the_tables_of_the_documentation_are_those_of_the_code(table: Callable[[], str]) -> None:
    if not PAGE.is_file():
        pytest.skip("the documents are not beside this package")
    assert f"\n{table()}\n" in PAGE.read_text(encoding="utf-8")


def expanded(cell: str) -> list[str]:
    """Return the names that a cell stands for, as a shell does."""
    head, brace, rest = cell.strip("` ").partition("{")
    inside, _, tail = rest.partition("}")
    return [head + each + tail for each in inside.split(",")] if brace else [head]


def test_names_that_stand_together_in_the_table_are_those_of_the_code() -> None:
    rows = [line.split("|")[3:5] for line in board_table().splitlines()[2:]]
    for entry, (hub, archive) in zip(BOARDS, rows, strict=True):
        assert expanded(hub) == list(entry.hub)
        assert expanded(archive) == ([f"{name}:ROOT" for name in entry.archive] or ["-"])


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_the_table_agrees_with_what_is_registered(corpus: Corpus) -> None:
    (spec,) = (spec for spec in DATASETS if spec.name == corpus.name)
    assert spec.splits == corpus.splits
    folders = spec.configs == ANY_CONFIG and corpus.languages == ()
    assert folders or spec.configs in (corpus.configs or corpus.languages, ())


def test_every_corpus_that_is_registered_is_in_the_table_once() -> None:
    names = [corpus.name for corpus in CORPORA]
    assert len(set(names)) == len(names)
    assert {spec.name for spec in DATASETS} - OTHERS == set(names)
    repositories = [corpus.repository for corpus in CORPORA]
    assert len(set(repositories)) == len(repositories)


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_an_empty_folder_is_told_in_one_line_with_what_to_do(
    tmp_path: Path, corpus: Corpus
) -> None:
    (spec,) = (spec for spec in DATASETS if spec.name == corpus.name)
    read = cast(Callable[[Path, str, str], Iterable[Utterance]], load_target(spec.reader))
    config = "" if spec.configs in ((), ANY_CONFIG) else spec.configs[0]
    with pytest.raises(UserError) as told:
        list(read(tmp_path, config, "test"))
    message = str(told.value)
    assert message.startswith(corpus.name.removesuffix("_long")) and "\n" not in message
    assert str(tmp_path) in message
    assert any(remedy in message for remedy in REMEDIES), message


@pytest.mark.parametrize("entry", BOARDS, ids=BOARD_IDS)
def test_every_test_set_can_be_named_in_its_archive(entry: Entry) -> None:
    registry = installed_plugins().registry
    for name in entry.archive:
        found = parse(f"{name}:ROOT", registry)
        assert found.split.startswith("test")
        assert str(found) == f"{name}:ROOT"


@pytest.mark.parametrize("entry", BOARDS, ids=BOARD_IDS)
def test_every_test_set_of_the_hub_is_of_a_corpus_and_a_language(entry: Entry) -> None:
    registry = installed_plugins().registry
    names = {corpus.name for corpus in CORPORA}
    for name in entry.hub:
        found = parse(name, registry)
        source = of_repository(found.location, found.config)
        assert CALLED.get(source.corpus, source.corpus) in names
        assert len(source.language) == 2
        assert found.split.startswith("test")


def test_the_languages_of_the_multilingual_leaderboard_are_all_there() -> None:
    boards = {entry.title.split(" (")[0]: entry for entry in BOARDS if entry.board == MULTILINGUAL}
    spoken = {
        title: {of_repository(*_place(name)).language for name in entry.hub}
        for title, entry in boards.items()
    }
    assert spoken == {
        "FLEURS": {"de", "fr", "it", "es", "pt", "nl"},
        "Common Voice": {"de", "fr", "it", "es", "nl"},
        "MLS": {"fr", "it", "es", "pt", "nl"},
        "CoVoST 2, often reported beside these": {"de", "fr", "it", "es", "pt"},
    }
    for entry in boards.values():
        tags = [_tag(name) for name in entry.archive]
        assert tags == [of_repository(*_place(name)).language for name in entry.hub]


def _place(name: str) -> tuple[str, str]:
    """Return repository and configuration of a name on the hub."""
    head, _, repository = name.partition(":")
    return repository, head.split("/")[1]


def _tag(name: str) -> str:
    """Return the language of a name in an archive."""
    return name.split("/")[1][:2]
