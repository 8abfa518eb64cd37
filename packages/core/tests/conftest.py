"""What tests of whole runs share: a plugin with a model in miniature, and a corpus for it."""

import random
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
WORDS = "ab ace bad bed cab dab dad ebb fad fed".split()
# How long data take to draw or a check to run is no rule of the code, and machines differ.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

Command = Callable[..., list[str]]
Train = Callable[..., int]


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
