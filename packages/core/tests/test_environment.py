"""Environment, deterministic mode and the run record."""

import getpass
import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from asr_lab.reproducibility import RunRecord
from asr_lab.reproducibility.deterministic import deterministic
from asr_lab.reproducibility.environment import (
    code,
    environment,
    environment_changes,
    machine,
    packages,
    triton_digest,
    variables,
)
from asr_lab.reproducibility.record import RECORD, RecordError
from asr_lab.utils.files import CannotWriteError

FULL = RunRecord(
    run_id="conformer-tiny-0001",
    command=("asr-lab", "train", "--model", "conformer"),
    model="conformer/conformer",
    preset="tiny",
    changes={"train.lr": 3e-4},
    config={"train": {"lr": 3e-4, "betas": [0.9, 0.98]}, "seed": 7},
    seeds={"run": 7},
    digests={"config": "ab" * 32},
    environment={"python": "CPython 3.11.7"},
    execution={"device": "cpu", "compiled": False},
    restarts=({"step": 10, "changes": ["torch: 1 -> 2"]},),
    status="finished",
    results={"word_error_rate": 0.0312},
)


def test_the_environment_names_what_a_result_depends_on() -> None:
    facts = environment()
    assert facts["torch"] == torch.__version__
    assert facts["python"].endswith(platform.python_version())
    assert facts["package.torch"] == version("torch")
    assert facts["package.asr-lab-core"] == version("asr-lab-core")
    assert int(facts["cores"]) >= 1 and facts["memory"].endswith(" GiB") and facts["cpu"]
    assert int(facts["threads"]) == torch.get_num_threads()
    assert json.loads(json.dumps(facts)) == facts


def test_the_environment_names_no_person_machine_or_path() -> None:
    text = json.dumps({**machine(), **packages(), **code()})
    for private in (str(Path.home()), platform.node(), f"/{getpass.getuser()}", str(Path.cwd())):
        if len(private) > 2:
            assert private not in text


def test_variables_are_recorded_only_if_they_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    facts = variables()
    assert facts["variable.OMP_NUM_THREADS"] == "3"
    assert "variable.CUBLAS_WORKSPACE_CONFIG" not in facts
    assert "hidden" not in facts.values()


def test_the_digest_of_the_kernels_is_that_of_their_sources() -> None:
    assert re.fullmatch("[0-9a-f]{64}", triton_digest())
    assert triton_digest() == triton_digest()


def test_packages_that_are_not_installed_are_left_out() -> None:
    assert all(packages().values())
    assert "package.flash-attn" not in packages() or version("flash-attn")


def test_the_environment_needs_no_torch_to_be_imported() -> None:
    program = (
        "import sys; from asr_lab.reproducibility import RunRecord;"
        "from asr_lab.reproducibility.environment import machine, packages, variables;"
        "machine(); packages(); variables(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_changes_of_the_environment_are_named_one_by_one() -> None:
    before = {"torch": "1", "python": "3.11", "cuda": "12"}
    after = {"torch": "2", "python": "3.11", "driver": "5"}
    assert environment_changes(before, after) == [
        "cuda: 12 -> none",
        "driver: none -> 5",
        "torch: 1 -> 2",
    ]
    assert environment_changes(before, before) == []


def git(folder: Path, *arguments: str) -> None:
    """Run git without anybody's settings."""
    author = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
    clean = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", *author, "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **clean})


def revision_of(folder: Path) -> dict[str, str]:
    """Return what a copy of the module says about the checkout it lies in."""
    module = Path(sys.modules["asr_lab.reproducibility.environment"].__file__ or "")
    copy = folder / "code.py"
    copy.write_text(module.read_text(encoding="utf-8"), encoding="utf-8")
    namespace: dict[str, object] = {"__file__": str(copy), "__name__": "copied"}
    exec(compile(copy.read_text(encoding="utf-8"), str(copy), "exec"), namespace)
    ask = namespace["code"]
    assert callable(ask)
    facts = ask()
    assert isinstance(facts, dict)
    return facts


