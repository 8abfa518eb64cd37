"""`asr-lab evaluate` with a beam and a language model: what they do to results, and mistakes."""

import importlib
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr_lab.cli import main

WORDS = "ab ace bad bed cab dab dad ebb fad fed".split()
"""The words of the corpus; the model writes them once it is trained, and hardly before."""
TENTH = 1 / math.log(10)
Evaluate = Callable[..., int]


def arpa(chances: dict[str, float]) -> str:
    """Return a model of single words that has these logarithms of base 10.

    KenLM takes no model without pairs: there is one that is as probable as its words alone.
    """
    lines = [f"{log10}\t{word}\t0" for word, log10 in chances.items()]
    counts = [f"ngram 1={len(lines)}", "ngram 2=1"]
    pair = f"{chances['ab']}\tab ab"
    parts = [
        ["\\data\\", *counts],
        ["\\1-grams:", *lines],
        ["\\2-grams:", pair],
        ["\\end\\", ""],
    ]
    return "\n\n".join("\n".join(part) for part in parts)


def words(**chances: float) -> dict[str, float]:
    """Return chances of the corpus's words, with those given in their place."""
    return {"<unk>": -9.0, "<s>": -99.0, "</s>": -1.0} | dict.fromkeys(WORDS, -1.2) | chances


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("language")


@pytest.fixture
def checkpoint(folder: Path, command: Callable[..., list[str]]) -> Path:
    """Return the folder of a run that all tests share."""
    run = folder / "run"
    if not run.exists():
        assert main(command("--train.steps 2 --output", run)) == 0
    return run


@pytest.fixture
def evaluate(checkpoint: Path, corpus: Path) -> Evaluate:
    """Return a function that evaluates with more flags."""

    def command(*flags: object) -> int:
        dataset = f"manifest:{corpus}/test/manifest.jsonl"
        base = ["--checkpoint", str(checkpoint), "--dataset", dataset, "--workers", "0"]
        more = [word for flag in flags for word in str(flag).split()]
        return main(["evaluate", *base, "--device", "cpu", *more])

    return command


def found(output: Path) -> dict[str, tuple[str, float]]:
    """Return hypothesis and score by utterance."""
    lines = (output / "hypotheses.jsonl").read_text().splitlines()
    return {one["id"]: (one["hypothesis"], one["score"]) for one in map(json.loads, lines)}


def mistake(capsys: pytest.CaptureFixture[str], status: int) -> str:
    told = capsys.readouterr().err
    assert status == 2 and told.startswith("asr-lab: ") and told.count("\n") == 1, told
    return told.removeprefix("asr-lab: ").rstrip("\n")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    pytest.importorskip("kenlm")
    path = tmp_path / "words.arpa"
    path.write_text(arpa(words()))
    return path


def test_a_language_model_of_weight_0_changes_nothing(
    evaluate: Evaluate, model: Path, tmp_path: Path
) -> None:
    assert evaluate("--beam 4 --output", tmp_path / "a") == 0
    assert evaluate("--beam 4 --lm-weight 0 --lm", model, "--output", tmp_path / "b") == 0
    assert found(tmp_path / "a") == found(tmp_path / "b")
    assert evaluate("--beam 4 --lm", model, "--output", tmp_path / "c") == 0
    assert found(tmp_path / "a") != found(tmp_path / "c")


