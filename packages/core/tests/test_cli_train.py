"""From the command line of `train` to the settings of a run: layers, and all errors together."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

from asr_lab.cli import main
from asr_lab.cli.run_options import TrainOptions, parse_run
from asr_lab.models.base.config import ModelConfig
from asr_lab.plugins import ModelSpec, Registry, installed_plugins, load_plugins
from asr_lab.training.config import RunConfig
from asr_lab.utils.errors import CombinedUserError, UserError


@dataclass(frozen=True, kw_only=True)
class WhaleConfig(ModelConfig):
    """Sizes of the model of this test."""

    layers: int = 12
    """Number of blocks."""
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers must be 1 or more; got {self.layers}")

    @classmethod
    def tiny(cls) -> "WhaleConfig":
        return cls(layers=2)

    @classmethod
    def big(cls) -> "WhaleConfig":
        return cls(layers=20)


RECIPES: Mapping[str, Mapping[str, object]] = {
    "tiny": {
        "train.epochs": 12,
        "train.weight_decay": 1e-7,
        "data": ["spoken/en/dev"],
        "train.compile": True,
    }
}


def whale(name: str = "whale", **changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "model": "whale_of_this_test:Whale",
        "config": "whale_of_this_test:WhaleConfig",
        "presets": ("tiny", "big"),
        "recipes": RECIPES,
    }
    return ModelSpec(name=name, summary="", **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return the core's registry with the model `whale` in it, and some that are broken."""
    module = ModuleType("whale_of_this_test")
    vars(module)["WhaleConfig"] = WhaleConfig
    monkeypatch.setitem(sys.modules, module.__name__, module)
    registry = load_plugins(entry_points(group="asr_lab", name="core")).registry
    registry.add(whale())
    registry.add(whale("plain", presets=(), recipes={}))
    registry.add(whale("gone", config="nowhere_to_be_found:Config"))
    registry.add(whale("typo", recipes={"tiny": {"train.lrr": 1, "train.epochs": "many"}}))
    return registry


def run(registry: Registry, words: str, *more: str) -> RunConfig:
    return parse_run([*words.split(), *more], registry)[0]


def mistakes(registry: Registry, words: str, *more: str) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        run(registry, words, *more)
    error = caught.value
    return error.problems if isinstance(error, CombinedUserError) else (str(error),)


def test_a_model_alone_takes_its_first_preset_and_recipe(registry: Registry) -> None:
    config = run(registry, "--model whale")
    assert (config.model, config.preset) == ("user/whale", "tiny")
    assert config.model_config == WhaleConfig(layers=2)
    assert (config.train.epochs, config.train.weight_decay) == (12.0, 1e-7)
    assert config.train.compile and config.data == ("spoken/en/dev",)
    assert config.changes == {}


def test_a_preset_without_recipe_keeps_the_defaults(registry: Registry) -> None:
    config = run(registry, "--model user/whale --config big")
    assert config.model_config == WhaleConfig(layers=20)
    expected = RunConfig(model="user/whale", preset="big", model_config=WhaleConfig(layers=20))
    assert config == expected


def test_a_model_without_presets_has_its_defaults(registry: Registry) -> None:
    assert run(registry, "--model plain").preset == "default"
    assert run(registry, "--model plain").model_config == WhaleConfig()


