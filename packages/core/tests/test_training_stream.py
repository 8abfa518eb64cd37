"""The stream of batches: the same from any position, and in any number of processes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGTERM, getsignal, raise_signal

import pytest
import torch

from asr_lab.cli import main
from asr_lab.cli.run_options import parse_run
from asr_lab.data.audio_batch import AudioBatch
from asr_lab.data.loader import AudioDataset, Request
from asr_lab.data.plan import EpochPlan, Integers, PlanSettings, Source, plan_epoch
from asr_lab.plugins import installed_plugins
from asr_lab.training import Trainer, stream
from asr_lab.training.display import SilentDisplay
from asr_lab.training.distributed import Group
from asr_lab.training.learner import StepResult
from asr_lab.training.setup import Setup, prepare
from asr_lab.training.signals import stop_request
from asr_lab.training.state import TrainState
from asr_lab.training.stream import BatchStream
from asr_lab.utils.errors import UserError

Command = Callable[..., list[str]]
Train = Callable[..., int]
CPU = torch.device("cpu")
Seen = list[tuple[object, ...]]


@pytest.fixture
def setup(command: Command) -> Setup:
    """Return a run of 20 steps of four micro-batches, which is several epochs."""
    words = command("--train.steps 20 --train.accumulate 4 --data.speeds 0.9 1.1")
    plugins = installed_plugins()
    return prepare(parse_run(words[1:], plugins.registry)[0], plugins)


def fingerprint(batch: AudioBatch) -> tuple[object, ...]:
    """Return all that a batch is made of."""
    content = (batch.samples, batch.lengths, batch.tokens, batch.keys, batch.speeds, batch.valid)
    return batch.utterance_ids, *(tensor.numpy().tobytes() for tensor in content)


def walk(stream: BatchStream, state: TrainState, steps: int = 100) -> list[Seen]:
    """Return what up to `steps` steps are made of, and move `state` as the trainer does."""
    found: list[Seen] = []
    for batches in stream.batches(state):
        if len(found) == steps:
            break
        found.append([fingerprint(batch) for batch in batches])
        stream.advance(state)
    return found


def test_a_stream_goes_on_from_any_step_as_if_it_had_not_been_stopped(setup: Setup) -> None:
    group = Group(CPU)
    whole = walk(BatchStream(setup, group), TrainState())
    assert len(whole) == 20
    for stop in (0, 1, 2, 3, 5, 8, 13, 19, 20):  # epochs end in between
        state = TrainState()
        first = walk(BatchStream(setup, group), state, stop)
        stored = TrainState.from_dict(json.loads(json.dumps(state.to_dict())))
        assert first + walk(BatchStream(setup, group), stored) == whole
        assert stored.step == 20


def test_the_millionth_step_needs_the_plan_of_its_epoch_and_no_other(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is an utterance looked at that does not belong to it."""
    planned, looked = list[int](), list[str]()
    load = AudioDataset.__getitem__

    def planning(
        durations: Integers, sources: Sequence[Source], seed: int, epoch: int, rules: PlanSettings
    ) -> EpochPlan:
        planned.append(epoch)
        return plan_epoch(durations, sources, seed, epoch, rules)

    def loading(one: AudioDataset, request: Request) -> AudioBatch:
        batch = load(one, request)
        looked.extend(batch.utterance_ids)
        return batch

    monkeypatch.setattr(stream, "plan_epoch", planning)
    monkeypatch.setattr(AudioDataset, "__getitem__", loading)
    for step in (10, 1_000_000):
        epoch, place = divmod(step, setup.steps_per_epoch)
        state = TrainState(step=step, epoch=epoch, epoch_step=place)
        batches = BatchStream(replace(setup, steps=step + 1), Group(CPU)).batches(state)
        found = [name for batch in next(batches) for name in batch.utterance_ids]
        assert (planned, looked) == ([epoch], found)
        planned.clear()
        looked.clear()


