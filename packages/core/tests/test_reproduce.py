"""A run can be replayed from its folder, bit for bit, and what does not fit is told in one line."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints import directory
from asr_lab.cli import main
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.chain import Chain
from asr_lab.reproducibility.seeding import scope
from asr_lab.training import learner as learning
from asr_lab.training.learner import Learner

Command = Callable[..., list[str]]
Train = Callable[..., int]
EVERYTHING = (
    "--data.speeds 0.9 1.0 1.1 --data.noise-snr 5 20 --data.gain-db 3 --data.freq-masks 2 "
    "--data.time-masks 2 --model.dropout 0.2 --train.ema 0.9 --train.accumulate 2 "
    "--train.digest-every 2 --train.save-every 4 --train.keep 5 --precision"
)
"""All that draws random numbers, and all that a checkpoint must keep."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[dict[str, Path]]:
    """Return a run in FP32 and one in BF16, of twelve steps with an entry after every second."""
    folder = tmp_path_factory.mktemp("runs")
    probe = Path(__file__).parent / "plugins" / "probe"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(probe)
        installed_plugins.cache_clear()
        sets = [("data", "train"), ("dev-data", "dev"), ("eval-data", "test")]
        names = [f"--{flag}=manifest:{corpus}/{name}/manifest.jsonl" for flag, name in sets]
        for precision in ("fp32", "bf16"):
            words = [*EVERYTHING.split(), precision, "--output", str(folder / precision)]
            assert main(["train", "--model", "probe", *names, *words]) == 0
    installed_plugins.cache_clear()
    yield {precision: folder / precision for precision in ("fp32", "bf16")}


