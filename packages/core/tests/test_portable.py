"""The portable checkpoint: one verified file with all that recognising needs."""

import dataclasses
import math
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.checkpoints import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NewerCheckpointError,
    PortableModel,
    UnsafeCheckpointError,
    read_portable,
    write_portable,
)
from asr_lab.checkpoints.portable import FORMAT, KIND
from asr_lab.reproducibility.hash import file_digest, state_digest, text_digest
from asr_lab.tokenizers import CharacterTokenizer
from asr_lab.utils.files import CannotWriteError

FIXTURE = Path(__file__).parent / "fixtures" / "portable_format_1.pt"
TOKENIZER = CharacterTokenizer("abc ")
CONFIG = {"vocab": 4, "features": "kaldi", "mels": 3, "sizes": [1, 2]}


def tensors() -> dict[str, Tensor]:
    """Return the tensors of a small model."""
    shapes = {"hidden.weight": (4, 3), "hidden.bias": (4,), "count": ()}
    return {
        name: torch.arange(float(math.prod(shape))).reshape(shape) / 8
        for name, shape in shapes.items()
    }


def portable(**changes: object) -> PortableModel:
    """Return a checkpoint of that model."""
    values = {
        "model": "tiny/model",
        "distribution": "tiny-asr",
        "distribution_version": "0.1.0",
        "config": CONFIG,
        "tokenizer_kind": "characters",
        "tokenizer": TOKENIZER.to_bytes(),
        "tensors": tensors(),
        "features": "kaldi",
        "normalizer": "basic",
        "language": "en",
        "weights": "averaged",
        "run_id": "tiny-0001",
        "metrics": {"word_error_rate": 0.125, "größe": [1, None]},
    }
    return PortableModel(**{**values, **changes})  # type: ignore[arg-type]


