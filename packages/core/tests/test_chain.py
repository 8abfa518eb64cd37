"""The chain of a run tells any change to it, and survives a crash at its end."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.cli import main
from asr_lab.reproducibility import chain as chains
from asr_lab.reproducibility.chain import CHAIN, Chain, ChainEnd, ChainError, Entry

Train = Callable[..., int]
NAMES = st.sampled_from(["model", "optimizer", "data"])
DIGESTS = st.dictionaries(NAMES, st.text("0123456789abcdef", min_size=32, max_size=32))
TENSORS = {"model": {"weight": "0" * 32}}


def entry(step: int, **digests: str) -> Entry:
    return Entry(step=step, digests=digests or {"model": f"{step:032x}"})


def written(folder: Path, count: int = 4) -> ChainEnd:
    """Write a chain with an entry every ten steps, and a checkpoint behind the second."""
    chain = ChainEnd.at(folder, 0)
    for number in range(1, count + 1):
        chain.append(entry(10 * number))
        if number == 2:
            chain.append(Entry(step=25, tensors=TENSORS))
    return chain


@given(st.lists(DIGESTS, max_size=5))
def test_what_was_written_reads_back(contents: list[dict[str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        chain = ChainEnd.at(Path(name), 0)
        for step, digests in enumerate(contents, 1):
            chain.append(Entry(step=step, digests=digests))
        if not contents:
            return
        again = Chain.read(Path(name))
        assert (again.head, again.step) == (chain.head, chain.step)
        assert [one.digests for one in again.entries] == contents


def test_the_order_of_names_changes_neither_line_nor_head() -> None:
    here = {"model": {"a": "0" * 32, "b": "1" * 32}, "average": {"c": "2" * 32}}
    there = {group: dict(reversed(named.items())) for group, named in reversed(here.items())}
    one, other = (Entry(step=1, tensors=tensors).after("") for tensors in (here, there))
    assert one.line() == other.line() and one.head == other.head
    plain = {"data": "3" * 32, "model": "4" * 32}
    turned = dict(reversed(plain.items()))
    one, other = (Entry(step=1, digests=digests).after("") for digests in (plain, turned))
    assert one.line() == other.line() and one.head == other.head


def test_saving_leaves_the_head_as_it_is(tmp_path: Path) -> None:
    plain, saved = tmp_path / "plain", tmp_path / "saved"
    for folder in (plain, saved):
        folder.mkdir()
    first, second = ChainEnd.at(plain, 0), ChainEnd.at(saved, 0)
    for step in (1, 2, 3):
        first.append(entry(step))
        second.append(entry(step))
        second.append(Entry(step=step, tensors=TENSORS))
    assert first.head == second.head == Chain.read(saved).head
    assert sorted(Chain.read(saved).saves) == [1, 2, 3]


def test_a_line_that_is_changed_moved_or_missing_is_named(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / CHAIN
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 5

    def swapped(at: int) -> list[str]:
        return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]

    broken = {
        "changed": (2, [lines[0], lines[1].replace("14", "15"), *lines[2:]]),
        "a changed checkpoint": (3, [*lines[:2], lines[2].replace("weight", "bias"), *lines[3:]]),
        "missing": (2, [lines[0], *lines[2:]]),
        "moved": (1, swapped(0)),
        "twice": (2, [lines[0], *lines]),
        "no JSON": (1, ["nonsense\n", *lines]),
        "no object": (1, ["[1]\n", *lines]),
        "blank": (3, [*lines[:2], "\n", *lines[2:]]),
        "without a head": (1, ['{"format": 1, "step": 10}\n', *lines[1:]]),
        "of wrong kinds": (1, ['{"format": "1", "step": "a", "head": 3}\n', *lines[1:]]),
    }
    for what, (number, content) in broken.items():
        path.write_text("".join(content))
        with pytest.raises(ChainError, match=rf"chain\.jsonl:{number} has been changed, or a"):
            print(what, Chain.read(tmp_path))


@given(st.data())
def test_any_changed_character_is_seen(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        head = written(Path(name), 2).head
        path = Path(name) / CHAIN
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 2))
        content[at] ^= data.draw(st.sampled_from([1, 2, 4, 8, 16, 64]))
        path.write_bytes(content)
        try:
            found = Chain.read(Path(name))
        except ChainError:
            return
        # A line end that went, or came, leaves less than there was; nothing else goes unseen.
        assert found.head != head or (found.torn and not found.saves)


def test_a_torn_last_line_is_not_counted_and_goes_with_the_next_resume(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / CHAIN
    content = path.read_bytes()
    for length in (1, 40, 120):
        path.write_bytes(content[:-length])
        chain = Chain.read(tmp_path)
        assert chain.torn and chain.step == 30
        end = ChainEnd.at(tmp_path, 40)
        end.cut()
        assert not Chain.read(tmp_path).torn and end.step == 30
        end.append(entry(40))
        assert path.read_bytes() == content


@pytest.mark.parametrize("block", [1, 100, 300, 2**20])
def test_entries_behind_a_checkpoint_are_dropped_and_written_again(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever part of the file is looked at first."""
    monkeypatch.setattr(chains, "BLOCK", block)
    head, content = written(tmp_path).head, (tmp_path / CHAIN).read_bytes()
    for step, left in ((25, 2), (24, 2), (10, 1), (0, 0)):
        (tmp_path / CHAIN).write_bytes(content)
        entries = Chain.read(tmp_path).entries
        end = ChainEnd.at(tmp_path, step)
        assert (end.head, end.step) == ((entries[left - 1].head if left else ""), 10 * left)
        end.cut()
        again = Chain.read(tmp_path)
        assert (len(again.entries), 25 in again.saves) == (left, step >= 25)
        for number in range(left + 1, 5):
            end.append(entry(10 * number))
        assert Chain.read(tmp_path).head == head
    (tmp_path / CHAIN).write_bytes(content)
    ChainEnd.at(tmp_path, 40).cut()
    assert (tmp_path / CHAIN).read_bytes() == content


