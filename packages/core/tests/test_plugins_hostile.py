"""Plugins that do everything wrong, as installed distributions: none of them harms the others."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import distributions, entry_points
from pathlib import Path
from textwrap import dedent

import pytest

from asr_lab.plugins import ModelSpec, Plugins, PluginStatus, installed_plugins, load_plugins
from asr_lab.utils.errors import AmbiguousNameError

REGISTER = """
    from asr_lab.plugins import CommandSpec, ModelSpec, hookimpl

    def model(name):
        target = "nowhere:Nothing"
        return ModelSpec(name=name, summary="", model=target, config=target, presets=("tiny",))

    @hookimpl
    def asr_lab_register(registry):
        registry.add(model({name!r}))
"""
HOSTILE = {
    "broken": "raise RuntimeError('boom at import')",
    "missing": "import not_installed_anywhere",
    "exits": "raise SystemExit(3)",
    "badarg": """
        from asr_lab.plugins import hookimpl

        @hookimpl
        def asr_lab_register(registry, extra):
            pass
    """,
    "typo": """
        from asr_lab.plugins import hookimpl

        @hookimpl
        def asr_lab_registr(registry):
            pass
    """,
    "half": REGISTER.format(name="half_done") + "        raise ValueError('changed my mind')\n",
    "twice": REGISTER.format(name="same") + "        registry.add(model('same'))\n",
    "odd": """
        from asr_lab.plugins import hookimpl

        @hookimpl
        def asr_lab_register(registry):
            registry.add("not a specification")
    """,
    "no_syntax": "def broken(:",
}
REASONS = {
    "broken": "RuntimeError: boom at import",
    "missing": "ModuleNotFoundError: No module named 'not_installed_anywhere'",
    "exits": "SystemExit: 3",
    "badarg": "extra",
    "typo": "unknown hook 'asr_lab_registr'",
    "half": "ValueError: changed my mind",
    "twice": "registers model 'same' twice",
    "odd": "cannot register a str",
    "no_syntax": "SyntaxError",
}


def install(
    folder: Path,
    name: str,
    source: str,
    *,
    plugin: str = "",
    requires: Sequence[str] = (),
    more: Mapping[str, str] | None = None,
) -> None:
    """Install a distribution with one module and one plugin, as pip leaves it on disk."""
    folder.mkdir(exist_ok=True)
    modules = {f"a_hostile_{name}": source, **(more or {})}
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(dedent(text))
    info = folder / f"a_hostile_{name}-1.2.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: hostile-{name}", "Version: 1.2"]
    (info / "METADATA").write_text("\n".join(lines + [f"Requires-Dist: {r}" for r in requires]))
    (info / "entry_points.txt").write_text(f"[asr_lab]\n{plugin or name} = a_hostile_{name}\n")
    (info / "RECORD").write_text("".join(f"{module}.py,,\n" for module in modules))


Loader = Callable[..., Plugins]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loader]:
    """Return a function that loads the plugins installed below the test's folder."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def load_installed(disabled: Sequence[str] = (), *, strict: bool = False) -> Plugins:
        found = [
            point
            for distribution in distributions(path=[str(tmp_path)])
            for point in distribution.entry_points.select(group="asr_lab")
        ]
        return load_plugins(found, frozenset(disabled), strict=strict)

    yield load_installed
    for name in set(sys.modules) - before:
        if not name.startswith("asr_lab"):
            del sys.modules[name]


def status_of(plugins: Plugins, name: str) -> PluginStatus:
    (found,) = (status for status in plugins.status if status.name == name)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_plugin_is_reported_and_leaves_nothing_behind(
    name: str, load: Loader, tmp_path: Path
) -> None:
    install(tmp_path, name, HOSTILE[name])
    install(tmp_path, "good", REGISTER.format(name="good"))
    plugins = load()
    failed = status_of(plugins, name)
    assert failed.state == "failed"
    assert REASONS[name] in failed.reason and "\n" not in failed.reason
    assert (failed.distribution, failed.version) == (f"hostile-{name}", "1.2")
    assert [spec.name for _, spec in plugins.registry.all(ModelSpec)] == ["good"]
    assert [plugin for plugin, _ in plugins.manager.list_name_plugin()] == ["good"]


