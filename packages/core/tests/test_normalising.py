"""Many texts: shared out among processes, kept for the next time, and never believed if damaged."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from asr_lab.evaluation.normalising import MANY, PART, cache_folder, normalise
from asr_lab.evaluation.normalizers import BASIC, NONE, Normalizer, normalizer

TEXTS = ["Hello, World", "it's 5 %", "", "a\nb", "\ud800", "Hello, World", "été"]


class Counted:
    """The rule `basic`, and how many texts went through it."""

    def __init__(self) -> None:
        self.texts = 0
        self.rule = replace(BASIC, apply=self)

    def __call__(self, text: str) -> str:
        self.texts += 1
        return BASIC.apply(text)


@pytest.fixture
def counted() -> Iterator[Counted]:
    yield Counted()


def test_processes_normalise_as_one_does() -> None:
    texts = [f"Number {index}!" for index in range(2 * PART + 3)] * 2
    made = normalise(texts, BASIC, processes=2)
    assert made == normalise(texts, BASIC, processes=1) and len(made) == 2 * PART + 3
    assert made["Number 2002!"] == "number 2002"


def test_texts_are_normalised_once_and_then_read(counted: Counted, tmp_path: Path) -> None:
    made = normalise(TEXTS, counted.rule, folder=tmp_path)
    assert counted.texts == 6
    assert normalise(TEXTS, counted.rule, folder=tmp_path) == made
    assert counted.texts == 6
    assert made == {text: BASIC.apply(text) for text in TEXTS}


def test_other_texts_and_other_rules_are_not_mixed_up(counted: Counted, tmp_path: Path) -> None:
    first = normalise(["a b", "c"], counted.rule, folder=tmp_path)
    for texts in (["a", "b c"], ["a b"], ["c", "a b"]):
        assert normalise(texts, counted.rule, folder=tmp_path) == dict(
            zip(texts, texts, strict=True)
        )
    other = Normalizer(name="basic", definition="shouted", apply=str.upper)
    assert normalise(["a b", "c"], other, folder=tmp_path) == {"a b": "A B", "c": "C"}
    assert normalise(["a b", "c"], counted.rule, folder=tmp_path) == first
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("damage", ["cut", "turned", "emptied", "deleted", "shortened"])
def test_a_damaged_file_is_made_again(damage: str, counted: Counted, tmp_path: Path) -> None:
    made = normalise(TEXTS, counted.rule, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    elif damage == "shortened":  # whole, but of another length than the texts
        content = json.dumps(["a"]).encode()
        path.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    else:
        turned = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
        path.write_bytes({"cut": whole[:-9], "turned": turned, "emptied": b""}[damage])
    assert normalise(TEXTS, counted.rule, folder=tmp_path) == made
    assert counted.texts == 12
    assert path.read_bytes() == whole


def test_writers_at_the_same_time_leave_one_whole_file(tmp_path: Path) -> None:
    texts = [f"Number {index}!" for index in range(500)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: normalise(texts, BASIC, folder=tmp_path / "new"), range(24)))
    assert all(one == made[0] for one in made)
    (path,) = (tmp_path / "new").iterdir()
    counted = Counted()
    assert normalise(texts, counted.rule, folder=path.parent) == made[0] and counted.texts == 0


def test_a_place_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("dear")
    made = normalise(TEXTS, BASIC, folder=tmp_path / "file" / "below")
    assert made["Hello, World"] == "hello world"
    assert (tmp_path / "file").read_text() == "dear"


def test_only_much_work_is_kept_and_where_the_user_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = normalizer("openasr")
    monkeypatch.setenv("ASR_LAB_CACHE", str(tmp_path / "mine"))
    assert cache_folder(MANY, slow) == tmp_path / "mine" / "normalised"
    assert cache_folder(MANY - 1, slow) is None
    assert cache_folder(MANY, BASIC) is None and cache_folder(MANY, NONE) is None
    monkeypatch.setenv("ASR_LAB_CACHE", "")
    assert cache_folder(MANY, slow) is None
    monkeypatch.delenv("ASR_LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(MANY, slow) == tmp_path / "asr-lab" / "normalised"
