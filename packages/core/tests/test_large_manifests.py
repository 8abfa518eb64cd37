"""A large manifest is read once, and what a run makes of it is the same however it came."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_lab.cli import main
from asr_lab.cli.run_options import parse_run
from asr_lab.data import index, manifests, stored
from asr_lab.data.packed import PackedUtterances
from asr_lab.data.plan import plan_epoch
from asr_lab.data.selection import Selection
from asr_lab.plugins import installed_plugins
from asr_lab.testing.speech import write_corpus
from asr_lab.tokenizers import CharacterTokenizer
from asr_lab.training import witnesses
from asr_lab.training.setup import Setup, prepare
from asr_lab.utils.errors import UserError
from asr_lab.utils.files import CACHE

Command = Callable[..., list[str]]
Train = Callable[..., int]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the cache, in which all manifests are large enough to be kept."""
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    for module in (manifests, stored):
        monkeypatch.setattr(module, "LARGE", 1)
    return tmp_path / "cache" / stored.FOLDER


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Return a manifest with everything that may be in one, and utterances of every fault."""
    texts = [f"{first}{second}" for first in ("ab", "é", "fed", "") for second in "abcdefgh"]
    write_corpus(tmp_path / "speech", texts)
    path = tmp_path / "speech" / "manifest.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"lang": ["de", "en"][number % 3 == 0], "speaker": f"s{number % 5}"}
        row |= {"offset": 0.05} if number % 4 == 1 else {}
        row |= {"id": f"n{number}"} if number % 2 else {}
    rows[4]["duration"] = 0.01
    rows[7]["duration"] = 99.0
    rows[9]["text"] = "abc" * 50
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def facts(setup: Setup) -> dict[str, object]:
    """Return what must not depend on how the data were read."""
    config = setup.config
    plan = plan_epoch(setup.index.durations, setup.sources, config.seed, 1, setup.plan)
    return {
        "utterances": list(setup.index.utterances),
        "dev": list(setup.dev.utterances),
        "digests": (setup.index.digest, setup.dev.digest, setup.tokenizer.digest),
        "plans": (setup.plan.digest(), plan.digest(), setup.steps_per_epoch),
        "tokens": setup.index.token_counts.tolist(),
        "told": (setup.describe(), setup.notes, setup.language, setup.unusable),
    }


def prepared(command: Command, manifest: Path, flags: str) -> Setup:
    """Prepare a run on a manifest whose dev set is held out."""
    words = command(f"--data manifest:{manifest} --on-bad-utterance skip", flags)[1:]
    at = words.index("--dev-data")
    del words[at : at + 2]
    return prepare(parse_run(words, installed_plugins().registry)[0], installed_plugins())


@pytest.mark.parametrize(
    "flags",
    [
        "--data.dev-fraction 0.2",
        "--data.speeds 0.9 1.1 --data.max-duration 2",
        "--data.tokenizer letters",  # refuses é
    ],
)
def test_what_is_kept_changes_nothing_about_a_run(
    flags: str, command: Command, manifest: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as plain:
        plain.setattr(stored, "LARGE", 10**9)
        plain.setattr(manifests, "LARGE", 10**9)
        expected = facts(prepared(command, manifest, flags))
        assert not cache.exists()
    assert expected["told"][3]  # type: ignore[index]
    assert facts(prepared(command, manifest, flags)) == expected
    files = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(files) == 7  # two manifests, held out, tokenizer, tokens, digest, steps of an epoch
    again = prepared(command, manifest, flags)
    assert facts(again) == expected
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == files
    assert isinstance(again.index.utterances[0], type(again.dev.utterances[0]))
    sent = pickle.loads(pickle.dumps(again.index))
    assert list(sent.utterances) == expected["utterances"] and sent.digest == again.index.digest


def test_the_second_time_no_line_is_read_and_no_text_is_encoded(
    command: Command, manifest: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(command, manifest, "")

    def never(*arguments: object) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr(manifests, "_utterance", never)
    monkeypatch.setattr("asr_lab.training.starting.train_tokenizer", never)
    with monkeypatch.context() as patch:
        patch.setattr("asr_lab.data.selection.least_steps", never)
        prepared(command, manifest, "")
        with pytest.raises(AssertionError, match="done before"):
            prepared(command, manifest, "--data.dev-fraction 0.5")  # other texts are trained on
    manifest.write_text(manifest.read_text().replace('"ab', '"ba', 1))
    with pytest.raises(AssertionError, match="done before"):
        prepared(command, manifest, "")


def test_a_manifest_that_changes_or_moves_is_read_anew(manifest: Path, cache: Path) -> None:
    found = manifests.read(manifest, "", "all")
    assert isinstance(found, PackedUtterances)
    manifest.write_text(manifest.read_text().replace("fed", "def"))  # of the same size
    changed = manifests.read(manifest, "", "all")
    assert [one.text for one in changed] == [one.text.replace("fed", "def") for one in found]
    moved = shutil.copytree(manifest.parent, manifest.parent.with_name("moved"))
    elsewhere = manifests.read(moved / "manifest.jsonl", "", "all")
    assert {Path(one.audio.path).parent for one in elsewhere} == {moved}
    assert [one.id for one in elsewhere] == [one.id for one in changed]


def test_durations_that_come_from_headers_are_read_each_time(manifest: Path, cache: Path) -> None:
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join([*lines[:-1], lines[-1].replace('"duration"', '"length"')]))
    for _ in range(2):
        found = manifests.read(manifest, "", "all")
        assert found[-1].duration > 0 and not cache.exists()
    Path(found[-1].audio.path).unlink()
    assert manifests.read(manifest, "", "all")[-1].duration == 0.0


def test_a_manifest_that_changes_while_it_is_read_is_not_kept(
    manifest: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = manifests._packed

    def disturbed(path: Path) -> object:
        found = packed(path)
        path.write_text(path.read_text() + "\n")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(manifests, "_packed", disturbed)
        assert len(manifests.read(manifest, "", "all")) == 32
        assert not cache.exists()
    assert len(manifests.read(manifest, "", "all")) == 32 and cache.exists()


def test_what_is_wrong_with_a_large_manifest_is_told_and_nothing_is_kept(
    manifest: Path, cache: Path
) -> None:
    content = manifest.read_text()
    lines = content.splitlines(keepends=True)
    for wrong, told in {
        content + "nonsense\n": ":33 is not JSON",
        content + lines[1]: "lines 2 and 33 have id 'n1'",
        content + lines[2] + lines[0]: "lines 3 and 33 have id 'utterance-0002'",
    }.items():
        manifest.write_text(wrong)
        with pytest.raises(UserError, match=told):
            manifests.read(manifest, "", "all")
        assert not cache.exists()
    manifest.unlink()
    with pytest.raises(UserError, match="cannot read"):
        manifests.read(manifest, "", "all")


def test_a_run_on_what_is_kept_can_be_resumed_and_reproduced_without_it(
    train: Train,
    corpus: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, flags = tmp_path / "run", "--train.digest-every 4 --data.cache-hours 0 --output"
    data = f"--data manifest:{shutil.copytree(corpus / 'train', tmp_path / 'own')}/manifest.jsonl"
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:8")
    assert train(data, flags, run) == 130
    monkeypatch.delenv("PROBE_SIGNAL")
    kept = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in cache.iterdir()}
    assert main(["resume", str(run)]) == 0
    assert {path.name for path in cache.iterdir()} == kept.keys()
    shutil.rmtree(cache)
    for module in (manifests, stored):
        monkeypatch.setattr(module, "LARGE", 10**9)
    assert main(["reproduce", str(run)]) == 0
    assert not cache.exists()


@pytest.mark.parametrize("most", [0, 10**9])
def test_the_first_change_of_a_large_manifest_is_named(
    most: int,
    train: Train,
    corpus: Path,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """However many utterances there are: what is known of each was kept when it was read."""
    monkeypatch.setattr(witnesses, "MOST", most)
    own = Path(shutil.copytree(corpus / "train", tmp_path / "own")) / "manifest.jsonl"
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    assert train(f"--data manifest:{own} --output", tmp_path / "run") == 130
    content = own.read_text().splitlines(keepends=True)
    for lines, told in {
        (*content[:7], content[7].replace('"text": "', '"text": "a'), *content[8:]): "0007', ",
        (*content[:5], *content[6:]): "0006', ",
        (*content[:-2],): "2 at its end are gone",
        (*content, content[0].replace("0000", "0001")): "lines 2 and 25 have id",
    }.items():
        own.write_text("".join(lines))
        capsys.readouterr()
        assert main(["resume", str(tmp_path / "run")]) == 2
        assert told in capsys.readouterr().err
    for module in (manifests, stored):  # another machine, with nothing kept
        monkeypatch.setattr(module, "LARGE", 10**9)
    own.write_text("".join(content[1:]))
    assert main(["resume", str(tmp_path / "run")]) == 2
    assert "the first is utterance 'utterance-0001'" in capsys.readouterr().err


def test_the_witness_and_the_digest_follow_the_same_facts(manifest: Path) -> None:
    found = manifests.read(manifest, "", "all")
    digest, each = index.known_of(found)
    assert digest == index.Index.build(found, lambda text: ()).digest
    assert each == b"".join(map(index.witness, found)) and len(each) == 8 * len(found)
    whole = Selection.whole(found)
    chosen = np.arange(len(found)) % 3 == 1
    part = b"".join(index.witness(one) for one in found[1::3])
    assert whole.only(chosen).witnesses() == part and not whole.witnessed


def test_characters_are_counted_without_all_texts_in_memory() -> None:
    from asr_lab.tokenizers.base import train_characters

    def texts() -> object:
        yield from ("e\u0301a", "ab", "")

    found = train_characters(texts(), 10)  # type: ignore[arg-type]
    assert isinstance(found, CharacterTokenizer) and found.characters == " abé"


def test_durations_can_be_filled_in_as_long_as_they_are_not_mapped(
    manifest: Path, cache: Path
) -> None:
    mapped = manifests.read(manifest, "", "all")
    assert isinstance(mapped, PackedUtterances)
    with pytest.raises(ValueError, match="read-only"):
        mapped.durations[0] = 1.0
    own = PackedUtterances(mapped)
    own.durations[0] = 1.0
    assert own[0].duration == 1.0 and np.array_equal(own.durations[1:], mapped.durations[1:])
