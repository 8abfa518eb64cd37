"""The distributions: what they declare, what their wheels hold, and what builds them."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from asr_lab.testing.tiers import PROMISES

ROOT = Path(__file__).parents[3]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
CORE = ROOT / "packages" / "core"
MODULE_OF = {"kenlm-ex": "kenlm", "pyyaml": "yaml", "tensorboardx": "tensorboardX"}
"""Import names that differ from the name of the distribution."""
NOT_IMPORTED = {"torchaudio", "urllib3"}
"""torchaudio is for models to come, urllib3 is what lhotse imports and does not declare."""
ENDINGS = {".py", ".typed", ".shard", ".tsv", ".txt"}

pytestmark = pytest.mark.skipif(
    not (ROOT / "noxfile.py").is_file(), reason="this package is not in its repository"
)
each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.name))


def settings(package: Path) -> dict[str, Any]:
    content = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
    project: dict[str, Any] = content["project"]
    return project


def requirements(package: Path, *, extras: bool = True) -> list[Requirement]:
    project = settings(package)
    optional = project.get("optional-dependencies", {}).values() if extras else ()
    return [Requirement(line) for lines in (project["dependencies"], *optional) for line in lines]


def imported(package: Path) -> set[str]:
    """Return the distributions' modules that a package imports anywhere in its sources."""
    found = set()
    for path in (package / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"asr_lab"}


def modules(wanted: list[Requirement]) -> set[str]:
    names = {requirement.name.lower() for requirement in wanted}
    return {MODULE_OF.get(name, name) for name in names if not name.startswith("asr-lab")}


@each_package
def test_every_dependency_has_a_floor(package: Path) -> None:
    for requirement in requirements(package):
        floors = [part for part in requirement.specifier if part.operator == ">="]
        assert floors or requirement.extras, f"{requirement} has no floor"


@each_package
def test_what_is_imported_is_declared_and_what_is_declared_is_imported(package: Path) -> None:
    used = imported(package)
    assert used <= modules(requirements(package))
    assert modules(requirements(package, extras=False)) - NOT_IMPORTED <= used


@each_package
def test_a_package_states_licence_readme_and_an_entry_point_that_is_there(package: Path) -> None:
    project = settings(package)
    assert project["license"] == "Apache-2.0" and project["license-files"] == ["LICENSE"]
    assert (package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (package / project["readme"]).is_file()
    assert project["name"] == f"asr-lab-{package.name}" and project["version"]
    (module,) = project["entry-points"]["asr_lab"].values()
    assert (package / "src" / f"{module.replace('.', '/')}.py").is_file()


@each_package
def test_models_ask_for_the_core_that_is_here(package: Path) -> None:
    version = settings(CORE)["version"]
    wanted = [one for one in requirements(package) if one.name == "asr-lab-core"]
    assert all(version in one.specifier for one in wanted)
    assert len(wanted) == (0 if package == CORE else 2)


def build(package: Path, folder: Path) -> zipfile.ZipFile:
    """Build the wheel of a package with the backend itself, which needs no network."""
    code = "import sys; from hatchling.builders.wheel import WheelBuilder as Builder;"
    code += "print(*Builder(sys.argv[1]).build(directory=sys.argv[2], versions=['standard']))"
    command = [sys.executable, "-c", code, str(package), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(done.stdout.split()[-1])


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    """Return the wheel of every package, by the name of its folder."""
    folder = tmp_path_factory.mktemp("wheels")
    return {package.name: build(package, folder) for package in PACKAGES}


@each_package
def test_a_wheel_holds_the_sources_the_licence_and_nothing_else(
    package: Path, wheels: dict[str, zipfile.ZipFile]
) -> None:
    names = set(wheels[package.name].namelist())
    info = next(name for name in names if name.endswith("/METADATA")).partition("/")[0]
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    files = {name for name in names if not name.startswith(info)}
    assert names - files == {f"{info}/{name}" for name in about}
    source = package / "src"
    there = {path for path in source.rglob("*") if path.is_file()}
    here = {str(path.relative_to(source)) for path in there if path.parent.name != "__pycache__"}
    assert files == here
    odd = {name for name in files if Path(name).suffix not in ENDINGS}
    page = "asr_lab/evaluation/comparison/page."
    assert odd <= {"asr_lab/data/shards/README.md", f"{page}css", f"{page}js"}


def test_wheels_share_no_file_and_have_no_init_file_in_the_namespaces(
    wheels: dict[str, zipfile.ZipFile],
) -> None:
    everything = [name for wheel in wheels.values() for name in wheel.namelist()]
    assert len(everything) == len(set(everything))
    assert {"asr_lab/__init__.py", "asr_lab/models/__init__.py"}.isdisjoint(everything)
    assert "asr_lab/data/shards/spoken-en.shard" in everything
    assert {f"asr_lab/models/{package.name}/py.typed" for package in PACKAGES} - {
        "asr_lab/models/core/py.typed"
    } <= set(everything)


def test_the_bundled_data_leave_the_wheel_of_the_core_small(
    wheels: dict[str, zipfile.ZipFile],
) -> None:
    filename = wheels["core"].filename
    assert filename is not None
    assert Path(filename).stat().st_size < 11e6


def constant(name: str) -> object:
    """Return the value of a constant of the noxfile, without importing it."""
    for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise LookupError(name)


def test_nox_knows_all_packages_and_the_tiers_of_the_tests() -> None:
    assert sorted(constant("PACKAGES")) == [p.name for p in PACKAGES]  # type: ignore[call-overload]
    tiers = constant("TIERS")
    assert isinstance(tiers, dict)
    assert set(tiers) == set(PROMISES)


def test_nox_tests_the_floors_that_the_packages_state() -> None:
    floors = {
        str(part.version)
        for one in requirements(CORE)
        for part in one.specifier
        if one.name in ("torch", "torchaudio") and part.operator == ">="
    }
    assert floors == {"2.5"}
    assert constant("OLDEST_TORCH") == ("torch==2.5.0", "torchaudio==2.5.0")
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert list(constant("TORCH")) == root["tool"]["uv"]["constraint-dependencies"]  # type: ignore[call-overload]


def test_no_file_names_a_host_of_packages() -> None:
    files = [ROOT / "pyproject.toml", ROOT / "noxfile.py", ROOT / ".ci" / "run"]
    for path in [*files, *(package / "pyproject.toml" for package in PACKAGES)]:
        assert not re.search(r"https?://|index-url|find-links ?=", path.read_text()), path


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hatch") is None, reason="hatch is not installed")
@each_package
def test_hatch_builds_wheel_and_source_archive(package: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatch", "build", str(tmp_path)]
    done = subprocess.run(command, cwd=package, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.is_file()) == [".gz", ".whl"]