def test_the_revision_covers_changed_and_new_code(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "other.py").write_text("1\n")
    git(tmp_path, "add", "other.py")
    git(tmp_path, "commit", "-qm", "first")
    assert revision_of(tmp_path) == {}, "a file that is not tracked is no checkout's"
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-qm", "second")
    clean = revision_of(tmp_path)
    assert len(clean["code.revision"]) == 40 and clean["code.changes"] == "none"
    digests = [clean["code.changes"]]
    for name, text in (("other.py", "2\n"), ("new.py", "1\n"), ("new.py", "2\n")):
        (tmp_path / name).write_text(text)
        facts = revision_of(tmp_path)
        assert facts["code.revision"] == clean["code.revision"]
        digests.append(facts["code.changes"])
    (tmp_path / "other.py").unlink()
    digests.append(revision_of(tmp_path)["code.changes"])
    assert len(set(digests)) == len(digests)
    (tmp_path / "notes.txt").write_text("no code")
    assert revision_of(tmp_path)["code.changes"] == digests[-1]


def test_code_outside_a_checkout_has_no_revision(tmp_path: Path) -> None:
    assert revision_of(tmp_path) == {}


def switches() -> tuple[object, ...]:
    """Return everything that deterministic mode touches."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )


def test_deterministic_mode_ends_with_its_block() -> None:
    before = switches()
    with deterministic():
        assert switches() == (True, False, True, False, False)
        with deterministic(False):
            assert torch.are_deterministic_algorithms_enabled()
    assert switches() == before
    with pytest.raises(KeyError), deterministic():
        raise KeyError
    assert switches() == before


def test_deterministic_mode_refuses_what_has_no_deterministic_kernel() -> None:
    source, index = torch.ones(3), torch.tensor([0, 0, 1])
    with deterministic(), pytest.raises(RuntimeError, match="deterministic"):
        torch.zeros(2).put_(index, source)
    with deterministic(False):
        torch.zeros(2).put_(index, source)


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    assert FULL.write(tmp_path) == tmp_path / RECORD
    assert RunRecord.read(tmp_path) == FULL
    RunRecord(run_id="other").write(tmp_path)
    assert RunRecord.read(tmp_path) == RunRecord(run_id="other")
    assert [path.name for path in tmp_path.iterdir()] == [RECORD]


def test_a_restart_is_added_to_the_record(tmp_path: Path) -> None:
    again = FULL.restarted(20, ("torch: 2 -> 3",))
    assert again.status == "running"
    assert again.restarts == (*FULL.restarts, {"step": 20, "changes": ["torch: 2 -> 3"]})
    again.write(tmp_path)
    assert RunRecord.read(tmp_path) == again


def test_a_newer_record_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(json.dumps({"schema": 2, "surprise": 1}))
    with pytest.raises(RecordError, match=r"is version 2; this version reads up to 1; upgrade"):
        RunRecord.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "is not the folder of a run"),
        ("{", "is not JSON"),
        ("\xff", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a run record"),
        ('{"schema": "1"}', "is not a run record"),
        ({"status": "sleeping"}, "status is 'sleeping'"),
        ({"seeds": [1]}, "seeds is no dict"),
        ({"run_id": None}, "run_id is no str"),
        ({"surprise": 1}, "surprise is unknown"),
    ],
)
def test_a_damaged_record_is_refused_in_one_line(
    tmp_path: Path, text: str | dict[str, object] | None, problem: str
) -> None:
    if isinstance(text, dict):
        text = json.dumps({**FULL.to_dict(), **text})
    if text is not None:
        (tmp_path / RECORD).write_bytes(text.encode("latin1"))
    with pytest.raises(RecordError, match=problem) as caught:
        RunRecord.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_record_with_a_missing_field_is_refused(tmp_path: Path) -> None:
    content = FULL.to_dict()
    del content["digests"]
    (tmp_path / RECORD).write_text(json.dumps(content))
    with pytest.raises(RecordError, match="digests is missing"):
        RunRecord.read(tmp_path)


def test_a_record_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(CannotWriteError, match=r"cannot write .*run\.json"):
        FULL.write(tmp_path / "missing")