def test_a_model_certain_of_silence_makes_every_transcript_empty(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    pytest.importorskip("kenlm")
    never = words(**dict.fromkeys([*WORDS, "<unk>"], -50.0), **{"</s>": -0.1})
    (tmp_path / "silence.arpa").write_text(arpa(never))
    flags = f"--beam 4 --lm {tmp_path}/silence.arpa --lm-weight 50 --token-bonus -100"
    assert evaluate(flags, "--output", tmp_path / "a") == 0
    transcripts = found(tmp_path / "a")
    assert {text for text, _ in transcripts.values()} == {""}
    # What is left of the model's score is the end of the sentence, 0.1 times the weight.
    assert evaluate(f"--beam 4 --token-bonus -100 --output {tmp_path}/b") == 0
    for name, (text, score) in found(tmp_path / "b").items():
        assert text == ""
        assert transcripts[name][1] == pytest.approx(score - 50 * 0.1 / TENTH, rel=1e-4)


def test_a_token_bonus_lengthens_transcripts_and_a_malus_shortens_them(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    counts = []
    for name, bonus in {"a": -3, "b": 0, "c": 3}.items():
        assert evaluate(f"--beam 4 --token-bonus {bonus} --output {tmp_path}/{name}") == 0
        counts.append(sum(len(text) for text, _ in found(tmp_path / name).values()))
    # Letters are tokens; what the normaliser leaves out is spaces.
    assert counts[0] < counts[2] and counts == sorted(counts)


def test_a_beam_finds_what_is_at_least_as_probable_as_the_greedy_path(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    for beam in (1, 4):
        assert evaluate(f"--beam {beam} --output {tmp_path}/{beam}") == 0
    narrow, wide = found(tmp_path / "1"), found(tmp_path / "4")
    assert narrow.keys() == wide.keys()
    assert all(wide[name][1] >= narrow[name][1] for name in wide)
    assert any(wide[name][1] > narrow[name][1] for name in wide)


def test_the_options_are_stored_with_the_result_and_the_model_is_not(
    evaluate: Evaluate, model: Path, tmp_path: Path
) -> None:
    flags = f"--beam 3 --lm {model} --lm-weight 0.25 --token-bonus 0.5 --max-symbols 7"
    assert evaluate(flags, "--output", tmp_path / "a") == 0
    stored = json.loads((tmp_path / "a" / "result.json").read_text())["decoding"]
    assert (stored["beam"], stored["lm"], stored["lm_weight"]) == (3, str(model), 0.25)
    assert (stored["token_bonus"], stored["max_symbols"]) == (0.5, 7)
    assert "language_model" not in stored


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--beam -3", "--beam must be 1 (greedy) or more; got -3"),
        ("--beam 2.5", "--beam"),
        ("--beam many", "--beam"),
        ("--max-symbols 0", "--max-symbols must be 1 or more; got 0"),
        ("--max-tokens 0", "--max-tokens must be 1 or more; got 0"),
        ("--beam 2 --lm-weight nan", "--lm-weight"),
        ("--beam 2 --lm-weight heavy", "--lm-weight"),
        ("--beam 2 --token-bonus inf", "--token-bonus"),
        ("--length-penalty inf", "--length-penalty"),
        ("--lm words.arpa", "--lm needs a beam of 2 or more; got beam 1"),
        ("--beam 4 --lm /no/such/words.arpa", "there is no language model /no/such/words.arpa"),
        ("--beam 4 --lm /", "there is no language model /;"),
    ],
)
def test_a_bad_value_is_told_in_one_line_with_its_flag(
    flags: str, reason: str, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert reason in mistake(capsys, evaluate(flags, "--output", tmp_path / "a"))
    assert not (tmp_path / "a").exists()


WHOLE = arpa(words())
DAMAGED = {
    "empty": ("", "End of file Byte: 0"),
    "text": ("the cat sat\n", 'first non-empty line was "the cat sat" not'),
    "no grams": ("\\data\\\nngram 1=3\n", "End of file Byte: 17"),
    "single words": (WHOLE.replace("\nngram 2=1", ""), "assumes at least a bigram model"),
    "too few grams": (WHOLE.replace("ngram 1=13", "ngram 1=14"), 'Could not parse "\\2-grams:"'),
    "too many grams": (WHOLE.replace("ngram 1=13", "ngram 1=12"), "Was expecting n-gram header"),
    "no number": (WHOLE.replace("-1.2\tcab", "much\tcab"), 'Could not parse "much" into a float'),
    "positive": (WHOLE.replace("-1.2\tcab", "1.2\tcab"), "Positive log probability 1.2"),
    "cut": (WHOLE[:121], "End of file in the 1-gram"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_model_is_told_in_one_line_and_nothing_is_written(
    damage: str, evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("kenlm")
    text, reason = DAMAGED[damage]
    path = tmp_path / "damaged.arpa"
    path.write_text(text)
    capsys.readouterr()
    line = mistake(capsys, evaluate("--beam 4 --lm", path, "--output", tmp_path / "a"))
    assert line.startswith(f"{path} is no ARPA or KenLM language model: ")
    assert reason in line
    assert not any(internal in line for internal in (".cc:", "threw", "CrossPlatform"))
    assert not (tmp_path / "a").exists()


def test_without_kenlm_the_line_says_what_brings_it(
    evaluate: Evaluate,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # None is how Python marks what cannot be imported.
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ImportError):
        importlib.import_module("kenlm")
    capsys.readouterr()
    line = mistake(capsys, evaluate("--beam 4 --lm", model, "--output", tmp_path / "a"))
    assert line == "a language model needs kenlm-ex; pip install 'asr-lab-core[lm]' brings it"
    # A beam alone needs none.
    assert evaluate("--beam 4 --output", tmp_path / "b") == 0
