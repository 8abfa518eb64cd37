"""`asr-lab evaluate` on parquet of the hub: the same result as on the files it was made of."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

Train = Callable[..., int]
FLAGS = ("--workers", "0", "--device", "cpu")


def test_parquet_of_a_corpus_gives_the_error_rate_of_its_files(
    train: Train,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("ASR_LAB_CACHE", str(tmp_path / "unpacked"))
    assert train("--train.steps 1 --output", tmp_path / "run") == 0
    command = ["evaluate", "--checkpoint", str(tmp_path / "run"), *FLAGS, "--dataset"]
    assert main([*command, "hf:some/corpus"]) == 2
    assert "download it with `hf download some/corpus" in capsys.readouterr().err
    manifest = corpus / "test" / "manifest.jsonl"
    base = tmp_path / "hub" / "datasets--some--corpus"
    (base / "refs").mkdir(parents=True)
    (base / "refs" / "main").write_text("abc")
    (base / "snapshots" / "abc" / "data").mkdir(parents=True)
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    paths = [manifest.parent / line["audio_filepath"] for line in lines]
    rows = [
        {"audio": {"bytes": path.read_bytes(), "path": path.name}, "text": line["text"]}
        for path, line in zip(paths, lines, strict=True)
    ]
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, base / "snapshots" / "abc" / "data" / "test.parquet")
    found = {}
    for name in ("hf:some/corpus", f"manifest:{manifest}"):
        folder = tmp_path / name.partition(":")[0]
        assert main([*command, name, "--output", str(folder)]) == 0
        hypotheses = (folder / "hypotheses.jsonl").read_text().splitlines()
        texts = [json.loads(line) for line in hypotheses]
        found[name] = sorted((each["reference"], each["hypothesis"]) for each in texts)
    first, second = found.values()
    assert len(first) == len(lines) and first == second
