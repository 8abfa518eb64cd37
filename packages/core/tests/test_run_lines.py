"""Lines of a run's files after a crash: torn ones are forgotten, whole ones are kept."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.training.state import TrainState

Train = Callable[..., int]
ODD = "ä\u2028b\u0085ß"
"""An id with characters that end a line for some readers, and more than one byte in UTF-8."""


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


@pytest.fixture
def spoilt(corpus: Path, tmp_path: Path) -> str:
    """Return the name of a data set in which two utterances have no audio, one oddly called."""
    folder = tmp_path / "spoilt"
    shutil.copytree(corpus / "train", folder)
    manifest = folder / "manifest.jsonl"
    for name in (ODD, "plain"):
        row = {"id": name, "audio_filepath": "no.wav", "text": "ab", "duration": 1.0}
        with manifest.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return f"manifest:{manifest}"


@pytest.fixture
def stopped(
    train: Train, spoilt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """Return a function that trains on those until a step, and gives the folder of the run."""

    def run(signal: str) -> Path:
        monkeypatch.setenv("PROBE_SIGNAL", signal)
        flags = f"--on-bad-utterance skip --data {spoilt} --train.log-every 1 --output"
        assert train(flags, tmp_path / "run") == 130
        monkeypatch.delenv("PROBE_SIGNAL")
        return tmp_path / "run"

    return run


def test_bad_utterances_are_remembered_once_whatever_characters_their_ids_have(
    stopped: Callable[[str], Path],
) -> None:
    run = stopped("SIGTERM:9")
    before = lines(run / "bad-utterances.jsonl")
    assert {line["id"] for line in before} == {ODD, "plain"}
    assert main(["resume", str(run)]) == 0
    assert lines(run / "bad-utterances.jsonl") == before
    results = json.loads((run / "run.json").read_text())["results"]
    assert results["state"]["bad_utterances"] == 2


@pytest.mark.parametrize("torn", [b'{"step": 1, "id": "\xc3', b'{"step": 1, "id"', b"\x00\xff"])
def test_a_torn_last_line_is_forgotten_when_a_run_goes_on(
    torn: bytes, stopped: Callable[[str], Path]
) -> None:
    run = stopped("SIGTERM:9")
    whole = {}
    for name in ("metrics.jsonl", "bad-utterances.jsonl"):
        whole[name] = lines(run / name)
        with (run / name).open("ab") as file:
            file.write(torn)
    assert main(["resume", str(run)]) == 0
    for name, before in whole.items():
        found = lines(run / name)
        assert found[: len(before)] == before
        steps = [float(str(line["step"])) for line in found]
        assert steps == sorted(steps)


def test_what_comes_after_the_checkpoint_is_told_again_and_not_twice(
    stopped: Callable[[str], Path],
) -> None:
    run = stopped("SIGTERM:9")
    shutil.rmtree(run / "checkpoints" / "step-00000009")
    assert main(["resume", str(run)]) == 0
    steps = [line["step"] for line in lines(run / "metrics.jsonl") if "lr" in line]
    assert steps == list(range(1, 13))


def test_where_a_run_stands_survives_being_stored_and_settings_of_other_versions() -> None:
    state = TrainState(step=7, epoch=2, epoch_step=1, best_error_rate=0.25, seconds=1.5)
    stored = json.loads(json.dumps(state.to_dict()))
    assert TrainState.from_dict(stored) == state
    assert TrainState.from_dict({**stored, "from_the_future": 1}) == state
    del stored["bad_utterances"]
    assert TrainState.from_dict(stored) == state


def test_weights_that_leave_an_epoch_empty_are_refused_in_one_line(
    train: Train, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"manifest:{corpus / 'train' / 'manifest.jsonl'}"
    assert train(f"--data {data}*0.04 --output", tmp_path / "run") == 2  # 0.96 of an utterance
    told = capsys.readouterr().err
    assert told == "asr-lab: the weights leave no utterance in an epoch; raise one in --data\n"
    assert not (tmp_path / "run").exists()
    assert train(f"--data {data}*0.042 --train.steps 3 --output", tmp_path / "run") == 0
