"""Every check of this repository; `nox -l` lists them."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nox

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "wheels", "docs"]

PACKAGES = ("core", "conformer", "ssm", "whisper")
# The pair that the workspace is tested with; tests-fresh and tests-minimal try others.
TORCH = ("torch==2.11.0", "torchaudio==2.11.0")
OLDEST_TORCH = ("torch==2.5.0", "torchaudio==2.5.0")
TIERS = {  # session: least compute capability, what its tests may use
    "tests-cuda": ((0, 1), "any usable GPU"),
    "tests-v100": ((7, 0), "FP16 and memory-efficient attention"),
    "tests-a100": ((8, 0), "BF16 and flash attention"),
    "tests-h100": ((9, 0), "FP8"),
    "tests-b200": ((10, 0), "MXFP8 and MXFP4"),
}
DIST = Path("dist").resolve()
# Tags of wheels that run where glibc is 2.28 or newer.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 5)),
    *(f"manylinux{year}_x86_64" for year in ("2014", "2010", "1")),
)
each_package = nox.parametrize("package", PACKAGES, ids=PACKAGES)


def install(session: nox.Session, *what: str) -> None:
    """Install into the session's environment; with `--no-venv`, use what is there."""
    if session.venv_backend != "none":
        session.install(*what)


def python(session: nox.Session, *arguments: str, **environment: str) -> None:
    """Run the session's Python; with `--no-venv`, the one that runs nox."""
    interpreter = sys.executable if session.venv_backend == "none" else "python"
    session.run(interpreter, *arguments, env=environment)


def in_place(*packages: str, extra: str = "[testing]") -> list[str]:
    """Return what to install for the core and some packages, each once, from their sources."""
    return [f"-e./packages/{name}{extra}" for name in dict.fromkeys(("core", *packages))]


def from_wheels(*packages: str) -> list[str]:
    """Return what to install for the core and some packages, each once, from built wheels."""
    names = [f"asr-lab-{name}" for name in dict.fromkeys(("core", *packages))]
    return [f"{name}[testing] @ {built_wheels()[name].as_uri()}" for name in names]


@cache
def built_wheels() -> dict[str, Path]:
    """Build the wheels of all packages into `dist/`, once per run of nox; return them by name."""
    for old in DIST.glob("asr_lab_*.whl"):
        old.unlink()
    subprocess.run(["uv", "build", "--all-packages", "--wheel", "--out-dir", DIST], check=True)
    wheels = DIST.glob("asr_lab_*.whl")
    return {wheel.name.split("-")[0].replace("_", "-"): wheel for wheel in wheels}


