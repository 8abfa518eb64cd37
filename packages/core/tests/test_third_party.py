"""A third party's package, built and installed for real, adds one of everything."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.plugins import (
    CommandSpec,
    DatasetSpec,
    ModelSpec,
    Plugins,
    PrecisionSpec,
    TrackerSpec,
    installed_plugins,
)
from asr_lab.plugins.observers import Observers

SOURCE = Path(__file__).parent / "plugins" / "acme"


def install(source: Path, target: Path) -> None:
    """Build the package without a network and install it into `target`, with uv or pip."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    python = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    options = ["--no-deps", "--no-build-isolation", "--quiet", "--target", str(target)]
    extra = ["--offline", "--python", sys.executable] if uv else ["--no-index"]
    command = [*python, "install", *options, *extra, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which acme-asr is installed."""
    copy = tmp_path_factory.mktemp("source") / "acme"
    shutil.copytree(SOURCE, copy)
    target = tmp_path_factory.mktemp("site")
    install(copy, target)
    return target


@pytest.fixture
def plugins(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """Return the installed plugins, acme among them, as the commands see them."""
    monkeypatch.syspath_prepend(site)
    installed_plugins.cache_clear()
    yield installed_plugins()
    installed_plugins.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_asr"]:
        del sys.modules[name]


def test_the_package_is_an_installed_distribution(site: Path) -> None:
    (found,) = distributions(path=[str(site)])
    assert (found.name, found.version) == ("acme-asr", "0.3.0")
    assert (site / "acme_asr" / "plugin.py").is_file()


def test_it_registers_one_of_everything_and_imports_nothing_heavy(plugins: Plugins) -> None:
    (acme,) = (status for status in plugins.status if status.name == "acme")
    assert (acme.state, acme.distribution, acme.version) == ("loaded", "acme-asr", "0.3.0")
    assert acme.registered == (
        "model whistle",
        "data set tones",
        "precision double-check",
        "tracker ledger",
        "command whistle",
    )
    assert acme.heavy_imports == ()
    for kind, name in (
        (ModelSpec, "whistle"),
        (DatasetSpec, "tones"),
        (PrecisionSpec, "double-check"),
        (TrackerSpec, "ledger"),
        (CommandSpec, "whistle"),
    ):
        assert plugins.registry.find(kind, name)[0] == "acme"
        assert plugins.registry.find(kind, f"acme/{name}")[0] == "acme"


def test_the_commands_list_it(plugins: Plugins, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert models["whistle"]["distribution"] == "acme-asr"
    assert main(["datasets"]) == 0
    assert "whistled tones" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "whistle the words" in capsys.readouterr().out
    assert main(["doctor", "--device", "cpu"]) == 0
    assert "double-check  yes, on cpu" in capsys.readouterr().out
    assert main("train --model whistle --help".split()) == 0
    assert "--model.dim INT\n      Channels of the convolutions. (default: 32)" in (
        capsys.readouterr().out
    )


def test_its_command_runs_and_its_mistakes_are_worded_like_ours(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["whistle", "ab", "cd"]) == 0
    assert capsys.readouterr().out == "♪ ab cd\n"
    assert main(["whistle"]) == 2
    expected = "asr-lab: whistle needs words; say asr-lab whistle ab cd\n"
    assert capsys.readouterr().err == expected


def test_its_observers_and_facts_are_used(plugins: Plugins, tmp_path: Path) -> None:
    observers = Observers(plugins)
    observers.run_finished(tmp_path, {})
    assert (tmp_path / "acme.txt").read_text() == "whistled to the end\n"
    assert observers.environment() == {"acme.whistle": "tin"}


def test_its_data_set_is_read_like_ours(plugins: Plugins, tmp_path: Path) -> None:
    from asr_lab.data.names import read_dataset, resolve

    resolved = resolve(f"tones:{tmp_path}", plugins.registry, "test")
    utterances = read_dataset(resolved)
    assert len(utterances) == 6
    assert all(Path(utterance.audio.path).is_file() for utterance in utterances)


def test_its_model_passes_the_checks_of_models(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-model", "whistle", "--select", "padding or loss or order"]) == 0
    assert "acme/whistle: " in capsys.readouterr().out


def test_the_lab_trains_with_everything_it_adds(
    plugins: Plugins, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tones").mkdir()
    words = (
        f"train --model whistle --config tiny --data tones:{tmp_path}/tones --device cpu --json "
        f"--data.workers 0 --precision double-check --trackers ledger --output {tmp_path}/run "
        "--train.eval-every 90"
    )
    assert main(words.split()) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    ledger = (tmp_path / "run" / "ledger.csv").read_text().splitlines()
    assert any("loss/ctc=" in line for line in ledger)
    assert (tmp_path / "run" / "acme.txt").exists()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["config"]["model"] == "acme/whistle"
    words = (
        f"evaluate --checkpoint {summary['checkpoint']} --dataset tones:{tmp_path}/tones "
        f"--device cpu --workers 0 --json --output {tmp_path}/result"
    )
    assert main(words.split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["utterances"] == 6
    assert result["words"]["error_rate"] <= 0.25