def test_the_position_counts_steps_within_the_epoch(setup: Setup) -> None:
    stream, state = BatchStream(setup, Group(CPU)), TrainState()
    positions = []
    for _ in range(20):
        stream.advance(state)
        positions.append((state.epoch, state.epoch_step))
    sizes = [stream.plan(epoch).steps for epoch in range(positions[-1][0] + 1)]
    assert len(set(positions)) == 20 and positions == sorted(positions)
    assert [sum(sizes[:epoch]) + step for epoch, step in positions] == list(range(1, 21))
    assert positions[-1][0] >= 2


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_share_out_what_one_would_take(size: int, setup: Setup) -> None:
    whole = walk(BatchStream(setup, Group(CPU)), TrainState())
    shares = [
        walk(BatchStream(setup, Group(CPU, rank, size)), TrainState()) for rank in range(size)
    ]
    together = [[batch for share in step for batch in share] for step in zip(*shares, strict=True)]
    assert together == whole


def test_a_step_that_cannot_be_shared_out_evenly_is_refused_with_both_numbers(
    setup: Setup,
) -> None:
    with pytest.raises(UserError) as refused:
        BatchStream(setup, Group(CPU, 0, 3))
    assert str(refused.value) == (
        "--train.accumulate 4 is the number of micro-batches of a step; "
        "3 processes need a multiple of 3"
    )


def test_a_source_of_less_than_one_utterance_an_epoch_comes_round_all_the_same(
    setup: Setup,
) -> None:
    count = len(setup.index)
    rare = Source(start=count - 1, end=count, weight=0.25)
    sources = (Source(start=0, end=count - 1), rare)
    stream = BatchStream(replace(setup, sources=sources), Group(CPU))
    seen = [int((stream.plan(epoch).order == count - 1).sum()) for epoch in range(8)]
    assert sum(seen) == 2 and max(seen) == 1


# Signals that arrive for real


@pytest.mark.parametrize("signals", [(SIGINT, SIGINT), (SIGTERM, SIGINT), (SIGINT, SIGTERM)])
def test_the_second_of_any_two_signals_ends_the_block_and_handlers_are_put_back(
    signals: tuple[int, int],
) -> None:
    before = getsignal(SIGINT), getsignal(SIGTERM)
    reached = []
    with pytest.raises(KeyboardInterrupt), stop_request() as stop:
        raise_signal(signals[0])
        reached.append(stop.name)
        raise_signal(signals[1])
        reached.append("after")
    assert reached == [("SIGINT" if signals[0] == SIGINT else "SIGTERM")]
    assert (getsignal(SIGINT), getsignal(SIGTERM)) == before


class TwiceAt(SilentDisplay):
    """A person who presses Ctrl-C twice after a step."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, state: TrainState, result: StepResult) -> None:
        """Press."""
        if state.step == self.at:
            raise_signal(SIGINT)
            raise_signal(SIGINT)


def test_a_run_that_is_given_up_keeps_its_last_checkpoint_and_can_go_on(
    command: Command, train: Train, tmp_path: Path
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    config, _ = parse_run(command("--output", run)[1:], installed_plugins().registry)
    with pytest.raises(KeyboardInterrupt):
        Trainer(config, display=TwiceAt(8)).fit()
    record = json.loads((run / "run.json").read_text())
    assert record["status"] == "interrupted" and not record["results"]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000005"]
    assert main(["resume", str(run)]) == 0
    assert train("--output", whole) == 0
    last = "checkpoints/step-00000012/model.safetensors"
    assert (run / last).read_bytes() == (whole / last).read_bytes()


# What must be the same when a run goes on


@pytest.mark.parametrize(
    ("group", "setting", "value", "what"),
    [
        ("data_config", "batch_seconds", 3.5, "order of the batches"),
        ("data_config", "speeds", [0.9, 1.0], "order of the batches"),
        ("data_config", "tokenizer", "letters", "tokenizer"),
        ("model_config", "dropout", 0.5, "model configuration"),
    ],
)
def test_resuming_with_edited_settings_is_refused_and_says_what_changed(
    group: str,
    setting: str,
    value: object,
    what: str,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:2")
    assert train("--output", tmp_path / "run") == 130
    path = tmp_path / "run" / "run.json"
    record = json.loads(path.read_text())
    record["config"][group][setting] = value
    path.write_text(json.dumps(record))
    before = {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()}
    capsys.readouterr()
    assert main(["resume", str(path.parent)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"asr-lab: the {what} of this run has changed (")
    assert told.count("\n") == 1
    assert {file: file.read_bytes() for file in path.parent.rglob("*") if file.is_file()} == before