def test(session: nox.Session, package: str, *options: str, **environment: str) -> None:
    """Run the tests of one package."""
    arguments = ("-m", "pytest", f"packages/{package}", *options, *session.posargs)
    python(session, *arguments, **environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style."""
    install(session, "ruff>=0.17")
    python(session, "-m", "ruff", "check", ".")
    python(session, "-m", "ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, all packages at once."""
    tools = ("mypy>=2.4", "nox>=2026.4", "types-PyYAML>=6.0.12")
    install(session, *in_place(*PACKAGES), *TORCH, *tools)
    python(session, "-m", "mypy")


@nox.session
@each_package
def tests(session: nox.Session, package: str) -> None:
    """Test one package on the CPU, with nothing installed but what it asks for."""
    install(session, *in_place(package), *TORCH)
    test(session, package)


@nox.session(name="tests-slow")
@each_package
def tests_slow(session: nox.Session, package: str) -> None:
    """Run the longer proofs of one package."""
    install(session, *in_place(package), *TORCH, "hatch>=1.16")
    test(session, package, "-m", "slow")


@nox.session(name="tests-fresh")
def tests_fresh(session: nox.Session) -> None:
    """Test with what `pip install` gives a user today: no dates, no pins of ours."""
    install(session, "--no-config", "--upgrade", *from_wheels(*PACKAGES))
    for package in PACKAGES:
        test(session, package)


@nox.session(name="tests-minimal", python="3.11")
def tests_minimal(session: nox.Session) -> None:
    """Test with the oldest release of every dependency that the packages allow."""
    oldest = ("--no-config", "--resolution=lowest-direct")
    install(session, *oldest, *in_place(*PACKAGES), *OLDEST_TORCH)
    for package in PACKAGES:
        test(session, package)


@nox.session
@each_package
def wheels(session: nox.Session, package: str) -> None:
    """Build a package's wheel, install it alone (with the core's) and run its tests on it."""
    names = dict.fromkeys(("core", package))
    again = [f"--reinstall-package=asr-lab-{name}" for name in names]
    install(session, *again, *from_wheels(package), *TORCH)
    python(session, "-m", "asr_lab.cli", "plugins")
    test(session, package)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; its code blocks are run by the tests."""
    tools = ("zensical==0.0.73", "mkdocstrings[python]>=1.0")
    install(session, *in_place(*PACKAGES, extra=""), *TORCH, *tools)
    python(session, "-m", "zensical", "build", "--strict", "--clean", "-f", "docs/mkdocs.yml")


@nox.session
def wheelhouse(session: nox.Session) -> None:
    """Collect all wheels for a machine without a network: `-- [3.12] [--without torch …]`.

    What is named after `--without` is left out together with what nothing else needs.
    """
    version, left_out = wheelhouse_options(session.posargs)
    folder = DIST / "wheelhouse"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for wheel in built_wheels().values():
        shutil.copy(wheel, folder)
    install(session, "pip>=25")
    pinned = resolve(session, version, left_out)
    python(
        session,
        *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", f"--dest={folder}"),
        *(f"--python-version={version}", "--requirement", str(pinned)),
        *(f"--platform={platform}" for platform in PLATFORMS),
    )
    models = " ".join(f"asr-lab-{name}" for name in PACKAGES if name != "core")
    session.log(f"there: pip install --no-index --find-links {folder.name} {models}")


def wheelhouse_options(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the Python version and the distributions to leave out."""
    marker = arguments.index("--without") if "--without" in arguments else len(arguments)
    version = arguments[0] if marker else f"{sys.version_info[0]}.{sys.version_info[1]}"
    return version, arguments[marker + 1 :]


def resolve(session: nox.Session, version: str, left_out: list[str]) -> Path:
    """Return a file with the pinned requirements of all packages, their test tools and nox."""
    wanted, without = DIST / "wheelhouse.in", DIST / "wheelhouse.without"
    pinned = DIST / "wheelhouse.txt"
    wanted.write_text("\n".join([*from_wheels(*PACKAGES), *TORCH, "nox>=2026.4"]))
    # An override that holds nowhere takes a distribution, and what only it needs, away.
    without.write_text("\n".join(f"{name}; sys_platform == 'nowhere'" for name in left_out))
    ours = [f"--no-emit-package=asr-lab-{name}" for name in PACKAGES]
    session.run(
        *("uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", str(wanted)),
        *(f"--override={without}", f"--output-file={pinned}", *ours),
        *(f"--python-version={version}", "--python-platform=x86_64-manylinux_2_28"),
        external=True,
    )
    return pinned


def capability() -> tuple[int, int]:
    """Return the compute capability of the first GPU, or (0, 0)."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader", "--id=0"]
    try:
        major, minor = subprocess.check_output(query, text=True).split(".")
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0, 0
    return int(major), int(minor)


def add_tier(name: str, least: tuple[int, int], features: str) -> None:
    """Make a session that tests packages on a GPU with the given features."""

    def run(session: nox.Session, package: str) -> None:
        if (found := capability()) < least:
            has = f"a GPU of capability {found[0]}.{found[1]}" if found > (0, 0) else "no GPU"
            needs = f"compute capability {least[0]}.{least[1]}" if least > (0, 1) else "a GPU"
            session.error(f"{name} needs {needs}; this machine has {has}")
        install(session, *in_place(package), *TORCH)
        test(session, package, ASR_LAB_TIER=name)

    run.__doc__ = f"Test one package on a GPU: {features}."
    nox.session(each_package(run), name=name, tags=["gpu"])


for tier, (least, features) in TIERS.items():
    add_tier(tier, least, features)
