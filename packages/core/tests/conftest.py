"""What tests of whole runs share: a plugin with a model in miniature, and a corpus for it."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from asr_lab.cli import main
from asr_lab.plugins import installed_plugins
from asr_lab.testing.speech import write_corpus

PROBE = Path(__file__).parent / "plugins" / "probe"
"""A plugin as pip leaves it: a package beside its metadata."""
# What several files of tests share and no fixture is.
sys.path.insert(0, str(Path(__file__).parent / "helpers"))
WORDS = "ab ace bad bed cab dab dad ebb fad fed".split()
HEARD_WORDS = "ace bad bed cab dab fed face fade bead dace".split()
"""No letter twice in a row: the model in miniature cannot hear where one ends."""
# How long data take to draw or a check to run is no rule of the code, and machines differ.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

FINE_TUNING = "--train.steps 4 --train.eval-every 4 --train.log-every 1 --device cpu"

Command = Callable[..., list[str]]
Train = Callable[..., int]
Transcribe = Callable[..., int]


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let this process and those it starts find the plugin `probe`; return its folder."""
    monkeypatch.syspath_prepend(PROBE)
    monkeypatch.setenv("PYTHONPATH", str(PROBE))
    installed_plugins.cache_clear()
    yield PROBE
    installed_plugins.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "probe_asr"]:
        del sys.modules[name]


def sentences(count: int, seed: int) -> list[str]:
    """Return sentences of one to three words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 3))) for _ in range(count)]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a file system in memory with the given options."""
    folder = tmp_path / "mounted"
    folder.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    done: list[bool] = []

    def mount(options: str) -> Path:
        remount = "remount," if done else ""
        words = ["mount", "-t", "tmpfs", "-o", f"{remount}{options}", "tmpfs", str(folder)]
        if subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        done.append(True)
        return folder

    yield mount
    if done:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the corpora `train` (24 utterances), `dev` (4) and `test` (5)."""
    folder = tmp_path_factory.mktemp("corpus")
    for seed, (name, count) in enumerate({"train": 24, "dev": 4, "test": 5}.items()):
        write_corpus(folder / name, sentences(count, seed), seed=100 * seed)
    return folder


@pytest.fixture
def command(probe: Path, corpus: Path) -> Command:
    """Return a function that gives the words of `asr-lab` that train `probe` on the corpus.

    It takes more flags; `--data`, `--dev-data` and `--eval-data` take the place of the corpus.
    """

    def words(*flags: object) -> list[str]:
        found = [word for flag in flags for word in str(flag).split()]
        for name, flag in {"train": "--data", "dev": "--dev-data", "test": "--eval-data"}.items():
            if flag not in found:
                found += [flag, f"manifest:{corpus / name / 'manifest.jsonl'}"]
        return ["train", "--model", "probe", *found]

    return words


@pytest.fixture
def train(command: Command) -> Train:
    """Return a function that does that in this process, and gives the exit status."""
    return lambda *flags: main(command(*flags))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the probe on `HEARD_WORDS` until it makes no mistakes; return its `best.pt`."""
    folder, draw = tmp_path_factory.mktemp("trained"), random.Random(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROBE)
        installed_plugins.cache_clear()
        sets = []
        for seed, (name, count) in enumerate({"data": 60, "dev-data": 12, "eval-data": 12}.items()):
            texts = [" ".join(draw.sample(HEARD_WORDS, 1 + n % 5)) for n in range(count)]
            write_corpus(folder / name, texts, seed=1000 * seed)
            sets += [f"--{name}", f"manifest:{folder / name / 'manifest.jsonl'}"]
        flags = "--train.steps 250 --train.eval-every 250 --train.save-every 250 --model.dropout 0"
        more = "--model.features kaldi --model.dim 64 --data.batch-seconds 20 --output"
        words = [*flags.split(), *more.split(), str(folder / "run")]
        assert main(["train", "--model", "probe", *sets, *words]) == 0
    installed_plugins.cache_clear()
    result = json.loads((folder / "run" / "test.result.json").read_text())
    assert result["words"]["errors"] == 0, "the tests of transcription need a model that hears all"
    return folder / "run" / "best.pt"


@pytest.fixture
def transcribe(checkpoint: Path, probe: Path) -> Transcribe:
    """Return a function that transcribes files with more flags, and gives the exit status."""

    def command(*files: object, flags: str = "", model: object = checkpoint) -> int:
        base = ["--checkpoint", str(model), "--device", "cpu"]
        return main(["transcribe", *map(str, files), *base, *flags.split()])

    return command


@pytest.fixture
def source(checkpoint: Path, probe: Path) -> Path:
    """Return the folder of a run whose model makes no mistakes."""
    return checkpoint.parent


@pytest.fixture
def tune(source: Path, tmp_path: Path) -> Train:
    """Return a function that goes on from that model on its own data, and gives the status."""

    def run(*flags: object, start: object = source) -> int:
        data = source.parent
        words = [word for flag in flags for word in str(flag).split()]
        for flag in ("--data", "--dev-data", "--eval-data"):
            if flag not in words:
                words += [flag, f"manifest:{data / flag.strip('-')}/manifest.jsonl"]
        if "--output" not in words and "--dry-run" not in words:
            words += ["--output", str(tmp_path / "run")]
        return main(["train", "--from", str(start), *FINE_TUNING.split(), *words])

    return run
