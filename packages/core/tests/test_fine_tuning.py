"""`train --from`: weights, settings and tokenizer are taken over, and what does not fit is told."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from asr_lab.checkpoints import read_portable
from asr_lab.checkpoints.directory import load, steps
from asr_lab.cli import main
from asr_lab.cli.run_options import parse_run
from asr_lab.evaluation.recogniser import load_checkpoint
from asr_lab.plugins import ModelSpec, installed_plugins
from asr_lab.reproducibility.hash import state_digest
from asr_lab.reproducibility.record import RunRecord
from asr_lab.testing.speech import write_corpus
from asr_lab.training import RunConfig, TrainConfig, Trainer
from asr_lab.training.starting import SOURCE, read_start
from asr_lab.utils.errors import UserError

Train = Callable[..., int]
Command = Callable[..., list[str]]


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    told = capsys.readouterr()
    assert status == 2 and told.err.count("\n") == 1 and told.out == "", told
    return told.err.removeprefix("asr-lab: ").removesuffix("\n")


def dev_rates(run: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    name = "dev/word_error_rate"
    return {line["step"]: line[name] for line in lines if name in line}


# What is taken over


def test_training_goes_on_where_the_model_was(tune: Train, tmp_path: Path) -> None:
    assert tune() == 0
    assert dev_rates(tmp_path / "run") == {0: 0.0, 4: 0.0}


def test_model_settings_and_tokenizer_are_those_of_the_checkpoint(
    tune: Train, source: Path, tmp_path: Path
) -> None:
    old = read_portable(source / "best.pt")
    assert old.config["dim"] == 64 and old.config["features"] == "kaldi"  # as no preset has them
    texts = ["bad", "bed", "a bed"]  # a tokenizer of its own would know five characters of seven
    write_corpus(tmp_path / "few", texts)
    data = f"manifest:{tmp_path}/few/manifest.jsonl"
    assert tune(f"--data {data} --dev-data {data}") == 0
    new = read_portable(tmp_path / "run" / "best.pt")
    assert new.config == old.config and new.tokenizer == old.tokenizer
    assert (new.model, new.tokenizer_kind) == (old.model, old.tokenizer_kind)


def test_settings_that_change_no_weights_may_change_and_are_told(
    tune: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("--model.dropout 0.3 --data.max-duration 9 --train.lr 1e-3") == 0
    told = capsys.readouterr().out
    assert "note   settings that are not its own: dropout is 0.0 there, 0.3 here\n" in told
    config = json.loads((tmp_path / "run" / "run.json").read_text())["config"]
    assert config["model_config"]["dropout"] == 0.3 and config["model_config"]["dim"] == 64
    assert (config["train"]["lr"], config["data_config"]["max_duration"]) == (1e-3, 9.0)


def test_the_learning_rate_is_low_unless_it_is_said(probe: Path, source: Path) -> None:
    def settings(words: str) -> tuple[float, float, float]:
        argv = ["--from", str(source), *words.split()]
        config = parse_run(argv, installed_plugins().registry)[0]
        return config.train.lr, config.train.epochs, config.data_config.batch_seconds

    assert settings("") == (1e-4, 10, 120.0)
    assert settings("--config tiny --model.dim 64") == (1e-4, 10, 4.0)  # the rest of its recipe
    assert settings("--train.lr 1e-2 --train.epochs 3") == (1e-2, 3, 120.0)


def test_a_step_that_makes_the_model_worse_is_not_kept(
    tune: Train, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune("--train.lr 9 --train.warmup 0") == 0
    assert "note   no step was better on the dev set than the start, which is kept\n" in (
        capsys.readouterr().out
    )
    assert dev_rates(tmp_path / "run")[4] > 0.5
    old, new = (read_portable(run / "best.pt") for run in (source, tmp_path / "run"))
    assert state_digest(new.tensors) == state_digest(old.tensors)


def test_a_run_its_model_and_its_checkpoint_may_be_named(train: Train, tmp_path: Path) -> None:
    first = tmp_path / "first"
    assert train("--train.ema 0.5 --output", first) == 0
    (_, last) = steps(first / "checkpoints")[-1]
    for start in (first, first / "best.pt", last):
        run = tmp_path / f"from-{start.name}"
        assert train("--from", start, "--train.steps 1 --output", run) == 0
        facts, written = RunRecord.read(run).source, read_portable(run / SOURCE).tensors
        assert (facts["path"], facts["run_id"]) == (str(start), "first")
        # The dev set is evaluated at the last step alone, so that all three hold its average.
        assert facts["weights"] == "averaged"
        assert facts["digest"] == state_digest(written)
        average = load(last).tensors["average"]
        assert all(torch.equal(written[name], tensor) for name, tensor in average.items())


# What does not fit


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--model acme", "no model 'acme'; choose from "),
        ("--config tiny", "--config tiny is not {source}: dim is 64 there, 24 here; leave "),
        ("--config huge", "no preset of probe 'huge'"),
        ("--model.dim 7 --model.dropout 0.5", "have other settings: dim is 64 there, 7 here; "),
        ("--model.mels 40 --model.dim 7", ": mels is 24 there, 40 here, dim is 64 there, 7 here;"),
        ("--model.vocab 7", "--model.vocab: no such flag"),
        ("--data.tokenizer letters", "--data.tokenizer letters: the vocabulary of {source} is "),
        ("--data.vocab 5", "--data.vocab 5: the vocabulary of {source} is 7 tokens of kind char"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_refused_in_one_line(
    flags: str,
    reason: str,
    tune: Train,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert reason.format(source=source) in refused(capsys, tune(flags))
    assert not (tmp_path / "run").exists()


def test_another_model_than_the_checkpoints_is_refused(
    tune: Train, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = installed_plugins().registry
    registry.add(
        ModelSpec(name="other", summary="", model="no:Model", config="no:Config", presets=())
    )
    said = refused(capsys, tune("--model other"))
    assert said == f"--model other: {source} is of model probe/probe; leave --model out"
    assert tune("--model probe/probe --config tiny --model.dim 64 --dry-run") == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing", "no file or folder {path}; check the path"),
        ("empty", "{path} is no checkpoint: it has no best.pt and is of no known format ("),
        ("step", "{path} holds no tokenizer, and {folder}/best.pt, which does, is not there;"),
        ("text.pt", "{path} is not a checkpoint: it is no zip file;"),
    ],
)
def test_what_is_no_checkpoint_is_named(
    name: str,
    reason: str,
    tune: Train,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    if name == "empty":
        path.mkdir()
    elif name == "text.pt":
        path.write_text("weights")
    elif name == "step":
        path = tmp_path / "checkpoints" / steps(source / "checkpoints")[-1][1].name
        shutil.copytree(steps(source / "checkpoints")[-1][1], path)
    capsys.readouterr()
    assert reason.format(path=path, folder=tmp_path) in refused(capsys, tune(start=path))


# Vocabularies


def test_characters_outside_the_tokenizer_of_the_checkpoint_follow_the_policy(
    tune: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "more", ["bad", "bed", "zebra", "dad"])
    data = f"--data manifest:{tmp_path}/more/manifest.jsonl"
    said = refused(capsys, tune(data))
    assert "'utterance-0002': text has characters outside the tokenizer: 'r' (U+0072), 'z'" in said
    assert tune(data, "--on-bad-utterance skip") == 0
    assert "1 bad utterance left out of training: utterance-0002: " in capsys.readouterr().out


def test_a_new_tokenizer_keeps_all_weights_but_those_of_the_vocabulary(
    tune: Train, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "more", ["bad", "bed", "zebras", "dad"])
    data = f"--data manifest:{tmp_path}/more/manifest.jsonl --new-tokenizer"
    assert tune(data, "--train.lr 1e-9") == 0
    told = capsys.readouterr().out
    assert "made anew for the vocabulary: head.linear.bias, head.linear.weight\n" in told
    assert "start" not in told.replace("starts from", "")  # it knows nothing yet
    old, new = (read_portable(run / "best.pt") for run in (source, tmp_path / "run"))
    assert new.config["vocab"] == 8 and new.tokenizer != old.tokenizer
    kept = {name for name in old.tensors if not name.startswith("head.")}
    for name in kept - {"encoder.level", "level"}:
        assert torch.allclose(new.tensors[name], old.tensors[name], atol=1e-6), name
    assert RunRecord.read(tmp_path / "run").source["made_anew"] == [
        "head.linear.bias",
        "head.linear.weight",
    ]


def test_a_new_tokenizer_of_the_same_size_is_another_vocabulary_all_the_same(
    tune: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path / "other", ["uvwxyz", "vu wx", "zyxwvut"])
    data = f"--data manifest:{tmp_path}/other/manifest.jsonl"
    assert tune(data, "--new-tokenizer --dry-run") == 0
    assert "made anew for the vocabulary: head" in capsys.readouterr().out
    assert tune("--new-tokenizer --dry-run") == 0  # trained on the same text it is the same
    assert "made anew" not in capsys.readouterr().out


def test_a_vocabulary_of_pieces_is_taken_over_and_may_be_named(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    pieces = "--train.steps 1 --data.tokenizer bpe --data.vocab 266"
    assert train(pieces, "--output", first) == 0
    assert train("--train.steps 1 --from", first, "--output", again) == 0
    old, new = (read_portable(run / "best.pt") for run in (first, again))
    assert (new.tokenizer_kind, new.tokenizer) == ("bpe", old.tokenizer)
    assert train("--from", first, pieces, "--dry-run") == 0
    capsys.readouterr()
    said = refused(capsys, train("--from", first, "--data.vocab 270 --dry-run"))
    assert f"--data.vocab 270: the vocabulary of {first} is 266 tokens of kind bpe; " in said
    assert train("--from", first, "--data.vocab 265 --new-tokenizer --dry-run") == 0
    assert "made anew for the vocabulary: head" in capsys.readouterr().out


def test_from_python_the_tokenizer_is_taken_over_as_well(
    train: Train, corpus: Path, tmp_path: Path
) -> None:
    first, data = tmp_path / "first", f"manifest:{corpus / 'test' / 'manifest.jsonl'}"
    assert train("--train.steps 1 --data.tokenizer letters --output", first) == 0
    config = RunConfig(
        model="probe/probe",
        preset="mine",
        model_config=load_checkpoint(first).model.config,
        train=TrainConfig(steps=1),
        data=(data,),
        dev_data=data,
        device="cpu",
        output=str(tmp_path / "again"),
        from_=str(first / "best.pt"),
    )
    found = Trainer(config).fit()
    assert read_portable(found.best).tokenizer_kind == "letters"
    with pytest.raises(UserError, match="is of model probe/probe, not core/probe"):
        read_start(replace(config, model="core/probe"), spec(), installed_plugins())


def test_weights_that_the_model_has_are_not_kept_a_second_time(source: Path, probe: Path) -> None:
    argv = ["--from", str(source), "--device", "cpu"]
    config, _ = parse_run(argv, installed_plugins().registry)
    start = read_start(config, spec(), installed_plugins())
    assert start is not None and start.portable.tensors
    start.forget_weights()
    assert start.portable.tensors == {}
    assert start.digest == state_digest(read_portable(source / "best.pt").tensors)


def spec() -> ModelSpec:
    return installed_plugins().registry.find(ModelSpec, "probe")[1]


# Flags


def test_help_shows_the_settings_of_the_checkpoint(
    probe: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--from", str(source), "--help"]) == 0
    told = capsys.readouterr().out
    assert f"model: ProbeConfig, as in {source}" in told
    assert "--model.dim INT\n      Channels. (default: 64)\n" in told
    assert "Peak learning rate. (default: 0.0001)" in told


def test_a_configuration_file_may_say_what_to_start_from(
    tune: Train, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "my.yaml").write_text(f"from: {source}\ntrain.lr: 3e-3\n")
    argv = ["--config", str(tmp_path / "my.yaml"), "--device", "cpu"]
    config, _ = parse_run(argv, installed_plugins().registry)
    assert (config.from_, config.model, config.train.lr) == (str(source), "probe/probe", 3e-3)
    assert config.changes == {"from": str(source), "train.lr": 3e-3, "device": "cpu"}