@pytest.fixture
def run(runs: dict[str, Path], probe: Path, tmp_path: Path) -> Path:
    """Return a copy of the run in FP32."""
    return Path(shutil.copytree(runs["fp32"], tmp_path / "run"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reproduce(
    capsys: pytest.CaptureFixture[str], folder: Path, flags: str = ""
) -> tuple[int, dict[str, object]]:
    """Return status and answer of `reproduce`; a refusal has the line as its only value."""
    capsys.readouterr()
    before = contents(folder)
    status = main(["reproduce", str(folder), "--json", *flags.split()])
    assert contents(folder) == before, "a replay writes nothing"
    said = capsys.readouterr()
    if status == 2:
        assert said.err.count("\n") == 1
        return status, {"refused": said.err.removeprefix("asr-lab: ").rstrip("\n")}
    return status, json.loads(said.out)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_three_replays_have_not_one_digest_that_differs(
    precision: str, runs: dict[str, Path], probe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ("", "", "--steps :12"):
        status, found = reproduce(capsys, runs[precision], flags)
        assert status == 0
        assert (found["compared"], found["equal_until"]) == (6, 12)
        assert found["differs_at"] is None and found["environment"] == []


def test_a_replay_begins_at_the_last_checkpoint_before_its_first_step(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps, start, end, compared in [
        ("1:12", 0, 12, 6),
        ("4:12", 4, 12, 4),
        ("7:10", 4, 10, 3),
        ("11:", 8, 12, 2),
        (":5", 0, 4, 2),
    ]:
        status, found = reproduce(capsys, run, f"--steps {steps}")
        assert status == 0
        assert (found["start"], found["end"], found["compared"]) == (start, end, compared)


def test_people_are_told_what_was_replayed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", str(run), "--steps", "5:8"]) == 0
    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert first == f"run     {run} · replayed to step 8 from the checkpoint of step 4"
    assert second == "equal   2 entries of the chain, to step 8"


# Each proof fails where it must: one thing is broken at a time, and a replay sees it.


def unrestored(name: str) -> Callable[[Learner, dict[str, dict[str, torch.Tensor]], object], None]:
    """Return a way to load a checkpoint that leaves out some of it."""
    load = Learner.load

    def part(one: Learner, tensors: dict[str, dict[str, torch.Tensor]], state: object) -> None:
        here, _ = one.tensors()
        groups = {group: dict(named) for group, named in tensors.items()}
        for group, named in groups.items():
            for key in [key for key in named if f"{group}/{key}".startswith(name)]:
                named[key] = here.get(group, {}).get(key, torch.zeros_like(named[key])).clone()
        load(one, groups, state)  # type: ignore[arg-type]

    return part


@pytest.mark.parametrize(
    "name",
    [
        "model/encoder.linear.bias",
        "model/level",
        "optimizer/exp_avg/",
        "optimizer/exp_avg_sq/",
        "optimizer/step/",
        "average/encoder.convolution.weight",
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_a_piece_of_state_that_is_not_restored_is_seen(
    name: str,
    told: bool,
    run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once by the digests of the checkpoint, and without them by the replay itself."""
    if not told:
        path = run / "chain.jsonl"
        lines = path.read_text().splitlines()
        path.write_text("".join(f"{line}\n" for line in lines if '"tensors"' not in line))
    assert reproduce(capsys, run, "--steps 8:12")[0] == 0
    monkeypatch.setattr(Learner, "load", unrestored(name))
    status, found = reproduce(capsys, run, "--steps 8:12")
    if told:
        assert status == 2
        assert name in str(found["refused"]) and "is not that of this run" in str(found["refused"])
    else:
        assert status == 1 and found["differs_at"] == 10
        assert name.partition("/")[0] in found["different"]  # type: ignore[operator]


def test_an_operation_that_is_not_deterministic_is_seen(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, step = random.Random(1), Learner.step

    def trembling(one: Learner, *arguments: object) -> object:
        with torch.no_grad():
            bias = one.unwrapped.get_parameter("encoder.linear.bias")
            at = draw.randrange(len(bias))
            bias[at] = torch.nextafter(bias[at], torch.tensor(9.0))
        return step(one, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "step", trembling)
    status, found = reproduce(capsys, run)
    assert (status, found["equal_until"], found["differs_at"]) == (1, 0, 2)
    assert {"gradients", "loss", "model"} <= set(found["different"])  # type: ignore[call-overload]


def test_a_seed_that_micro_batches_share_is_seen(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shared(seed: int, purpose: str, *of: int, device: torch.device) -> object:
        return scope(seed, purpose, of[0], device=device)

    monkeypatch.setattr(learning, "scope", shared)
    status, found = reproduce(capsys, run)
    assert (status, found["differs_at"]) == (1, 2)
    assert "data" not in found["different"]  # type: ignore[operator]


# What is wrong with a run is told in one line, and nothing is overwritten.


def test_another_environment_is_refused_by_name_or_replayed_to_where_the_bits_part(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = json.loads((run / "run.json").read_text())
    record["environment"] |= {"package.soxr": "0.0.1", "memory": "1.0 GiB"}
    (run / "run.json").write_text(json.dumps(record))
    status, found = reproduce(capsys, run)
    assert status == 2
    assert str(found["refused"]).startswith(
        "the environment differs from the run's: package.soxr: 0.0.1 -> "
    )
    assert "memory" not in str(found["refused"])
    status, found = reproduce(capsys, run, "--allow-env-diff")
    assert status == 0 and found["differs_at"] is None
    assert [line.split(":")[0] for line in found["environment"]] == ["package.soxr"]  # type: ignore[attr-defined]
    monkeypatch.setattr(Learner, "load", unrestored("optimizer/step/"))
    text = (run / "chain.jsonl").read_text().splitlines()
    (run / "chain.jsonl").write_text("".join(f"{x}\n" for x in text if '"tensors"' not in x))
    status, found = reproduce(capsys, run, "--allow-env-diff --steps 8:")
    assert (status, found["differs_at"]) == (0, 10)


@pytest.mark.parametrize("word", ["reproduce", "resume"])
def test_audio_that_has_changed_is_named_with_its_file(
    word: str,
    train: Train,
    corpus: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy, folder = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(corpus / "train", copy)
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:8")
    data = f"--data manifest:{copy}/manifest.jsonl"
    assert (
        train(
            data,
            "--train.steps 24 --train.eval-every 24 --train.save-every 24 --train.digest-every 4",
            "--output",
            folder,
        )
        == 130
    )
    monkeypatch.delenv("PROBE_SIGNAL")
    audio = copy / "utterance-0005.wav"
    content = audio.read_bytes()
    audio.write_bytes(content[:-2] + bytes([content[-2] ^ 1, content[-1]]))
    before = contents(folder / "checkpoints" / "step-00000008")
    capsys.readouterr()
    assert main([word, str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"asr-lab: the audio of utterance 'utterance-0005' of this run has changed ({audio}); "
        "put back what it was or start a new run\n"
    )
    assert contents(folder / "checkpoints" / "step-00000008") == before
    audio.write_bytes(content)
    assert main([word, str(folder)]) == 0


def test_data_that_have_moved_or_lost_an_utterance_are_named(
    train: Train, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, folder = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(corpus / "train", copy)
    manifest = copy / "manifest.jsonl"
    assert train(f"--data manifest:{manifest} --train.digest-every 5 --output", folder) == 0
    lines = manifest.read_text().splitlines(keepends=True)
    manifest.write_text("".join(lines[:-2]))
    status, found = reproduce(capsys, folder)
    assert status == 2 and "; 2 at its end are gone); put back" in str(found["refused"])
    manifest.write_text("".join(lines[:3] + lines[4:]))
    status, found = reproduce(capsys, folder)
    assert status == 2
    assert f"the first is utterance 'utterance-0004', {copy}" in str(found["refused"])
    (folder / "utterances.bin").unlink()
    status, found = reproduce(capsys, folder)
    assert status == 2 and str(found["refused"]).endswith(
        "found); put back what it was or start a new run"
    )
    manifest.unlink()
    status, found = reproduce(capsys, folder)
    assert status == 2 and str(manifest) in str(found["refused"])


@pytest.mark.slow
def test_a_run_of_two_processes_is_replayed_by_two(
    command: Command, probe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "two"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    flags = command("--train.accumulate 2 --train.digest-every 4 --output", folder)
    subprocess.run([*launch, "-m", "asr_lab.cli", *flags], check=True)
    capfd.readouterr()
    assert main(["reproduce", str(folder), "--json"]) == 0
    found = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (found["compared"], found["differs_at"]) == (3, None)


def test_a_record_of_a_newer_version_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "schema": 99}))
    status, found = reproduce(capsys, run)
    assert status == 2
    assert str(found["refused"]).startswith(f"{run}/run.json is version 99; this version reads")


def test_steps_that_the_chain_says_nothing_of_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps, line in {
        "13:20": "the chain of {run} says nothing of steps 13 to 20; its 6 entries are of steps 2",
        "9:9": "the chain of {run} says nothing of steps 9 to 9; its 6 entries are of steps 2",
        "7": "--steps are FIRST:LAST, such as 200:400; got '7'",
        "9:3": "--steps are FIRST:LAST, such as 200:400; got '9:3'",
    }.items():
        status, found = reproduce(capsys, run, f"--steps {steps}")
        assert status == 2 and str(found["refused"]).startswith(line.format(run=run)), found


def test_the_checkpoint_of_another_run_is_refused(
    run: Path, runs: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    name = "checkpoints/step-00000008"
    shutil.rmtree(run / name)
    shutil.copytree(runs["bf16"] / name, run / name)
    directory.verify(run / name)
    status, found = reproduce(capsys, run, "--steps 8:12")
    assert status == 2
    assert f"the checkpoint of step 8 in {run} is not that of this run: " in str(found["refused"])


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--seed 1", "the checkpoint of step 4 in {run} is not that of this run: average/"),
        (
            "--model.dim 16",
            "the checkpoint is that of another model than probe/probe of this run: "
            "encoder.convolution.bias is (16,) instead of (24,); put back",
        ),
    ],
)
def test_a_run_does_not_go_on_from_the_checkpoint_of_another(
    flags: str,
    line: str,
    train: Train,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, other, name = tmp_path / "run", tmp_path / "other", "checkpoints/step-00000004"
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:4")
    assert train("--train.ema 0.9 --output", run) == 130
    assert train("--train.ema 0.9", flags, "--output", other) == 130
    monkeypatch.delenv("PROBE_SIGNAL")
    shutil.rmtree(run / name)
    shutil.copytree(other / name, run / name)
    before, chain = contents(run / "checkpoints"), (run / "chain.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["resume", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"asr-lab: {line.format(run=run)}") and said.count("\n") == 1, said
    assert contents(run / "checkpoints") == before
    assert (run / "chain.jsonl").read_bytes() == chain


def test_a_run_without_a_chain_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "chain.jsonl").unlink()
    status, found = reproduce(capsys, run)
    assert (status, found["refused"]) == (
        2,
        f"{run} has no chain.jsonl; it can be compared with nothing",
    )


def test_a_torn_last_line_is_no_entry(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (run / "chain.jsonl").read_bytes()
    (run / "chain.jsonl").write_bytes(content[:-30])
    assert len(Chain.read(run).entries) == 6 and not Chain.read(run).saves.get(12)
    assert reproduce(capsys, run)[0] == 0
