"""Whatever of the unsynced data a power cut takes, a run goes on from all that it needs."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forgetful_disk import Check, Disk, Node, Operation, first_loss, logged

from asr_lab.checkpoints import latest, load, read_portable
from asr_lab.checkpoints.errors import CheckpointError
from asr_lab.cli import main
from asr_lab.plugins import installed_plugins
from asr_lab.reproducibility.chain import Chain, ChainEnd
from asr_lab.reproducibility.record import RecordError, RunRecord
from asr_lab.training.learner import Learner
from asr_lab.training.run_folder import BEST, RunFolder
from asr_lab.training.state import TrainState
from asr_lab.training.witnesses import AUDIO

FLAGS = (
    "--train.steps 2 --train.eval-every 2 --train.save-every 1 --train.digest-every 1 "
    "--train.keep 1 --data.workers 0 --output"
)


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path
) -> Iterator[tuple[Path, list[Operation]]]:
    """Return the folder of a run of two steps, and the log of everything from its start on."""
    folder = tmp_path_factory.mktemp("power") / "runs"
    folder.mkdir()
    sets = [("data", "train"), ("dev-data", "dev"), ("eval-data", "test")]
    names = [f"--{flag}=manifest:{corpus}/{name}/manifest.jsonl" for flag, name in sets]
    words = ["train", "--model", "probe", *names, *FLAGS.split(), str(folder / "run")]

    def work(returned: Callable[[], None]) -> None:
        save = RunFolder.save

        def saving(one: RunFolder, learner: Learner, state: TrainState) -> None:
            save(one, learner, state)
            returned()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunFolder, "save", saving)
            assert main(words) == 0

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent / "plugins" / "probe")
        installed_plugins.cache_clear()
        yield folder / "run", logged(folder, work)
    installed_plugins.cache_clear()


def lost_part(whole: Path, log: list[Operation]) -> Check:
    """Return what says what a run could not go on with to the same end."""
    heads = ["", *(entry.head for entry in Chain.read(whole).entries)]
    heard = [more for kind, path, more in log if (kind, path) == ("write", f"run/{AUDIO}")]
    assert len(heard) == 2 and len(heads) == 3

    def lost(image: Path, safe: bool) -> str:
        folder = image / "run"
        if not (folder / "run.json").exists():
            return "the run is gone" if safe else ""
        try:
            assert RunRecord.read(folder).run_id == "run"
        except RecordError as error:
            return str(error)
        found, problems = latest(folder / "checkpoints")
        if found is None or problems:
            return "no whole checkpoint" if safe or problems else ""
        state = load(found).state["run"]
        assert isinstance(state, dict)
        end = ChainEnd.at(folder, state["step"])
        if (end.step, end.head) != (state["step"], heads[state["step"]]) or end.saved is None:
            return f"the chain says nothing of step {state['step']}"
        known = (folder / AUDIO).read_bytes() if (folder / AUDIO).exists() else b""
        if not known.startswith(heard[state["step"] - 1]):
            return "what was heard is not known"
        try:
            return "" if not state["best_step"] or read_portable(folder / BEST) else "no best"
        except CheckpointError as error:
            return str(error)

    return lost


def nothing() -> Disk:
    """Return an empty disk."""
    disk = Disk(Node(names={}))
    disk.seen["."] = disk.root
    return disk


def test_a_power_cut_at_any_moment_of_a_run_leaves_all_that_it_goes_on_from(
    run: tuple[Path, list[Operation]], tmp_path: Path
) -> None:
    folder, log = run
    assert {kind for kind, _, _ in log} == {
        *("mkdir", "write", "link", "rename", "remove", "fsync", "fsync folder", "returned")
    }
    assert first_loss(nothing(), log, lost_part(folder, log), tmp_path / "images") == ""


@pytest.mark.parametrize(
    "never",
    [
        "fsync folder .",
        "fsync folder run",
        "fsync folder run/checkpoints",
        "fsync run/.partial-run.json",
        "fsync run/.partial-best.pt",
        "fsync run/chain.jsonl",
        "fsync run/audio.bin",
    ],
)
def test_whatever_is_never_flushed_is_lost(
    never: str, run: tuple[Path, list[Operation]], tmp_path: Path
) -> None:
    folder, log = run
    without = [one for one in log if f"{one[0]} {re.sub('-[0-9a-f]{8}$', '', one[1])}" != never]
    assert len(without) < len(log)
    assert first_loss(nothing(), without, lost_part(folder, log), tmp_path / "images")