def test_flags_win_over_file_over_recipe_over_defaults(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(
        "model: whale\npreset: tiny\nmodel.layers: 3\n"
        "train: {epochs: 5, lr: 3e-4, schedule: linear}\nseed: 7\n"
    )
    config = run(registry, "--config", str(path), "--train.lr", "1e-2", "--no-train.compile")
    assert config.preset == "tiny"
    assert config.model_config == WhaleConfig(layers=3)
    assert (config.train.lr, config.train.epochs, config.train.schedule) == (1e-2, 5.0, "linear")
    assert config.train.weight_decay == 1e-7
    assert not config.train.compile
    assert config.seed == 7
    assert config.changes == {
        "model.layers": 3,
        "seed": 7,
        "train.compile": False,
        "train.epochs": 5.0,
        "train.lr": 1e-2,
        "train.schedule": "linear",
    }


def test_a_data_set_on_the_command_line_replaces_that_of_the_recipe(
    registry: Registry,
) -> None:
    words = "--model whale --data spoken/en*2 --data spoken/en/dev --dev-data spoken/en"
    config = run(registry, words)
    assert config.data == ("spoken/en*2", "spoken/en/dev")
    assert config.dev_data == "spoken/en"


def test_a_model_on_the_command_line_wins_over_that_of_the_file(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text('model = "no_such"\ntrain.lr = 0.5')
    config = run(registry, "--model whale --config", str(tmp_path / "a.toml"))
    assert (config.model, config.train.lr) == ("user/whale", 0.5)


def test_what_is_not_a_setting_of_the_run_is_returned_apart(registry: Registry) -> None:
    _, options = parse_run("--model whale --dry-run --json".split(), registry)
    assert options == TrainOptions(model="user/whale", dry_run=True, json=True)


def test_all_mistakes_are_reported_together_with_suggestions(registry: Registry) -> None:
    words = (
        "--model whale --train.lr 1e --train.epoch 3 --model.layers 0 --lr 3 --config tiny "
        "--data spokn --trackers tensorbord --data.tokenizer bp --seed 1 --seed 2 --device cpu "
        "--precision fp9 --model.vocab 5"
    )
    found = mistakes(registry, words)
    assert set(found) == {
        "--train.lr 1e: not a number",
        "--train.epoch: no such flag; did you mean --train.epochs?",
        "--model.layers must be 1 or more; got 0",
        "--lr: no such flag; did you mean --train.lr?",
        "--data spokn: no data set 'spokn'; did you mean spoken? (asr-lab datasets lists all)",
        "--trackers tensorbord: no tracker 'tensorbord'; did you mean tensorboard?",
        "--data.tokenizer bp: no tokenizer 'bp'; did you mean bpe?",
        "--seed is given twice",
        "--precision fp9: no precision 'fp9'; did you mean fp8?",
        "--model.vocab: no such flag; did you mean --data.vocab?",
    }


def test_mistakes_of_a_file_name_the_file_and_the_key(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("train: {lr: fast, lrr: 1, accumulate: 0}\nmodel: whale\n")
    assert set(mistakes(registry, "--config", str(path))) == {
        f"{path}: train.lr fast: not a number",
        f"{path}: train.lrr: no such key; did you mean train.lr?",
        f"{path}: train.accumulate must be above 0; got 0",
    }


def test_mistakes_of_a_recipe_name_the_recipe(registry: Registry) -> None:
    assert set(mistakes(registry, "--model typo --config tiny")) == {
        "recipe of user/typo tiny: train.lrr: no such key; did you mean train.lr?",
        "recipe of user/typo tiny: train.epochs many: not a number",
    }


def test_a_missing_model_is_named_with_the_choices(registry: Registry) -> None:
    (line,) = mistakes(registry, "--train.lr 1")
    assert line == "--model is missing; choose from gone, plain, typo, whale"
    assert mistakes(registry, "--model --train.lr 1") == (line, "--model needs a value")


def test_an_unknown_model_does_not_make_its_flags_unknown(registry: Registry) -> None:
    found = mistakes(registry, "--model whal --model.layers 3 --train.lr x")
    assert found == (
        "no model 'whal'; did you mean whale? (asr-lab models lists all)",
        "--train.lr x: not a number",
    )


def test_an_unknown_preset_gets_the_choices(registry: Registry) -> None:
    (line,) = mistakes(registry, "--model whale --config tinny")
    expected = "no preset of whale 'tinny'; did you mean tiny? (asr-lab models lists all)"
    assert line == expected
    (line,) = mistakes(registry, "--model whale --config vast")
    assert "choose from big, tiny" in line


def test_a_file_that_cannot_be_read_stands_beside_the_other_mistakes(
    registry: Registry,
) -> None:
    found = mistakes(registry, "--model whale --config no/such.yaml --seed x")
    assert found == ("--config no/such.yaml: there is no such file", "--seed x: not a whole number")


def test_a_plugin_whose_configuration_is_gone_is_told_in_one_line(registry: Registry) -> None:
    (line,) = mistakes(registry, "--model gone")
    assert line.startswith("model 'gone' cannot be loaded: ModuleNotFoundError: No module named")


def test_a_precision_that_the_device_cannot_run_says_why(registry: Registry) -> None:
    (line,) = mistakes(registry, "--model whale --precision fp16 --device cpu")
    assert line.startswith("--precision fp16: needs a CUDA GPU; this is the cpu; use bf16")
    assert run(registry, "--model whale --precision bf16 --device cpu").precision == "bf16"


def test_a_device_that_is_not_there_is_one_mistake(registry: Registry) -> None:
    (line,) = mistakes(registry, "--model whale --precision bf16 --device cuda:99")
    assert line.startswith("--device cuda:99: ")
    (line,) = mistakes(registry, "--model whale --device tpu0")
    assert line == "--device tpu0: no device 'tpu0'; say cpu, cuda or cuda:N"


def test_help_shows_model_flags_and_the_defaults_that_hold(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugins = installed_plugins()
    monkeypatch.setattr(plugins, "registry", registry)
    assert main("train --help --model whale --config tiny".split()) == 0
    text = capsys.readouterr().out
    assert "model: WhaleConfig, preset tiny" in text
    assert "  --model.layers INT\n      Number of blocks. (default: 2)\n" in text
    assert "--train.compile, --no-train.compile" in text
    assert "(default: 12)" in text and "model.vocab" not in text
    assert main("train --help".split()) == 0
    assert "adds the flags of a model" in capsys.readouterr().out
    assert main("train --help --model whal".split()) == 2
    assert main("train --help --model typo".split()) == 2