def test_going_on_reads_the_end_of_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = written(tmp_path, 400).head
    path = tmp_path / CHAIN
    spoilt = b"x" * 2000 + path.read_bytes()[2000:]
    path.write_bytes(spoilt)
    monkeypatch.setattr(chains, "BLOCK", 1000)
    end = ChainEnd.at(tmp_path, 4000)
    assert (end.head, end.step, end.size) == (head, 4000, len(spoilt))


def test_a_chain_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / CHAIN
    path.write_text(path.read_text().replace('"format":1', '"format":9'))
    with pytest.raises(ChainError, match="is version 9; this version reads up to 1; upgrade"):
        Chain.read(tmp_path)


def test_there_is_no_chain_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(ChainError, match=r"has no chain\.jsonl; it can be compared with nothing"):
        Chain.read(tmp_path)
    assert ChainEnd.at(tmp_path, 9) == ChainEnd(tmp_path / CHAIN)


# The chain of runs

FLAGS = "--train.digest-every 5 --train.ema 0.9 --data.noise-snr 5 20 --train.accumulate 2"


def test_a_run_has_an_entry_every_so_many_steps_and_after_the_last(
    train: Train, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(FLAGS, "--output", run) == 0
    chain = Chain.read(run)
    assert [one.step for one in chain.entries] == [5, 10, 12]
    assert sorted(chain.saves) == [5, 10, 12]
    names = {"average", "data", "gradients", "loss", "model", "numbers", "optimizer"}
    for before, after in zip(chain.entries, chain.entries[1:], strict=False):
        assert set(before.digests) == names
        assert all(before.digests[name] != after.digests[name] for name in names)
    assert set(chain.saves[12].tensors) == {"average", "model", "optimizer"}
    assert json.loads((run / "run.json").read_text())["digests"]["chain"] == chain.head
    assert train("--train.digest-every 0 --output", tmp_path / "without") == 0
    assert not (tmp_path / "without" / CHAIN).exists()


def test_a_run_that_is_interrupted_and_resumed_has_the_chain_of_one_that_was_not(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(FLAGS, "--output", whole) == 0
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:8")
    assert train(FLAGS, "--output", cut) == 130
    monkeypatch.delenv("PROBE_SIGNAL")
    assert Chain.read(cut).step == 5 and sorted(Chain.read(cut).saves) == [5, 8]
    assert main(["verify", str(cut)]) == 0
    shutil.rmtree(cut / "checkpoints" / "step-00000008")
    with (cut / CHAIN).open("a") as file:  # what a crash may leave
        file.write('{"format":1,"st')
    assert main(["resume", str(cut)]) == 0
    assert Chain.read(cut).entries == Chain.read(whole).entries
    assert sorted(Chain.read(cut).saves) == [5, 10, 12]
    assert main(["verify", str(cut)]) == main(["verify", str(whole), str(cut)]) == 0


def test_a_bad_utterance_that_is_skipped_changes_what_the_chain_says_of_the_data(
    train: Train, corpus: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(corpus / "train", bad)
    audio = bad / "utterance-0003.wav"
    audio.write_bytes(audio.read_bytes()[:2000])
    skip = "--on-bad-utterance skip --data.cache-hours 0 --data.workers 0"
    silent = "--data.freq-masks 0 --data.time-masks 0"
    for name, folder in (("good", corpus / "train"), ("spoilt", bad)):
        data = f"--data manifest:{folder}/manifest.jsonl"
        assert train(skip, silent, data, "--output", tmp_path / name) == 0
    good, spoilt = (Chain.read(tmp_path / name).entries[-1].digests for name in ("good", "spoilt"))
    assert good["data"] != spoilt["data"]
