"""The listings, the doctor, and how `resume`, `evaluate` and `check-model` read their words."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from asr_lab.cli import check_model, main
from asr_lab.cli.doctor import Extra, optional_packages, precision_answers
from asr_lab.cli.evaluate import parse_evaluate
from asr_lab.evaluation.options import EvaluateOptions
from asr_lab.models.base.options import DecodingOptions
from asr_lab.plugins import (
    CommandSpec,
    DatasetSpec,
    ModelSpec,
    Plugins,
    PluginStatus,
    PrecisionSpec,
    Registry,
    installed_plugins,
)
from asr_lab.utils.errors import CombinedUserError


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Plugins:
    """Let the commands see two plugins of the test instead of those installed."""
    installed = installed_plugins()
    registry = Registry()
    commands = installed.registry.all(CommandSpec)
    for owner, spec in commands:
        with registry.registering(owner):
            registry.add(spec)
    for owner in ("acme", "zoo"):
        with registry.registering(owner):
            target = "nowhere:Nothing"
            registry.add(
                ModelSpec(
                    name="whale", summary="big", model=target, config=target, presets=("tiny", "xl")
                )
            )
    with registry.registering("acme"):
        configs = tuple(f"language_{number}" for number in range(50))
        registry.add(DatasetSpec(name="bells", summary="ringing", reader=target, configs=configs))
        registry.add(DatasetSpec(name="horns", summary="", reader=target, bundled=True))
        registry.add(PrecisionSpec(name="broken", summary="", manager=target))
    status = [
        PluginStatus(
            name="acme",
            distribution="acme-asr",
            version="2.0",
            state="loaded",
            seconds=0.0123,
            registered=("model whale", *(f"data set d{number}" for number in range(5))),
            heavy_imports=("torch",),
        ),
        PluginStatus(name="zoo", distribution="asr-zoo", version="1.0", state="loaded"),
    ]
    monkeypatch.setattr(installed, "registry", registry)
    monkeypatch.setattr(installed, "status", status)
    return installed


def printed(capsys: pytest.CaptureFixture[str], *argv: str, status: int = 0) -> str:
    assert main(argv) == status
    output = capsys.readouterr()
    assert output.err == ""
    return output.out


def test_models_are_listed_with_presets_and_qualified_where_they_clash(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, "models").splitlines() == [
        "name        plugin    presets  what",
        "acme/whale  acme-asr  tiny xl  big",
        "zoo/whale   asr-zoo   tiny xl  big",
    ]
    first, second = json.loads(printed(capsys, "models", "--json"))
    assert first["qualified_name"] == "acme/whale" and second["version"] == "1.0"
    assert first["presets"] == ["tiny", "xl"]


def test_without_a_model_the_listing_says_how_to_get_one(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    for owner in ("acme", "zoo"):
        plugins.registry.forget(owner)
    assert printed(capsys, "models") == (
        "no model is installed; try: pip install asr-lab-conformer\n"
    )
    assert json.loads(printed(capsys, "models", "--json")) == []


def test_data_sets_are_listed_with_what_they_need(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    header, bells, horns, *_ = printed(capsys, "datasets").splitlines()
    assert header.split() == ["name", "configurations", "splits", "where", "what"]
    assert "language_0 language_1 …" in bells and "LOCATION" in bells and len(bells) < 100
    assert horns.split() == ["horns", "-", "train", "dev", "test", "bundled"]
    listed = json.loads(printed(capsys, "datasets", "--json"))
    assert len(listed[0]["configs"]) == 50 and listed[1]["bundled"] is True


def test_plugins_are_listed_with_what_they_add_and_what_slows_them(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    acme, zoo = printed(capsys, "plugins").splitlines()
    slow = "slow start: it imports torch when it is loaded"
    assert acme.split(maxsplit=6)[:6] == ["acme", "acme-asr", "2.0", "loaded", "12", "ms"]
    assert acme.endswith(f"model whale; 5 data sets; {slow}")
    assert zoo.endswith("hooks only")
    assert json.loads(printed(capsys, "plugins", "--json"))[0]["heavy_imports"] == ["torch"]


def test_a_failed_plugin_makes_the_listing_fail_and_other_commands_warn(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = PluginStatus(
        name="bad", distribution="b", version="1", state="failed", reason="ImportError: no"
    )
    monkeypatch.setattr(plugins, "status", [*plugins.status, bad])
    assert "failed           ImportError: no" in printed(capsys, "plugins", status=1)
    assert main(["models"]) == 0
    line = "asr-lab: plugin bad is not loaded: ImportError: no (asr-lab plugins shows all)\n"
    assert capsys.readouterr().err == line


def test_the_doctor_tells_about_machine_precisions_plugins_and_extras(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = printed(capsys, "doctor", "--device", "cpu")
    for expected in ("python ", "cores ", "torch ", "\nprecisions\n", "plugins: ", "\noptional pa"):
        assert expected in text
    assert "\n  fp32   yes, on cpu\n" in text
    assert "\n  fp16   no: needs a CUDA GPU" in text


def test_the_doctor_as_json_has_the_same_parts(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(printed(capsys, "doctor", "--json"))
    assert set(found) == {"machine", "precisions", "plugins", "optional"}
    assert found["machine"]["asr-lab"] == version("asr-lab-core")
    assert found["machine"]["package.torch"] == version("torch")
    assert found["precisions"]["broken"].startswith("no: acme failed with ModuleNotFoundError")


def test_the_doctor_survives_a_torch_that_does_not_import() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from asr_lab.cli import main; "
        "sys.exit(main(['doctor', '--json']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["machine"]["torch"].startswith("cannot be imported: ")


def test_a_device_that_is_not_there_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--device", "tpu"]) == 2
    assert capsys.readouterr().err == "asr-lab: no device 'tpu'; say cpu, cuda or cuda:N\n"


def test_every_precision_has_an_answer() -> None:
    answers = precision_answers(installed_plugins(), "cpu")
    assert answers["fp32"] == answers["bf16"] == "yes, on cpu"
    assert all(answer.startswith(("yes", "no: ")) for answer in answers.values())


def test_extras_say_how_to_install_what_is_missing() -> None:
    extras = {extra.name: extra for extra in optional_packages(installed_plugins())}
    assert "asr-lab-core[testing]" in extras and "asr-lab-core[tensorboard]" in extras
    assert extras["asr-lab-core[testing]"].state == "installed"
    missing = Extra(name="a[b]", missing=("c",))
    assert missing.state == "pip install 'a[b]'"


def test_evaluate_reads_options_and_decoding() -> None:
    words = "--checkpoint best.pt --dataset spoken/en --beam 4 --length-penalty 0.5 --json"
    assert parse_evaluate(words.split()) == EvaluateOptions(
        checkpoint="best.pt",
        dataset="spoken/en",
        decoding=DecodingOptions(beam=4, length_penalty=0.5),
        json=True,
    )


def test_evaluate_reports_all_mistakes_together() -> None:
    words = "--dataset spokn --beam 0 --batch-seconds 0 --on-bad-utterance stop --checkpont x"
    with pytest.raises(CombinedUserError) as caught:
        parse_evaluate(words.split())
    # A flag that a suggestion names is not reported as missing as well.
    assert set(caught.value.problems) == {
        "--checkpont: no such flag; did you mean --checkpoint?",
        "--on-bad-utterance stop: not a choice; choose from fail, skip",
        "--beam must be 1 (greedy) or more; got 0",
        "--dataset spokn: no data set 'spokn'; did you mean spoken? (asr-lab datasets lists all)",
    }


@pytest.mark.parametrize("change", ["--batch-seconds 0", "--max-duration -1", "--workers -1"])
def test_evaluate_refuses_what_makes_no_batch(
    change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"evaluate --checkpoint x --dataset spoken/en {change}".split()
    assert main(words) == 2
    flag = change.split()[0]
    assert capsys.readouterr().err.startswith(f"asr-lab: {flag} must be ")


def test_resume_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume"]) == 2
    line = "asr-lab: FOLDER is missing: folder of the run, such as outputs/conformer-tiny-0001\n"
    assert capsys.readouterr().err == line


def test_check_model_needs_a_known_model(
    plugins: Plugins, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-model", "whal"]) == 2
    assert "no model 'whal'; did you mean whale?" in capsys.readouterr().err


def test_check_model_says_what_to_install(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_model, "NEEDED", ("pytest", "not_installed_anywhere"))
    assert main(["check-model", "acme/whale"]) == 2
    line = "asr-lab: check-model needs not_installed_anywhere; pip install 'asr-lab-core[testing]'"
    assert capsys.readouterr().err == f"{line}\n"
