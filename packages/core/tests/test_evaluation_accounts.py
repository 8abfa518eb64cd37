"""`asr-lab evaluate`: every number in the result follows from the hypotheses beside it."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from asr_lab.cli import main
from asr_lab.evaluation.normalizers import normalizer
from asr_lab.testing.speech import write_corpus

RATE = 16000
TEXTS = ["Bed, cab!", "FADE bad", "dace", "face: dab", "bed bed bed", "ace"]
"""The model hears the letters of the last but one run together, and so makes mistakes."""
Row = dict[str, Any]
Evaluate = Callable[..., int]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a corpus in which the texts are not as they are heard: capitals, punctuation."""
    folder = tmp_path / "data"
    write_corpus(folder, [text.lower().strip("!").replace(",", "") for text in TEXTS], seed=77)
    rewritten = [{**row, "text": text} for row, text in zip(rows(folder), TEXTS, strict=True)]
    rewritten[2]["text"] = "dace again"  # a word that nobody says is a deletion
    write_rows(folder, rewritten)
    return folder


@pytest.fixture
def evaluate(checkpoint: Path, probe: Path, tmp_path: Path) -> Evaluate:
    """Return a function that evaluates a folder into `tmp_path/out`, and gives the exit status."""

    def command(folder: Path, flags: str = "", output: str = "out") -> int:
        data = f"--dataset manifest:{folder}/manifest.jsonl"
        for name, value in {"--workers": "0", "--device": "cpu"}.items():
            data += "" if name in flags else f" {name} {value}"
        words = f"--checkpoint {checkpoint} {data} --output {tmp_path}/{output} {flags}"
        return main(["evaluate", *words.split()])

    return command