def test_all_hostile_plugins_at_once_leave_the_good_one_working(
    load: Loader, tmp_path: Path
) -> None:
    for name, source in HOSTILE.items():
        install(tmp_path, name, source)
    install(tmp_path, "good", REGISTER.format(name="good"))
    plugins = load()
    assert {status.name for status in plugins.failed} == set(HOSTILE)
    assert status_of(plugins, "good").registered == ("model good",)
    assert plugins.distribution_of("good") == ("hostile-good", "1.2")
    assert plugins.distribution_of("nobody") == ("?", "?")


@pytest.mark.parametrize("project", ["asr-lab-core", "asr_lab.core", "ASR-Lab-Core"])
def test_a_plugin_for_another_core_is_not_imported(
    project: str, load: Loader, tmp_path: Path
) -> None:
    install(tmp_path, "old", "raise RuntimeError('imported')", requires=[f"{project}>=99,<100"])
    reason = status_of(load(), "old").reason
    assert reason.startswith("ImportError: needs asr-lab-core<100,>=99, but 0.")


def test_requirements_that_do_not_concern_the_core_or_this_machine_are_left_to_pip(
    load: Loader, tmp_path: Path
) -> None:
    requires = [
        "asr-lab-core",
        "asr-lab-core-tools>=99",
        "asr-lab-core>=99; extra == 'next'",
        "asr-lab-core>=99; python_version < '3'",
    ]
    install(tmp_path, "fine", REGISTER.format(name="fine"), requires=requires)
    assert status_of(load(), "fine").state == "loaded"


def test_of_two_plugins_with_one_name_the_second_fails(load: Loader, tmp_path: Path) -> None:
    install(tmp_path, "first", REGISTER.format(name="whale"), plugin="same")
    install(tmp_path, "second", REGISTER.format(name="mouse"), plugin="same")
    plugins = load()
    assert [status.state for status in plugins.status] == ["loaded", "failed"]
    assert "another plugin is called 'same' as well" in plugins.status[1].reason
    assert [spec.name for _, spec in plugins.registry.all(ModelSpec)] == ["whale"]


def test_a_model_name_of_two_plugins_asks_only_when_it_is_used(
    load: Loader, tmp_path: Path
) -> None:
    install(tmp_path, "good", REGISTER.format(name="whale"))
    install(tmp_path, "clash", REGISTER.format(name="whale"))
    plugins = load()
    assert not plugins.failed
    with pytest.raises(AmbiguousNameError, match="say clash/whale or good/whale"):
        plugins.registry.find(ModelSpec, "whale")
    without = load(disabled=["clash"])
    assert status_of(without, "clash").state == "disabled"
    assert without.registry.find(ModelSpec, "whale")[0] == "good"


def test_a_slow_plugin_says_how_long_it_took_and_what_made_it_slow(
    load: Loader, tmp_path: Path
) -> None:
    slow = """
        import mamba_ssm
        from time import perf_counter

        start = perf_counter()
        while perf_counter() - start < 0.02:
            pass
    """
    install(tmp_path, "slow", slow, more={"mamba_ssm": ""})
    status = status_of(load(), "slow")
    assert status.state == "loaded"
    assert status.seconds >= 0.02
    assert status.heavy_imports == ("mamba_ssm",)


def test_what_a_plugin_prints_while_it_loads_goes_to_the_errors(
    load: Loader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "chatty", "print('hello')")
    load()
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_a_distribution_without_metadata_is_still_named(load: Loader, tmp_path: Path) -> None:
    install(tmp_path, "bare", "")
    (tmp_path / "a_hostile_bare-1.2.dist-info" / "METADATA").unlink()
    status = status_of(load(), "bare")
    assert (status.distribution, status.version) == ("?", "?")


