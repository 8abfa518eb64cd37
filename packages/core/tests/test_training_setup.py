"""What a run is made of before it starts: dev sets, weights of data sets, limits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from asr_lab.cli.run_options import parse_run
from asr_lab.data.plan import plan_epoch
from asr_lab.plugins import installed_plugins
from asr_lab.testing.speech import write_corpus
from asr_lab.training.setup import Setup, length, prepare
from asr_lab.utils.errors import UserError

Command = Callable[..., list[str]]
Prepare = Callable[..., Setup]


@pytest.fixture
def prepared(command: Command) -> Prepare:
    """Return a function that prepares a run from flags; `None` after a flag leaves it out."""

    def run(*flags: object, without: tuple[str, ...] = ()) -> Setup:
        words = command(*flags)[1:]
        for flag in without:
            at = words.index(flag)
            del words[at : at + 2]
        return prepare(parse_run(words, installed_plugins().registry)[0], installed_plugins())

    return run


def test_utterances_are_held_out_by_sentence_and_always_the_same(
    prepared: Prepare, tmp_path: Path
) -> None:
    sentences = [f"{first}{second}" for first in "abcdef" for second in "abcde"] * 3
    write_corpus(tmp_path, sentences)
    data = f"--data manifest:{tmp_path}/manifest.jsonl --data.dev-fraction 0.2"
    found = [prepared(data, f"--seed {seed}", without=("--dev-data",)) for seed in (0, 0, 7)]
    setup = found[0]
    held = {utterance.text for utterance in setup.dev.utterances}
    kept = {utterance.text for utterance in setup.index.utterances}
    assert held.isdisjoint(kept) and held | kept == set(sentences)
    assert len(setup.dev.utterances) == 18 and len(setup.index) == 72
    for other in found[1:]:  # nor does the seed of the run change what is trained on
        assert other.dev.digest == setup.dev.digest and other.index.digest == setup.index.digest
    assert setup.dev.label == f"manifest:{tmp_path}/manifest.jsonl (held out)"
    assert setup.dev.typed == "" and setup.test is not None and setup.test.typed
    assert setup.notes == ("18 training utterances held out as dev set; --dev-data names another",)


def test_utterances_without_audio_are_not_held_out(prepared: Prepare, tmp_path: Path) -> None:
    paths = write_corpus(tmp_path, [f"{first}{second}" for first in "abc" for second in "abcd"])
    manifest = tmp_path / "manifest.jsonl"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line.replace('"duration"', '"length"') for line in lines))
    for path in paths[:6]:
        path.unlink()
    flags = f"--data manifest:{manifest} --data.dev-fraction 0.5"
    setup = prepared(flags, "--on-bad-utterance skip", without=("--dev-data",))
    assert len(setup.dev.utterances) == 3 and len(setup.index) == 3 and len(setup.unusable) == 6
    with pytest.raises(UserError, match=r"'utterance-0000' \(and 5 more\): .* is not there"):
        prepared(flags, without=("--dev-data",))


def test_without_a_test_set_the_notes_say_what_is_reported(prepared: Prepare) -> None:
    setup = prepared(without=("--eval-data",))
    assert setup.test is None
    assert setup.notes == (
        "no test set: the error rate is that of the dev set; --eval-data names one",
    )


def test_a_weight_is_the_number_of_passes_in_an_epoch(prepared: Prepare, corpus: Path) -> None:
    names = [f"manifest:{corpus / name}/manifest.jsonl" for name in ("train", "test")]
    setup = prepared("--data", f"{names[0]}*0.5", "--data", f"{names[1]}*3")
    assert [(s.start, s.end, s.weight) for s in setup.sources] == [(0, 24, 0.5), (24, 29, 3.0)]
    seen = np.zeros(29, int)
    for epoch in (0, 1):
        plan = plan_epoch(setup.index.durations, setup.sources, 0, epoch, setup.plan)
        np.add.at(seen, plan.order, 1)
        assert len(plan.order) == 12 + 15
    assert seen[:24].tolist() == [1] * 24 and seen[24:].tolist() == [6] * 5
    assert setup.describe().startswith(f"{names[0]}*0.5 + {names[1]}*3 · train ")


def test_two_data_sets_train_a_model(
    train: Callable[..., int], corpus: Path, tmp_path: Path
) -> None:
    names = [
        f"--data manifest:{corpus / name}/manifest.jsonl*{w}"
        for name, w in (("train", 1), ("test", 2))
    ]
    assert train(*names, "--train.steps 3 --output", tmp_path / "run") == 0


def test_steps_win_over_epochs_and_epochs_are_counted_in_steps(prepared: Prepare) -> None:
    one = prepared("--train.steps 0 --train.epochs 1")
    assert one.steps == one.steps_per_epoch
    assert prepared("--train.steps 0 --train.epochs 2.5").steps == -(-5 * one.steps // 2)
    assert prepared("--train.steps 7 --train.epochs 2.5").steps == 7


def test_everything_that_changes_a_batch_changes_the_digest_of_the_plan(prepared: Prepare) -> None:
    flags = (
        "",
        "--data.batch-seconds 5",
        "--data.max-utterances 3",
        "--train.accumulate 2",
        "--data.speeds 0.9 1.1",
        "--data.tokenizer letters",
        "--model.dim 8",
    )
    digests = [prepared(flag).plan.digest() for flag in flags]
    assert len(set(digests)) == len(flags)
    same = ("--seed 1", "--data.workers 0", "--data.cache-hours 0", "--train.lr 1")
    assert {prepared(flag).plan.digest() for flag in same} == {digests[0]}


def test_lengths_are_told_in_the_unit_that_suits() -> None:
    assert [length(hours) for hours in (1.5, 0.2, 0.03, 0.002)] == [
        "1.5 h",
        "12 min",
        "108 s",
        "7 s",
    ]