def plain(value: PortableModel) -> dict[str, object]:
    """Return the fields, with a digest for the tensors."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {**fields, "tensors": state_digest(value.tensors)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    for value in (
        portable(),
        portable(metrics=None, language="", weights="raw"),
        portable(tensors={}),
        portable(tokenizer=bytes(range(256))),
        portable(tensors={"a": torch.ones(2, dtype=torch.bfloat16), "b": torch.tensor(True)}),
    ):
        write_portable(path, value)
        assert plain(read_portable(path)) == plain(value)
    assert list(tmp_path.iterdir()) == [path]


def test_equal_models_give_equal_bytes(tmp_path: Path) -> None:
    first = portable(normalizer="en", language="en")
    second = read_back(tmp_path, first)
    reordered = dataclasses.replace(
        second,
        tensors=dict(sorted(second.tensors.items(), reverse=True)),
        config=dict(sorted(second.config.items(), reverse=True)),
        language="".join(["e", "n"]),
    )
    digests = set()
    for number, value in enumerate((first, second, reordered)):
        write_portable(tmp_path / f"{number}.pt", value)
        digests.add(file_digest(tmp_path / f"{number}.pt"))
    assert len(digests) == 1


def read_back(folder: Path, value: PortableModel) -> PortableModel:
    """Write and read a checkpoint."""
    write_portable(folder / "copy.pt", value)
    return read_portable(folder / "copy.pt")


def test_torch_reads_it_without_this_package(tmp_path: Path) -> None:
    write_portable(tmp_path / "best.pt", portable())
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    assert content["format"] == KIND and content["format_version"] == FORMAT
    assert content["model"] == "tiny/model" and content["tokenizer"] == TOKENIZER.to_bytes()
    assert state_digest(content["tensors"]) == state_digest(tensors())


def test_only_a_tensors_own_values_are_written(tmp_path: Path) -> None:
    large = torch.randn(1_000_000)
    write_portable(tmp_path / "a.pt", portable(tensors={"part": large[:10]}))
    assert (tmp_path / "a.pt").stat().st_size < 20_000
    assert torch.equal(read_portable(tmp_path / "a.pt").tensors["part"], large[:10])


def test_a_released_format_stays_readable() -> None:
    found = read_portable(FIXTURE)
    assert FIXTURE.stat().st_size < 10_000
    assert (found.model, found.distribution, found.distribution_version) == (
        "tiny/model",
        "tiny-asr",
        "0.1.0",
    )
    assert found.config == CONFIG
    assert found.tokenizer == b'{"characters": " abc"}' and found.tokenizer_kind == "characters"
    assert (found.features, found.normalizer, found.language) == ("kaldi", "basic", "en")
    assert (found.weights, found.run_id) == ("averaged", "tiny-0001")
    assert found.metrics == {"word_error_rate": 0.125, "größe": [1, None]}
    assert state_digest(found.tensors) == state_digest(tensors())


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    write_portable(path, portable())
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CannotWriteError, match=r"cannot write .*best\.pt"):
            write_portable(path, portable(language="de"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_without_a_tokenizer_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a tokenizer"):
        write_portable(tmp_path / "best.pt", portable(tokenizer=b""))
    assert not list(tmp_path.iterdir())


def rewritten(folder: Path, **changes: object) -> Path:
    """Write a checkpoint with entries replaced (None removes), keeping their digests."""
    write_portable(folder / "best.pt", portable())
    content = torch.load(folder / "best.pt", weights_only=True)
    content = {k: v for k, v in {**content, **changes}.items() if v is not None}
    torch.save(content, folder / "best.pt")
    return folder / "best.pt"


def test_a_newer_format_is_refused_in_one_line(tmp_path: Path) -> None:
    path = rewritten(tmp_path, format_version=2, tensors=None, surprise="new")
    expected = r"best\.pt is format 2; this version reads up to 1; upgrade asr-lab-core$"
    with pytest.raises(NewerCheckpointError, match=expected):
        read_portable(path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"language": "de"}, "the content of language has changed"),
        ({"config": '{"dim": 5}'}, "the content of config has changed"),
        ({"tokenizer": b"other"}, "the content of tokenizer has changed"),
        ({"tokenizer": "text"}, "tokenizer is a str"),
        ({"model": 3}, "model is a int"),
        ({"language": None}, "language is missing"),
        ({"digests": None}, "digests is missing"),
        ({"surprise": "x"}, "surprise is extra"),
        ({"digests": {}}, "entries and digests do not belong together"),
        ({"digests": "x"}, "entries and digests do not belong together"),
        ({"tensors": {"mean": torch.zeros(3)}}, "entries and digests do not belong together"),
        ({"tensors": {"mean": 1}}, "tensors are not named tensors"),
        ({"tensors": [torch.zeros(3)]}, "tensors are not named tensors"),
        ({"format_version": None}, "names no format version"),
        ({"format_version": "1"}, "names no format version"),
        ({"format": "other"}, "is not a checkpoint of this lab"),
    ],
)
def test_an_entry_that_is_not_what_was_written_is_named(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    path = rewritten(tmp_path, **changes)
    with pytest.raises(DamagedCheckpointError, match=problem) as caught:
        read_portable(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_a_changed_weight_is_named(tmp_path: Path) -> None:
    changed = tensors()
    changed["hidden.bias"][2] += 1e-6
    path = rewritten(tmp_path, tensors=changed)
    with pytest.raises(DamagedCheckpointError, match=r"of tensors/hidden\.bias has changed"):
        read_portable(path)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("config", "{"),
        ("config", "3"),
        ("config", "[" * 100_000),
        ("metrics", "[1]"),
        ("weights", "best"),
    ],
)
def test_fields_that_mean_nothing_are_damage(tmp_path: Path, field: str, text: str) -> None:
    write_portable(tmp_path / "best.pt", portable())
    content = torch.load(tmp_path / "best.pt", weights_only=True)
    content[field], content["digests"][field] = text, text_digest(text)
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(DamagedCheckpointError, match=field.removesuffix("s")):
        read_portable(tmp_path / "best.pt")


class Hostile:
    """Pickles as a call."""

    def __reduce__(self) -> tuple[object, ...]:
        """Ask for a shell."""
        import os

        return os.system, ("touch hacked",)


def test_files_that_are_no_checkpoints_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    with pytest.raises(MissingCheckpointError, match="no checkpoint"):
        read_portable(path)
    path.write_text("hello")
    with pytest.raises(DamagedCheckpointError, match="is not a checkpoint"):
        read_portable(path)
    torch.save(tensors(), path)
    with pytest.raises(DamagedCheckpointError, match="not a checkpoint of this lab"):
        read_portable(path)
    torch.save({"format": KIND, "model": Hostile()}, path)
    with pytest.raises(UnsafeCheckpointError, match=r"system, which may run code"):
        read_portable(path)
    write_portable(path, portable())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedCheckpointError, match="truncated or damaged"):
        read_portable(path)


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_flipped_bit_is_detected_or_changes_nothing(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "best.pt"
    write_portable(path, portable())
    content = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    try:
        found = read_portable(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert plain(found) == plain(portable())


def test_importing_the_package_imports_no_torch() -> None:
    program = "import sys, asr_lab.checkpoints; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
