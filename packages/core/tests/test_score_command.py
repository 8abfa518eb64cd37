"""`asr-lab score`: saved hypotheses are counted again, and every mistake is one line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from asr_lab.cli import main
from asr_lab.evaluation.normalizers import BASIC, NONE
from asr_lab.evaluation.scoring import PART, normalise

LINES = [
    {"id": "a 1", "reference": "Hello, World", "hypothesis": "hello world", "duration": 2.0},
    {"id": "b", "reference": "it is late", "hypothesis": "it was", "speaker": "Ann", "duration": 1},
    {"id": "c", "reference": "one", "hypothesis": "", "duration": 1.0, "score": -0.5},
]


@pytest.fixture
def hypotheses(tmp_path: Path) -> Path:
    """Return a file of three hypotheses."""
    path = tmp_path / "hypotheses.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in LINES))
    return path


def scored(capsys: pytest.CaptureFixture[str], *flags: object) -> dict[str, object]:
    assert main(["score", *map(str, flags), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_normaliser_decides_what_is_an_error(
    hypotheses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, rule, errors in (("basic", BASIC, 3), ("none", NONE, 5)):
        found = scored(capsys, hypotheses, "--normalizer", name)
        words = found["words"]
        assert isinstance(words, dict)
        assert (found["normalizer"], words["errors"]) == (rule.id, errors)
        assert json.loads((hypotheses.parent / f"score-{name}-0001/result.json").read_text())


def test_what_was_not_measured_is_not_told(
    hypotheses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not {"decoding", "rtfx", "wall_seconds"} & scored(capsys, hypotheses).keys()
    assert main(["score", str(hypotheses)]) == 0
    assert "real time" not in capsys.readouterr().out


def test_scored_hypotheses_can_be_scored_again(
    hypotheses: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = scored(capsys, hypotheses, "--output", tmp_path / "one", "--rule", "sclite")
    again = tmp_path / "one/hypotheses.jsonl"
    second = scored(capsys, again, "--output", tmp_path / "two", "--rule", "sclite")
    assert first["words"] == second["words"] and first["rule"] == "sclite"
    assert again.read_bytes() == (tmp_path / "two/hypotheses.jsonl").read_bytes()


def test_a_result_by_another_normaliser_is_named(
    hypotheses: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["score", str(hypotheses), "--output", str(tmp_path / "one")]) == 0
    assert "before" not in capsys.readouterr().out
    again = [str(tmp_path / "one/hypotheses.jsonl"), "--normalizer"]
    assert main(["score", *again, "none"]) == 0
    expected = f"before    WER 50.0 % by {BASIC.id}; do not compare it with one by {NONE.id}"
    assert expected in capsys.readouterr().out.splitlines()
    assert main(["score", *again, "basic"]) == 0
    assert "before" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "trn",
            {
                "references.trn": "hello world (a%201)\nit is late (b)\none (c)\n",
                "hypotheses.trn": "hello world (a%201)\nit was (b)\n(c)\n",
            },
        ),
        (
            "stm",
            {
                "references.stm": "a%201 1 unknown 0.000 2.000 hello world\n"
                "b 1 Ann 0.000 1.000 it is late\nc 1 unknown 0.000 1.000 one\n",
                "hypotheses.stm": "a%201 1 unknown 0.000 2.000 hello world\n"
                "b 1 Ann 0.000 1.000 it was\nc 1 unknown 0.000 1.000\n",
            },
        ),
        (
            "ctm",
            {
                "hypotheses.ctm": "a%201 1 0.000 1.000 hello\na%201 1 1.000 1.000 world\n"
                "b 1 0.000 0.500 it\nb 1 0.500 0.500 was\n",
            },
        ),
    ],
)
def test_texts_are_written_for_sctk(
    kind: str, expected: dict[str, str], hypotheses: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    assert main(["score", str(hypotheses), "--write", kind, "--output", str(folder)]) == 0
    assert {path.name: path.read_text() for path in folder.glob(f"*.{kind}")} == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"reference": "a", "hypothesis": "a"}\n{"ref', "hypotheses.jsonl:2 is not JSON"),
        (b"[1]\n", "hypotheses.jsonl:1 is not a JSON object"),
        (b'{"reference": "a"}\n', "hypotheses.jsonl:1 has no text 'hypothesis'"),
        (b'{"reference": null, "hypothesis": ""}\n', "hypotheses.jsonl:1 has no text 'reference'"),
        (
            b'{"id": 1, "reference": "a", "hypothesis": "a"}\n' * 2,
            ":2 has the id '1' of",
        ),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"\n", "nothing to score in"),
    ],
)
def test_a_file_that_cannot_be_scored_is_one_line_and_writes_nothing(
    content: bytes, told: str, hypotheses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hypotheses.write_bytes(content)
    assert main(["score", str(hypotheses)]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert list(hypotheses.parent.iterdir()) == [hypotheses]


def test_other_mistakes_are_one_line(
    hypotheses: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for flags, told in (
        ([tmp_path / "missing"], "cannot read"),
        ([hypotheses, "--normalizer", "basik"], "did you mean basic"),
        ([hypotheses, hypotheses], "one file of hypotheses; got 2"),
        ([hypotheses, "--output", tmp_path], "holds no evaluation|exists"),
    ):
        assert main(["score", *map(str, flags)]) == 2
        error = capsys.readouterr().err
        assert any(part in error for part in told.split("|")), error
        assert error.count("\n") == 1


def test_scoring_needs_no_torch(hypotheses: Path) -> None:
    program = (
        "import sys; from asr_lab.cli import main; "
        f"assert main(['score', {str(hypotheses)!r}]) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_processes_normalise_as_one_does() -> None:
    texts = [f"Number {index}!" for index in range(2 * PART + 3)] * 2
    made = normalise(texts, BASIC, processes=2)
    assert made == normalise(texts, BASIC, processes=1) and len(made) == 2 * PART + 3
    assert made["Number 2002!"] == "number 2002"