def test_strict_loading_raises_the_first_failure(load: Loader, tmp_path: Path) -> None:
    install(tmp_path, "broken", HOSTILE["broken"])
    with pytest.raises(RuntimeError, match="boom at import"):
        load(strict=True)


def test_no_plugin_can_take_the_name_of_the_core(load: Loader, tmp_path: Path) -> None:
    install(tmp_path, "aaa", REGISTER.format(name="whale"), plugin="core")
    plugins = load_plugins(entry_points(group="asr_lab", name="core"))
    assert [(s.distribution, s.state) for s in plugins.status] == [
        ("asr-lab-core", "loaded"),
        ("hostile-aaa", "failed"),
    ]


def test_the_environment_variable_disables_plugins(
    load: Loader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "good", REGISTER.format(name="good"))
    install(tmp_path, "clash", REGISTER.format(name="good"))
    monkeypatch.setenv("ASR_LAB_DISABLE_PLUGINS", "clash,unknown")
    installed_plugins.cache_clear()
    try:
        plugins = installed_plugins()
        assert status_of(plugins, "clash").state == "disabled"
        assert plugins.registry.find(ModelSpec, "good")[0] == "good"
        assert installed_plugins() is plugins
    finally:
        installed_plugins.cache_clear()


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which all hostile plugins and a good one are installed."""
    folder = tmp_path_factory.mktemp("wild")
    for name, source in HOSTILE.items():
        install(folder, name, source)
    install(folder, "old", "", requires=["asr-lab-core>=99"])
    install(folder, "good", REGISTER.format(name="good"))
    install(folder, "clash", REGISTER.format(name="good"))
    return folder


def asr_lab(folder: Path, *argv: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `asr-lab` in a process of its own that sees the plugins in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(folder), **variables}
    command = [sys.executable, "-m", "asr_lab.cli", *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_help_works_with_all_hostile_plugins_at_once(wild: Path) -> None:
    done = asr_lab(wild, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "train  " in done.stdout
    assert "not loaded: badarg, broken, exits" in done.stdout


def test_other_commands_say_one_line_per_failed_plugin_and_work(wild: Path) -> None:
    done = asr_lab(wild, "models", "--json")
    lines = done.stderr.splitlines()
    assert done.returncode == 0
    assert {line.split()[2] for line in lines} == {*HOSTILE, "old"}
    assert len(lines) == len(HOSTILE) + 1
    names = {model["qualified_name"] for model in json.loads(done.stdout)}
    assert {"good/good", "clash/good"} <= names


def test_the_listing_of_plugins_fails_and_says_why(wild: Path) -> None:
    done = asr_lab(wild, "plugins")
    assert (done.returncode, done.stderr) == (1, "")
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    for name, reason in REASONS.items():
        assert "failed" in rows[name] and reason in rows[name]
    assert rows["good"].split()[1:4] == ["hostile-good", "1.2", "loaded"]
    assert rows["good"].endswith("model good")


def test_an_ambiguous_model_is_a_mistake_until_one_plugin_is_disabled(wild: Path) -> None:
    disable = {"ASR_LAB_DISABLE_PLUGINS": ",".join([*HOSTILE, "old"])}
    done = asr_lab(wild, "train", "--model", "good", **disable)
    assert done.returncode == 2
    assert done.stderr == "asr-lab: model 'good' is ambiguous; say clash/good or good/good\n"
    disable["ASR_LAB_DISABLE_PLUGINS"] += ",clash"
    done = asr_lab(wild, "train", "--model", "good", **disable)
    assert done.returncode == 2
    assert "model 'good' cannot be loaded: ModuleNotFoundError" in done.stderr


def test_strict_plugins_show_the_traceback_to_whoever_writes_one(wild: Path) -> None:
    done = asr_lab(wild, "models", ASR_LAB_STRICT_PLUGINS="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
