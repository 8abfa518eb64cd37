"""TRN, STM and CTM: what is written is read again, by us and by sclite, whatever a word holds."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.cli import main
from asr_lab.evaluation.hypothesis_files import read_hypotheses, sctk_files
from asr_lab.evaluation.results import ScoredUtterance
from asr_lab.evaluation.sctk_files import (
    IGNORED,
    MARKUP,
    Line,
    coded,
    coded_name,
    ctm,
    decoded,
    read_ctm,
    read_stm,
    read_trn,
    stm,
    trn,
    words_by_line,
)
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import ErrorCounts, corpus_errors

if TYPE_CHECKING:
    import sctk
else:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    import sctk

    sys.path.pop(0)

ODD = [
    "plain words",
    "{ a / b } c{d }e",
    "@ x@y",
    ";; ;a b;",
    "(um) (id) y)",
    "<b> <x> y>",
    "** *a a*",
    "back\\slash \\ \\{",
    "50% %7B %25 100%",
    IGNORED,
    f"not {IGNORED}",
    "Größe नमस्ते 語音 😀",
    'it\'s "q" co-op #1 & ~ ^ $ = + _ | ! ?',
    "a\u00a0b\u2028c  d\te",
]
"""Texts with what sclite reads as markup, in all places."""
KINDS = ("trn", "stm", "ctm")


def utterance(name: str, reference: str, hypothesis: str, speaker: str = "") -> ScoredUtterance:
    return ScoredUtterance(
        id=name,
        reference=reference,
        hypothesis=hypothesis,
        reference_normalised=reference.lower(),
        hypothesis_normalised=hypothesis.lower(),
        word_errors=ErrorCounts(),
        character_errors=ErrorCounts(),
        duration=2.5,
        score=-1.0,
        speaker=speaker,
    )


def said(text: str) -> str:
    """Return what can be known of a text: its words."""
    return " ".join(text.split())


@given(st.text(max_size=30))
def test_every_text_and_every_name_are_read_as_they_were(text: str) -> None:
    assert decoded(coded(text)) == said(text)
    assert decoded(coded_name(text)) == text
    assert not set(coded(text)) & (set(MARKUP) - {"%"})
    assert len(coded_name(text).split()) == (1 if text else 0)
    coded(text).encode()  # no half of a surrogate pair is left


def test_a_percent_sign_of_somebody_else_stays() -> None:
    for text in ("50%", "%AH", "%zz", "%41", "%u0041", "% 7B"):
        assert decoded(text) == text


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_was_said_comes_back_from_each_kind_of_file(kind: str, tmp_path: Path) -> None:
    pairs = [(text, other) for text in ODD for other in (text, ODD[0], "")]
    utterances = [
        utterance(f"u {index} (a)/{index % 3}", *pair, speaker=["", "Ann B", "C;D"][index % 3])
        for index, pair in enumerate(pairs)
    ]
    for name, content in sctk_files(utterances, [kind], normalised=False).items():
        (tmp_path / name).write_text(content, "utf-8")
    found = {one.id: one for one in read_hypotheses(tmp_path / f"hypotheses.{kind}")}
    assert len(found) == len(utterances)
    for one in utterances:
        again = found[one.id]
        assert (again.reference, again.hypothesis) == (said(one.reference), said(one.hypothesis))
        if kind != "trn":  # which knows neither
            assert (again.speaker, again.duration) == (one.speaker, one.duration)


@pytest.mark.skipif(sctk.program("sclite") is None, reason="sctk is not installed")
@pytest.mark.parametrize("kind", ["trn", "ctm"])
def test_sclite_counts_the_errors_that_we_count_in_texts_full_of_markup(
    kind: str, tmp_path: Path
) -> None:
    pairs = [(text, other) for text in ODD for other in (text, ODD[0], "", f"{text} more")]
    utterances = [utterance(f"s_{index:03}", *pair) for index, pair in enumerate(pairs)]
    files = sctk_files(utterances, [kind], normalised=False)
    for name, content in files.items():
        (tmp_path / name).write_text(content, "utf-8")
    references = next(name for name in files if name.startswith("references"))
    both = ["-r", references, references[-3:], "-h", f"hypotheses.{kind}", kind]
    ids = ["-i", "spu_id"] if kind == "trn" else []
    sclite = str(sctk.program("sclite"))
    done = subprocess.run(
        [sclite, "-s", "-e", "utf-8", *both, *ids, "-o", "rsum", "stdout"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    (total,) = re.findall(r"\|\s*Sum\s*\|\s*(\d+)\s+(\d+)\s*\|([\d\s]+)\|", done.stdout)
    correct, wrong, deleted, inserted, *_ = map(int, total[2].split())
    ours = corpus_errors([a for a, _ in pairs], [b for _, b in pairs], rule="sclite")
    assert (int(total[0]), int(total[1])) == (len(pairs), ours.reference_length)
    assert (correct, wrong) == (ours.correct, ours.substitutions)
    assert (deleted, inserted) == (ours.deletions, ours.insertions)


def test_stm_and_ctm_are_in_the_order_that_sclite_wants() -> None:
    lines = [Line(id=name, text="a b", duration=1.0) for name in ("b", "a 1", "B", "a", "ä")]
    for write in (stm, ctm):
        names = [line.split()[0] for line in write(lines).splitlines()]
        assert names == sorted(names, key=lambda name: name.encode())
    assert [line.split()[-1] for line in trn(lines).splitlines()] == [
        "(b)", "(a%201)", "(B)", "(a)", "(ä)"
    ]  # fmt: skip


def test_words_stand_in_a_ctm_when_they_were_said_if_that_is_known() -> None:
    one = Line(id="a", text="b c", start=10.0, duration=4.0)
    assert ctm([one]) == "a 1 10.000 2.000 b\na 1 12.000 2.000 c\n"
    timed = replace(one, times=((0.5, 0.75), (3.0, 3.5)))
    assert ctm([timed]) == "a 1 10.500 0.250 b\na 1 13.000 0.500 c\n"


def test_words_go_to_the_stretch_that_sclite_gives_them_to(tmp_path: Path) -> None:
    (tmp_path / "r.stm").write_text(
        ';; LABEL "O" "all" "all"\n'
        "b 1 Ann 0.0 2.0 <O> one two\n"
        "b 1 unknown 3.0 4.0 <O> three\n"
        f"b 1 x 5.0 6.0 {IGNORED}\n"
        "a 1 x 0.0 1.0\n"
    )
    (tmp_path / "h.ctm").write_text(
        ";; a comment\n"
        "b 1 0.0 0.5 one 0.9\nb 1 1.8 0.3 two\nb 1 2.2 0.2 gap\nb 1 3.0 0.5 three\n"
        "b 1 5.5 0.2 left-out\n"
    )
    spoken = read_stm(tmp_path / "r.stm")
    assert [one.speaker for one in spoken] == ["Ann", "", "x", "x"]
    heard = words_by_line(spoken, read_ctm(tmp_path / "h.ctm"))
    assert heard == ["one two", "gap three", "left-out", ""]
    if program := sctk.program("sclite"):
        words = [program, "-s", "-r", "r.stm", "stm", "-h", "h.ctm", "ctm", "-o", "sgml", "stdout"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
        (stretch,) = (line for line in done.stdout.splitlines() if '"gap"' in line)
        assert stretch.startswith("I,") and '"three","three"' in stretch
        assert "left-out" not in done.stdout
    found = read_hypotheses(tmp_path / "h.ctm", str(tmp_path / "r.stm"))
    assert [(one.id, one.reference, one.hypothesis) for one in found] == [
        ("b 0.000", "one two", "one two"),
        ("b 3.000", "three", "gap three"),
        ("a", "", ""),
    ]


@pytest.mark.parametrize(
    ("name", "content", "references", "told"),
    [
        ("h.trn", "a b\n", "a (x)\n", "h.trn:1 does not end in the name of an utterance"),
        ("h.trn", "{ a / b } (x)\n", "a (x)\n", "h.trn:1 has alternatives in braces"),
        ("h.trn", "a (x)\nb (x)\n", "a (x)\n", "h.trn has 'x' twice"),
        ("h.trn", "a (y)\n", "a (x)\n", "lacks 'x' (2 are in one file only)"),
        ("h.trn", "a (x)\nb (y)\n", "a (x)\n", "references.trn lacks 'y' (1 are"),
        ("h.stm", "x 1 s 0 1 a\n", "x 1 s 0\n", "references.stm:1 is not: recording, channel"),
        ("h.ctm", "x 1 0 1\n", "x 1 s 0 1 a\n", "h.ctm:1 is not: recording, channel, start"),
        ("h.ctm", "x 1 zero 1 a\n", "x 1 s 0 1 a\n", "has 'zero' where seconds stand"),
        ("h.ctm", "y 1 0 1 a\n", "x 1 s 0 1 a\n", "there is no reference for 'y'"),
        ("h.trn", "a (x)\n", "", "h.trn holds no references; name a TRN or STM file"),
        ("h.stm", "\xff", "x 1 s 0 1 a\n", "h.stm is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_scored_is_one_line(
    name: str,
    content: str,
    references: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    if references:
        kind = "trn" if name.endswith("trn") else "stm"
        (tmp_path / f"references.{kind}").write_text(references)
    before = sorted(tmp_path.iterdir())
    assert main(["score", str(tmp_path / name)]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_references_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "h.ctm").write_text("x 1 0 1 a\n")
    (tmp_path / "r.trn").write_text("a (x)\n")
    (tmp_path / "r.ctm").write_text("x 1 0 1 a\n")
    (tmp_path / "h.jsonl").write_text('{"reference": "a", "hypothesis": "a"}\n')
    for hypotheses, references, told in (
        ("h.ctm", "r.trn", "has no times for the words"),
        ("h.ctm", "r.ctm", "is no file of references"),
        ("h.ctm", "missing.stm", "cannot read"),
        ("h.jsonl", "r.trn", "which has them"),
    ):
        with pytest.raises(UserError, match=told):
            read_hypotheses(tmp_path / hypotheses, str(tmp_path / references))


def test_each_kind_that_evaluate_writes_is_scored_as_its_json_lines(
    checkpoint: Path, probe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = checkpoint.parents[1] / "eval-data" / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        row["audio_filepath"] = str(manifest.parent / row["audio_filepath"])
    rows[0]["text"] = "What (was) said: 50%, {no}; @ \\ more*"
    (tmp_path / "m.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = tmp_path / "out"
    words = f"--checkpoint {checkpoint} --dataset manifest:{tmp_path}/m.jsonl --output {out}"
    flags = "--workers 0 --device cpu --write trn stm ctm"
    assert main(["evaluate", *words.split(), *flags.split()]) == 0
    assert "hypotheses.jsonl, references.trn, hypotheses.trn" in capsys.readouterr().out
    found = []
    for kind in ("jsonl", *KINDS):
        for normaliser in ("basic", "none"):
            file = str(out / f"hypotheses.{kind}")
            assert main(["score", file, "--normalizer", normaliser, "--json"]) == 0
            result = json.loads(capsys.readouterr().out)
            found.append((normaliser, result["words"]["errors"], result["characters"]["errors"]))
    assert len(set(found)) == 2
    for line in (out / "hypotheses.jsonl").read_text().splitlines():
        one = json.loads(line)
        spoken = [word for word in read_ctm(out / "hypotheses.ctm") if word.id == one["id"]]
        assert [word.text for word in spoken] == one["hypothesis"].split()
        assert [word.start for word in spoken] == sorted(word.start for word in spoken)
        assert all(0 <= word.start < word.end <= one["duration"] + 0.1 for word in spoken)
        assert len({round(word.duration, 2) for word in spoken}) > 1 or len(spoken) < 3
    assert read_trn(out / "references.trn")[0].text == rows[0]["text"]