def rows(folder: Path) -> list[Row]:
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write_rows(folder: Path, found: list[Row]) -> None:
    (folder / "manifest.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in found))


def report(folder: Path) -> tuple[Row, list[Row]]:
    """Return the result and the hypotheses of a folder."""
    lines = (folder / "hypotheses.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads((folder / "result.json").read_text()), [json.loads(line) for line in lines]


def distance(ours: list[str], theirs: list[str]) -> int:
    """Return the fewest edits, by the recursion of its definition, a row at a time."""
    row = list(range(len(theirs) + 1))
    for place, one in enumerate(ours, 1):
        before, row = row, [place]
        for k, other in enumerate(theirs, 1):
            row.append(min(before[k] + 1, row[-1] + 1, before[k - 1] + (one != other)))
    return row[-1]


def test_error_rates_are_those_of_a_slow_count_of_the_hypotheses(
    evaluate: Evaluate, data: Path, tmp_path: Path
) -> None:
    assert evaluate(data) == 0
    result, found = report(tmp_path / "out")
    apply = normalizer(result["normalizer"]).apply
    for unit, split in (("words", str.split), ("characters", list)):
        pairs = [(split(apply(row["reference"])), split(apply(row["hypothesis"]))) for row in found]
        errors = sum(distance(ours, theirs) for ours, theirs in pairs)
        length = sum(len(ours) for ours, _ in pairs)
        assert (result[unit]["errors"], result[unit]["reference_length"]) == (errors, length)
        assert result[unit]["error_rate"] == pytest.approx(errors / length)
        low, high = result[unit]["interval"]
        assert low <= errors / length <= high and low < high  # some utterances are wrong, not all


def test_counts_of_each_utterance_add_up_to_the_whole(
    evaluate: Evaluate, data: Path, tmp_path: Path
) -> None:
    assert evaluate(data) == 0
    result, found = report(tmp_path / "out")
    for unit, key in (("words", "word_errors"), ("characters", "character_errors")):
        for kind in ("substitutions", "deletions", "insertions", "reference_length"):
            assert result[unit][kind] == sum(row[key][kind] for row in found)
        kinds = ("substitutions", "deletions", "insertions")
        assert result[unit]["errors"] == sum(result[unit][kind] for kind in kinds)


def test_every_utterance_of_the_manifest_is_scored_once_with_its_text_and_length(
    evaluate: Evaluate, data: Path, tmp_path: Path
) -> None:
    assert evaluate(data, "--batch-seconds 1.5") == 0
    result, found = report(tmp_path / "out")
    said = sorted((row["text"], round(row["duration"], 4)) for row in rows(data))
    assert sorted((row["reference"], round(row["duration"], 4)) for row in found) == said
    assert result["utterances"] == len(said) and result["skipped"] == 0
    assert len({row["id"] for row in found}) == len(found)
    assert result["audio_seconds"] == pytest.approx(math.fsum(row["duration"] for row in found))


def test_speeds_are_audio_over_time_and_waiting_for_audio_makes_them_no_higher(
    evaluate: Evaluate, data: Path, tmp_path: Path
) -> None:
    assert evaluate(data) == 0
    result, _ = report(tmp_path / "out")
    assert result["rtfx"] == pytest.approx(result["audio_seconds"] / result["decode_seconds"])
    assert 0 < result["rtfx_with_loading"] <= result["rtfx"]


def test_the_worst_are_those_with_most_errors(
    evaluate: Evaluate, data: Path, tmp_path: Path
) -> None:
    assert evaluate(data) == 0
    result, found = report(tmp_path / "out")

    def errors(row: Row) -> int:
        return distance(row["reference_normalised"].split(), row["hypothesis_normalised"].split())

    wrong = sorted((errors(row) for row in found if errors(row)), reverse=True)
    assert [errors(row) for row in result["worst"]] == wrong and wrong


def test_the_order_of_the_manifest_does_not_change_the_result(
    evaluate: Evaluate, data: Path, tmp_path: Path
) -> None:
    assert evaluate(data) == 0
    write_rows(data, rows(data)[::-1])
    assert evaluate(data, output="again") == 0
    (first, ours), (second, theirs) = report(tmp_path / "out"), report(tmp_path / "again")
    for key in ("words", "characters", "utterances"):
        assert first[key] == second[key]
    assert {row["reference"]: row["hypothesis"] for row in ours} == {
        row["reference"]: row["hypothesis"] for row in theirs
    }


def test_the_speaker_of_a_manifest_stands_beside_the_hypothesis(
    evaluate: Evaluate, data: Path, tmp_path: Path
) -> None:
    speakers = [f"s{k}" for k in range(len(TEXTS))]
    named = [{**row, "speaker": name} for row, name in zip(rows(data), speakers, strict=True)]
    write_rows(data, named)
    assert evaluate(data) == 0
    _, found = report(tmp_path / "out")
    assert {row["reference"]: row["speaker"] for row in found} == {
        row["text"]: row["speaker"] for row in named
    }


def spoil(folder: Path, kind: str) -> None:
    """Make the first utterance one that cannot be used."""
    path, found = folder / "utterance-0000.wav", rows(folder)
    samples = soundfile.read(path)[0]
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no audio":
        path.write_text("these are words and no audio")
    elif kind == "no samples":
        soundfile.write(path, samples[:0], RATE)
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "NaN":
        samples[len(samples) // 2] = np.nan
        soundfile.write(path, samples, RATE, subtype="FLOAT")
    else:
        assert kind == "too long"
        found[0]["duration"] = 31.0
        soundfile.write(path, np.resize(samples, 31 * RATE), RATE)
        write_rows(folder, found)


KINDS = ["missing", "empty", "no audio", "no samples", "cut", "NaN", "too long"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_that_cannot_be_used_stops_the_evaluation_by_name(
    kind: str, evaluate: Evaluate, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(data, kind)
    capsys.readouterr()
    assert evaluate(data) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith("asr-lab: ") and "utterance-0000" in printed.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_skipping_an_utterance_leaves_the_others_as_they_were(
    kind: str, evaluate: Evaluate, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = tmp_path / "rest"
    shutil.copytree(data, rest)
    write_rows(rest, rows(data)[1:])
    assert evaluate(rest, output="rest-out") == 0
    spoil(data, kind)
    assert evaluate(data, "--on-bad-utterance skip") == 0
    (expected, ours), (result, theirs) = report(tmp_path / "rest-out"), report(tmp_path / "out")
    assert (result["skipped"], expected["skipped"]) == (1, 0)
    assert result["words"] == expected["words"]
    assert {row["id"]: row["hypothesis"] for row in theirs} == {
        row["id"]: row["hypothesis"] for row in ours
    }
    assert "1 skipped" in capsys.readouterr().out


def test_nothing_but_bad_utterances_is_no_result(
    evaluate: Evaluate, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(data, "NaN")
    write_rows(data, rows(data)[:1])
    capsys.readouterr()
    assert evaluate(data, "--on-bad-utterance skip") == 2
    assert "no utterance could be used (1 skipped)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty; it has no utterance"),
        ("{'text': 'bed'}\n", "manifest.jsonl:1"),
        ('{"text": "bed", "duration": 1.0}\n', "audio_filepath"),
        ('{"audio_filepath": "utterance-0000.wav", "duration": "x", "text": "bed"}\n', "duration"),
        ('{"audio_filepath": "utterance-0000.wav", "duration": -1, "text": "bed"}\n', "duration"),
        ("[1, 2]\n", "manifest.jsonl:1 is not a JSON object"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_one_line(
    content: str,
    said: str,
    evaluate: Evaluate,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (data / "manifest.jsonl").write_text(content)
    capsys.readouterr()
    assert evaluate(data) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert said in printed.err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--batch-seconds 0", "batch-seconds must be above 0"),
        ("--batch-seconds nan", "batch-seconds"),
        ("--workers -1", "workers must be 0 or more"),
        ("--on-bad-utterance ignore", "--on-bad-utterance ignore: not a choice"),
        ("--device tpu", "tpu"),
        ("--precision bf17", "bf17"),
        ("--format json", "--format: no such flag"),
        ("--json --json", "--json is given twice"),
        ("--beam many", "--beam many"),
    ],
)
def test_an_option_that_cannot_be_is_one_line_and_leaves_nothing(
    flags: str,
    said: str,
    evaluate: Evaluate,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    assert evaluate(data, flags) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and said in printed.err and not (tmp_path / "out").exists()
