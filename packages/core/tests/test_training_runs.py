"""What a run leaves behind, prints and tells plugins."""

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, getsignal

import pytest
import safetensors.torch
import torch

from asr_lab.checkpoints import read_portable
from asr_lab.checkpoints.directory import steps
from asr_lab.cli import main
from asr_lab.cli.run_options import parse_run
from asr_lab.evaluation.results import EvaluationResult
from asr_lab.plugins import installed_plugins
from asr_lab.training import Trainer
from asr_lab.training.config_io import from_dict
from asr_lab.training.display import SilentDisplay, TerminalDisplay, clock, millions
from asr_lab.training.learner import StepResult
from asr_lab.training.state import TrainState

Command = Callable[..., list[str]]
Train = Callable[..., int]


def record(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "run.json").read_text())
    return found


def strict(line: str) -> dict[str, float]:
    """Read JSON that holds no NaN, which is none."""
    found: dict[str, float] = json.loads(line, parse_constant=pytest.fail)
    return found


def metrics(run: Path) -> list[dict[str, float]]:
    return [strict(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_runs_are_numbered_and_the_last_finished_one_is_the_convenience_copy(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    assert train("--train.steps 1") == 0
    assert (outputs / "best.pt").read_bytes() == (outputs / "probe-tiny-0001/best.pt").read_bytes()
    (outputs / "probe-tiny-0007").mkdir()
    assert train("--train.steps 1 --seed 1") == 0
    best = (outputs / "best.pt").read_bytes()
    assert best == (outputs / "probe-tiny-0008" / "best.pt").read_bytes()
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:1")
    assert train("--train.steps 2 --seed 2") == 130
    assert (outputs / "best.pt").read_bytes() == best
    monkeypatch.delenv("PROBE_SIGNAL")
    assert main(["resume", str(outputs / "probe-tiny-0009")]) == 0
    assert (outputs / "best.pt").read_bytes() != best


def test_with_an_output_folder_there_is_no_convenience_copy(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--train.steps 1 --output there/run") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["run"]
    assert sorted(path.name for path in (tmp_path / "there" / "run").iterdir()) == [
        "audio.bin",
        "best.pt",
        "chain.jsonl",
        "checkpoints",
        "metrics.jsonl",
        "run.json",
        "test.hypotheses.jsonl",
        "test.result.json",
        "utterances.bin",
    ]


def test_metrics_are_a_line_for_every_so_many_steps_and_every_evaluation(
    train: Train, tmp_path: Path
) -> None:
    assert train("--train.log-every 5 --train.eval-every 6 --output", tmp_path / "run") == 0
    found = metrics(tmp_path / "run")
    assert [int(line["step"]) for line in found] == [1, 5, 6, 10, 12, 12]
    assert set(found[2]) == {"step", "dev/word_error_rate", "dev/character_error_rate"}
    names = {"loss/ctc", "gradient_norm", "lr", "epoch", "seconds", "audio_seconds", "skipped"}
    assert set(found[0]) == {"step", *names}
    trained = [line for line in found if "lr" in line]
    for name in ("seconds", "audio_seconds"):
        assert [line[name] for line in trained] == sorted(line[name] for line in trained)
    assert trained[-1]["audio_seconds"] > trained[0]["audio_seconds"] > 0


def test_the_record_holds_everything_that_decides_a_run(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    words = command("--seed 3 --train.ema 0.5 --output", run)
    monkeypatch.setattr("sys.argv", ["/usr/bin/asr-lab", *words])
    assert main(words) == 0
    found = record(run)
    assert found["command"] == ["asr-lab", *words]
    assert (found["run_id"], found["model"], found["preset"]) == ("run", "probe/probe", "tiny")
    assert found["status"] == "finished" and found["restarts"] == []
    assert {"seed": 3, "train.ema": 0.5}.items() <= dict(found["changes"]).items()  # type: ignore[call-overload]
    assert found["seeds"] == {"seed": 3}
    config, registry = found["config"], installed_plugins().registry
    assert isinstance(config, dict)
    parsed, _ = parse_run(words[1:], registry)
    stored = from_dict(config, registry)
    assert stored.train == parsed.train and stored.data_config == parsed.data_config
    assert stored.model_config.vocab == 7  # set from the tokenizer
    digests, execution = found["digests"], found["execution"]
    assert isinstance(digests, dict) and isinstance(execution, dict)
    kept = {f"file:{name}" for name in ("best.pt", "test.hypotheses.jsonl", "test.result.json")}
    named = {"index", "dev", "test", "tokenizer", "config", "plan", "seed", "chain"}
    assert set(digests) == named | kept
    assert found["source"] == {}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests.values())
    assert execution.pop("seconds_to_first_step") > 0
    kernels = execution.pop("kernels")
    assert kernels["deterministic"] == "true" and len(kernels["triton"]) == 64
    assert execution == {
        "device": "cpu",
        "precision": "fp32",
        "mode": "eager",
        "processes": 1,
        "repro": "exact",
    }
    environment = found["environment"]
    assert isinstance(environment, dict) and environment["probe.weather"] == "fair"
    assert {"python", "torch", "package.asr-lab-core"} <= set(environment)
    results = found["results"]
    assert isinstance(results, dict) and set(results) == {"test", "state"}
    assert results["test"] == json.loads((run / "test.result.json").read_text())
    hypotheses = (run / "test.hypotheses.jsonl").read_text().splitlines()
    assert results["test"]["utterances"] == len(hypotheses) == 5


def test_the_evaluation_at_the_end_tells_what_that_of_the_command_does(
    train: Train, tmp_path: Path, corpus: Path
) -> None:
    run = tmp_path / "run"
    assert train("--train.steps 2 --data.batch-seconds 4 --device cpu --output", run) == 0
    data = f"--dataset manifest:{corpus}/test/manifest.jsonl --batch-seconds 4 --device cpu"
    assert main(["evaluate", "--checkpoint", str(run), *data.split(), "--output", f"{run}/e"]) == 0
    ours, theirs = (
        strict((run / name).read_text()) for name in ("test.result.json", "e/result.json")
    )
    alone = {"checkpoint", "model", "run_id", "also"}
    assert set(theirs) - set(ours) == alone and set(ours) < set(theirs)
    measured = {"audio_seconds", "utterances", "words", "characters", "decoding", "warnings"}
    assert {key: ours[key] for key in measured} == {key: theirs[key] for key in measured}
    told, expected = ours["execution"], theirs["execution"]
    assert isinstance(told, dict) and isinstance(expected, dict)
    assert told.pop("while_training") is True and expected.pop("while_training") is False
    assert told.pop("peak_memory") > 1e7 and expected.pop("peak_memory") > 1e7
    assert told == expected and told["parameters"] > 1000 and told["batches"] > 1


def test_only_the_newest_checkpoints_are_kept(train: Train, tmp_path: Path) -> None:
    assert train("--train.save-every 2 --train.keep 3 --output", tmp_path / "run") == 0
    assert [step for step, _ in steps(tmp_path / "run" / "checkpoints")] == [8, 10, 12]


@pytest.mark.parametrize(("ema", "file"), [(0.0, "model"), (0.7, "average")])
def test_what_is_evaluated_and_kept_is_the_average_if_there_is_one(
    ema: float, file: str, train: Train, tmp_path: Path
) -> None:
    assert train(f"--train.ema {ema} --output", tmp_path / "run") == 0
    portable = read_portable(tmp_path / "run" / "best.pt")
    assert portable.weights == {"model": "raw", "average": "averaged"}[file]
    folder = tmp_path / "run" / "checkpoints" / "step-00000012"
    kept = safetensors.torch.load_file(folder / f"{file}.safetensors")
    raw = safetensors.torch.load_file(folder / "model.safetensors")
    for name, tensor in kept.items():
        assert torch.equal(portable.tensors[name], tensor), name
        assert name == "level" or torch.equal(tensor, raw[name]) == (file == "model"), name


def test_the_best_model_is_that_of_the_lowest_error_rate(train: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # So fast that it gets worse again.
    flags = "--train.steps 20 --train.eval-every 4 --train.lr 0.2 --train.schedule constant"
    assert train(flags, "--model.dropout 0 --output", run) == 0
    rates = {m["step"]: m["dev/word_error_rate"] for m in metrics(run) if "lr" not in m}
    assert len(rates) == 5
    best = max(step for step, rate in rates.items() if rate == min(rates.values()))
    stored = read_portable(run / "best.pt").metrics
    assert stored is not None and stored["step"] == best
    state = record(run)["results"]["state"]  # type: ignore[index]
    assert (state["best_step"], state["best_error_rate"]) == (best, min(rates.values()))


# Who is told


def test_observers_are_told_in_order_and_trackers_are_closed(
    train: Train, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, run = tmp_path / "events", tmp_path / "run"
    monkeypatch.setenv("PROBE_EVENTS", str(events))
    flags = "--train.steps 3 --train.eval-every 2 --train.save-every 0 --trackers notebook"
    assert train(flags, "--output", run) == 0
    dev, test = (f"evaluated manifest:{corpus}/{name}/manifest.jsonl" for name in ("dev", "test"))
    assert events.read_text().splitlines() == [
        "started run running",
        "step 1",
        "step 2",
        dev,
        "saved 2 step-00000002",
        "step 3",
        dev,
        "saved 3 step-00000003",
        test,
        "finished run finished",
    ]
    notebook = (run / "notebook.txt").read_text().splitlines()
    evaluated = "dev/character_error_rate dev/word_error_rate"
    step = "audio_seconds epoch gradient_norm loss/ctc lr seconds skipped"
    lines = [f"1 {step}", f"2 {step}", f"2 {evaluated}", f"3 {step}", f"3 {evaluated}", "closed"]
    assert notebook == lines


def test_trackers_are_closed_when_a_run_is_stopped(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBE_SIGNAL", "SIGTERM:1")
    assert train("--trackers notebook --output", tmp_path / "run") == 130
    assert (tmp_path / "run" / "notebook.txt").read_text().splitlines()[-1] == "closed"


class Broken(SilentDisplay):
    """Fails at the third step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def step(self, state: TrainState, result: StepResult) -> None:
        if state.step == 3:
            raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("our mistake"), "failed"), (KeyboardInterrupt(), "interrupted")],
)
def test_a_run_that_breaks_says_so_in_its_record_and_can_be_resumed(
    error: BaseException, status: str, command: Command, tmp_path: Path
) -> None:
    words = command("--train.save-every 2 --trackers notebook --output", tmp_path / "run")
    config, _ = parse_run(words[1:], installed_plugins().registry)
    with pytest.raises(type(error)):
        Trainer(config, display=Broken(error)).fit()
    assert record(tmp_path / "run")["status"] == status
    assert (tmp_path / "run" / "notebook.txt").read_text().endswith("closed\n")
    assert main(["resume", str(tmp_path / "run")]) == 0
    assert record(tmp_path / "run")["status"] == "finished"


# What is printed


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--dry-run --seed 5 --train.steps 0 --train.epochs 2.5") == 0
    first, data, plan = capsys.readouterr().out.splitlines()
    assert first == "probe/probe tiny · fp32 · seed 5"
    assert re.fullmatch(
        r"data   manifest:\S+ · train \d+ s \(24 utterances\) · dev \d s · test \d s", data
    )
    steps, epoch = map(int, re.findall(r"(\d+) steps · (\d+) an epoch · nothing written", plan)[0])
    assert steps == -(-5 * epoch // 2)
    assert train("--dry-run --json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 12 and found["notes"] == []
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_data_set_is_the_default_and_is_named(
    probe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--model", "probe", "--dry-run"]) == 0
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("data   spoken/en (embedded; --data names others) · train 1.")
    assert re.search(r"\([\d,]+ utterances, \d+ voices\) · dev \d+ min · test \d+ min \(unse", line)
    assert main("train --model probe --dry-run --data spoken/en*2".split()) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("data   spoken/en*2 · train 1.")


def test_the_last_lines_are_commands_that_work(
    train: Train,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train("--train.steps 1") == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == [
        *("probe/probe", "data", "plan", "step", "done", "test", "files", "next", "asr-lab")
    ]
    assert re.fullmatch(r"done in (\d+:)?\d+:\d\d", told[4])
    name, *words = shlex.split(told[-2].replace("FILE", str(corpus / "test/utterance-0000.wav")))[
        1:
    ]
    assert (name, words[0]) == ("asr-lab", "transcribe")
    assert main([*words, "--device", "cpu"]) == 0
    name, *rest = shlex.split(told[-1])
    assert (name, rest[0]) == ("asr-lab", "evaluate")
    assert main([*rest, "--workers", "0", "--device", "cpu"]) == 0
    assert "(5 utterances, normaliser " in capsys.readouterr().out
    assert (tmp_path / "outputs" / "probe-tiny-0001" / "evaluate-manifest-all-0001").is_dir()


def test_json_output_is_one_object_per_line(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--train.eval-every 6 --json --output", tmp_path / "run") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["evaluated", "evaluated", "finished"]
    assert lines[0]["step"] == 6 and set(lines[0]["dev"]) == {"word_error_rate"}
    assert lines[-1]["checkpoint"] == str(tmp_path / "run" / "best.pt")
    assert lines[-1]["result"]["utterances"] == 5
    assert (lines[-1]["bad_utterances"], lines[-1]["skipped_steps"]) == (0, 0)


def test_a_terminal_gets_a_bar_and_a_file_gets_lines(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = parse_run(
        command("--train.eval-every 6 --output", tmp_path / "run")[1:], installed_plugins().registry
    )
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    display = TerminalDisplay()
    with display.console.capture() as captured:
        Trainer(config, display=display).fit()
    assert display.console.is_terminal
    assert "100%" in captured.get() and "x real time" in captured.get()
    assert "\nstep 6/12  dev WER" not in captured.get()


def test_numbers_are_told_as_people_say_them() -> None:
    assert [clock(s) for s in (0.4, 59.6, 238.0, 3725.0)] == ["0:00", "1:00", "3:58", "1:02:05"]
    assert [millions(n) for n in (3704, 912_345, 12_345_678)] == ["3,704", "0.91 M", "12.3 M"]


def test_an_interrupt_before_there_is_anything_to_save_leaves_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Impatient(SilentDisplay):
        """Interrupts while audio is decoded."""

        def message(self, text: str) -> None:
            getsignal(SIGINT)(SIGINT, None)  # type: ignore[operator, misc]

    words = command("--data.cache-hours 4 --output", tmp_path / "run")
    config, _ = parse_run(words[1:], installed_plugins().registry)
    trainer = Trainer(config, display=Impatient())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asr_lab.training.trainer.QUICK_HOURS", 0)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit()
    assert not (tmp_path / "run").exists()


def test_a_result_shows_what_was_evaluated(command: Command, tmp_path: Path, corpus: Path) -> None:
    words = command("--train.steps 1 --output", tmp_path / "run")
    result = Trainer(parse_run(words[1:], installed_plugins().registry)[0]).fit()
    assert result.folder == tmp_path / "run" and result.best == tmp_path / "run" / "best.pt"
    assert isinstance(result.result, EvaluationResult)
    assert result.dataset == f"manifest:{corpus}/test/manifest.jsonl"
    assert result.seconds >= result.state.seconds > 0
