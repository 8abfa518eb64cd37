"""Every check of this repository; `nox -l` lists them."""

import shutil
import subprocess
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "wheels", "docs"]

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
MANYLINUX = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_5", "2014", "2010", "1")
each_package = nox.parametrize("package", PACKAGES, ids=PACKAGES)


def install(session: nox.Session, *what: str) -> None:
    """Install into the session's environment; with `--no-venv`, use what is there."""
    if session.venv_backend != "none":
        session.install(*what)


def python(session: nox.Session, *arguments: str, **environment: str) -> None:
    """Run the session's Python; with `--no-venv`, the one that runs nox."""
    interpreter = sys.executable if session.venv_backend == "none" else "python"
    session.run(interpreter, *arguments, env=environment)


def with_core(package: str, form: str = "-e./packages/{}[testing]") -> list[str]:
    """Return what to install for one package: itself and the core."""
    return [form.format(name) for name in dict.fromkeys(("core", package))]


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
    everything = [f"-e./packages/{package}[testing]" for package in PACKAGES]
    install(session, *everything, *TORCH, "mypy>=2.4", "nox>=2026.4", "types-PyYAML>=6.0.12")
    python(session, "-m", "mypy")


@nox.session
@each_package
def tests(session: nox.Session, package: str) -> None:
    """Test one package on the CPU, with nothing installed but what it asks for."""
    install(session, *with_core(package), *TORCH)
    test(session, package)


@nox.session(name="tests-slow")
@each_package
def tests_slow(session: nox.Session, package: str) -> None:
    """Run the longer proofs of one package."""
    install(session, *with_core(package), *TORCH)
    test(session, package, "-m", "slow")


@nox.session(name="tests-fresh")
def tests_fresh(session: nox.Session) -> None:
    """Test with what `pip install` gives a user today: no dates, no pins of ours."""
    wheels = build(session)
    install(session, "--no-config", "--upgrade", *(f"{wheel}[testing]" for wheel in wheels))
    for package in PACKAGES:
        test(session, package)


@nox.session(name="tests-minimal", python="3.11")
def tests_minimal(session: nox.Session) -> None:
    """Test with the oldest release of every dependency that the packages allow."""
    everything = [f"./packages/{package}[testing]" for package in PACKAGES]
    install(session, "--resolution=lowest-direct", *everything, *OLDEST_TORCH)
    for package in PACKAGES:
        test(session, package)


@nox.session
@each_package
def wheels(session: nox.Session, package: str) -> None:
    """Build a package's wheel, install it alone (with the core's) and run its tests on it."""
    built = [wheel for wheel in build(session) if wheel.name.split("-")[0].endswith(package)]
    core = [wheel for wheel in build(session) if "core" in wheel.name]
    chosen = dict.fromkeys([*core, *built])
    install(session, "--reinstall-package=asr-lab-core", *(f"{w}[testing]" for w in chosen), *TORCH)
    python(session, "-m", "asr_lab.cli", "plugins")
    test(session, package)


def build(session: nox.Session) -> list[Path]:
    """Build the wheels of all packages into `dist/`, once per run of nox."""
    dist = Path("dist")
    wheels = sorted(dist.glob("asr_lab_*.whl"))
    if session.name not in _BUILT and not _BUILT:
        shutil.rmtree(dist, ignore_errors=True)
        install(session, "hatch>=1.16")
        for package in PACKAGES:
            with session.chdir(f"packages/{package}"):
                python(session, "-m", "hatch", "build", "-t", "wheel", "../../dist")
        _BUILT.add(session.name)
        wheels = sorted(dist.glob("asr_lab_*.whl"))
    return [wheel.resolve() for wheel in wheels]


_BUILT: set[str] = set()


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; its code blocks are run by the tests."""
    everything = [f"-e./packages/{package}" for package in PACKAGES]
    install(session, *everything, *TORCH, "zensical==0.0.73", "mkdocstrings[python]>=1.0")
    python(session, "-m", "zensical", "build", "--clean", "-f", "docs/mkdocs.yml")


@nox.session
def wheelhouse(session: nox.Session) -> None:
    """Collect all wheels for a machine without a network: `-- [3.12] [--without torch …]`.

    What is named after `--without` is left out together with what nothing else needs.
    """
    version, left_out = wheelhouse_options(session.posargs)
    folder = Path("dist/wheelhouse").resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for wheel in build(session):
        shutil.copy(wheel, folder)
    install(session, "pip>=25", "uv>=0.9")
    pinned = resolve(session, version, folder, left_out)
    platforms = [f"--platform=manylinux_{p}_x86_64" for p in MANYLINUX if "_" in p]
    platforms += [f"--platform=manylinux{p}_x86_64" for p in MANYLINUX if "_" not in p]
    python(
        session,
        *("-m", "pip", "download", "--no-deps", "--only-binary=:all:", f"--dest={folder}"),
        *(f"--python-version={version}", *platforms, *pinned),
    )
    session.log(f"pip install --no-index --find-links {folder} asr-lab-core")


def wheelhouse_options(arguments: list[str]) -> tuple[str, list[str]]:
    """Return the Python version and the distributions to leave out."""
    marker = arguments.index("--without") if "--without" in arguments else len(arguments)
    version = arguments[0] if marker else f"{sys.version_info[0]}.{sys.version_info[1]}"
    return version, arguments[marker + 1 :]


def resolve(session: nox.Session, version: str, folder: Path, left_out: list[str]) -> list[str]:
    """Return the pinned requirements of all packages, their test tools and nox."""
    wanted = folder.parent / "wheelhouse.in"
    ours = [f"{wheel.name.split('-')[0]}[testing] @ {wheel}" for wheel in folder.glob("*.whl")]
    wanted.write_text("\n".join([*ours, *TORCH, "nox"]))
    without = [f"--no-emit-package={name}" for name in left_out]
    listed = session.run(
        *("uv", "pip", "compile", "--quiet", "--no-annotate", "--no-header", str(wanted)),
        *(f"--python-version={version}", "--python-platform=x86_64-manylinux_2_28", *without),
        silent=True,
        external=True,
    )
    lines = [line.strip() for line in str(listed).splitlines()]
    gpu = ("nvidia-", "triton", "cuda-") if "torch" in left_out else ()
    return [
        line
        for line in lines
        if "==" in line and not line.startswith(("#", "asr-lab", *gpu))
    ]


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
        install(session, *with_core(package), *TORCH)
        test(session, package, ASR_LAB_TIER=name)

    run.__doc__ = f"Test one package on a GPU: {features}."
    nox.session(each_package(run), name=name, tags=["gpu"])


for tier, (least, features) in TIERS.items():
    add_tier(tier, least, features)
