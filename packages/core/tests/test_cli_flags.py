"""From words to values: conversion, scanning, flags of dataclasses, help."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.cli.arguments import Scanner, closest, is_flag, peek, wants_help
from asr_lab.cli.flags import Parsed, field_docs, first_sentence, flags_of
from asr_lab.cli.help import FlagGroup, render_help
from asr_lab.cli.options import parse_flags, parse_options
from asr_lab.cli.tables import table
from asr_lab.cli.values import arity, convert, metavar, show
from asr_lab.utils.errors import CombinedUserError, UserError


@dataclass(frozen=True, kw_only=True)
class Base:
    """What is inherited."""

    seed: int = 0
    """Seed of everything
    random."""


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    """One field of every kind."""

    lr: float = 1e-3
    """Peak learning rate."""
    compile: bool = False
    bias: bool = True
    """Add a bias."""
    schedule: Literal["cosine", "linear"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.98)
    speeds: tuple[float, ...] = (1.0,)
    data: tuple[str, ...] = ("spoken/en",)
    name_of_it: str = ""
    folder: Path = Path("outputs")
    dropout: float | None = None
    secret: int = field(default=5, init=False)

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise ValueError(f"lr must be above 0; got {self.lr}")
        if self.seed == 13:
            raise ValueError("thirteen brings bad luck")


@dataclass(frozen=True, kw_only=True)
class Places:
    """Arguments without flags."""

    folder: Path = field(metadata={"positional": True})
    """Folder of the run."""
    extra: str
    """What else is needed; a word."""


FLAGS = flags_of(Settings)


def values(*argv: str) -> dict[str, object]:
    parsed = parse_flags(argv, FLAGS)
    assert parsed.problems == []
    return parsed.values


def problems(*argv: str) -> list[str]:
    return parse_flags(argv, FLAGS).problems


CASES: list[tuple[object, list[str], object]] = [
    (int, ["-3"], -3),
    (float, ["3e-4"], 3e-4),
    (float, ["5"], 5.0),
    (str, ["no"], "no"),
    (str, [""], ""),
    (Path, ["a/b"], Path("a/b")),
    (bool, ["Yes"], True),
    (bool, ["off"], False),
    (Literal["a", 2], ["2"], 2),
    (float | None, ["none"], None),
    (float | None, ["0.5"], 0.5),
    (tuple[float, float], ["0.9", "0.95"], (0.9, 0.95)),
    (tuple[float, float], ["0.9,0.95"], (0.9, 0.95)),
    (tuple[int, ...], ["1", "2", "3"], (1, 2, 3)),
    (tuple[int, ...], [], ()),
    (tuple[str, ...], ["a,b", "c"], ("a,b", "c")),
]


@pytest.mark.parametrize(("hint", "texts", "value"), CASES)
def test_words_become_values(hint: object, texts: list[str], value: object) -> None:
    found = convert(hint, texts)
    assert found == value and type(found) is type(value)


WRONG: list[tuple[object, list[str], str]] = [
    (int, ["1.5"], "not a whole number"),
    (int, ["1e3"], "not a whole number"),
    (float, ["1e"], "not a number"),
    (float, ["nan"], "not a finite number"),
    (float, ["-inf"], "not a finite number"),
    (bool, ["maybe"], "neither true nor false"),
    (Literal["cosine", "linear"], ["cosin"], "not a choice; did you mean cosine?"),
    (Literal["cosine", "linear"], ["zz"], "not a choice; choose from cosine, linear"),
    (tuple[float, float], ["1"], "needs 2 values; got 1"),
    (tuple[float, float], ["1", "2", "3"], "needs 2 values; got 3"),
    (tuple[int, ...], ["1", "x"], "not a whole number"),
    (int, [], "needs one value; got 0"),
    (int, ["1", "2"], "needs one value; got 2"),
]


@pytest.mark.parametrize(("hint", "texts", "message"), WRONG)
def test_wrong_words_say_what_they_are_not(hint: object, texts: list[str], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        convert(hint, texts)
    assert str(caught.value) == message


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_survives_being_written(number: float) -> None:
    assert convert(float, [repr(number)]) == number


@given(st.lists(st.integers(), min_size=1, max_size=4))
def test_what_help_shows_of_a_default_can_be_typed(numbers: list[int]) -> None:
    assert convert(tuple[int, ...], show(tuple(numbers)).split()) == tuple(numbers)


def test_values_are_shown_as_they_are_typed() -> None:
    assert [show(v) for v in (True, None, 1e-3, (), (0.9, 0.98), "x")] == [
        "true",
        "none",
        "0.001",
        "none",
        "0.9 0.98",
        "x",
    ]


def test_help_writes_types_as_people_do() -> None:
    hints = [flag.hint for flag in FLAGS]
    assert [metavar(hint) for hint in hints[:5]] == [
        "INT",
        "NUMBER",
        "true|false",
        "true|false",
        "cosine|linear",
    ]
    shown = ["NUMBER NUMBER", "NUMBER ...", "TEXT ...", "TEXT", "PATH", "NUMBER|none"]
    assert [metavar(hint) for hint in hints[5:]] == shown
    assert [arity(hint) for hint in hints[4:8]] == [1, 2, None, None]
    with pytest.raises(TypeError, match="a flag cannot be a dict"):
        metavar(dict[str, int])


def test_flags_take_names_defaults_help_and_inherited_fields() -> None:
    named = {flag.name: flag for flag in flags_of(Settings(seed=4), "train.")}
    assert named["train.seed"].default == 4
    assert named["train.seed"].help == "Seed of everything random."
    assert "train.name-of-it" in named and "train.secret" not in named
    assert not any(flag.required for flag in named.values())
    assert {"lr", "seed"} <= set(field_docs(Settings))
    skipped = flags_of(Settings, skip=frozenset({"lr"}))
    assert "lr" not in [flag.name for flag in skipped]


def test_a_class_without_source_has_flags_without_help() -> None:
    namespace: dict[str, type] = {}
    text = "@dataclass\nclass Made:\n    x: int = 1\n    '''Help.'''\n"
    exec(text, {"dataclass": dataclass, "__name__": "made"}, namespace)
    (flag,) = flags_of(namespace["Made"])
    assert (flag.name, flag.help) == ("x", "")


def test_every_way_to_write_a_flag() -> None:
    assert values("--lr", "3e-4", "--seed=-5", "--name_of_it", "a b") == {
        "lr": 3e-4,
        "seed": -5,
        "name-of-it": "a b",
    }
    assert values("--betas", "0.9", "0.95", "--seed", "1") == {"betas": (0.9, 0.95), "seed": 1}
    assert values("--betas=0.9,0.95", "--speeds", "-1", ".9") == {
        "betas": (0.9, 0.95),
        "speeds": (-1.0, 0.9),
    }
    assert values("--betas", "0.9,0.95", "--seed", "1")["betas"] == (0.9, 0.95)
    assert values("--name-of-it=--lr") == {"name-of-it": "--lr"}


def test_switches_are_turned_on_and_off() -> None:
    assert values("--compile", "--no-bias") == {"compile": True, "bias": False}
    assert values("--compile=false") == {"compile": False}
    assert problems("--no-lr") == ["--no-lr: no such flag"]
    assert problems("--bias=perhaps") == ["--bias perhaps: neither true nor false"]


def test_a_repeatable_flag_collects_its_values() -> None:
    assert values("--data", "a", "b", "--seed", "1", "--data", "c")["data"] == ("a", "b", "c")


def test_all_mistakes_are_reported_together() -> None:
    found = problems("--lr", "1e", "--sed", "3", "--seed", "1", "--seed", "2", "word", "--betas")
    assert found == [
        "--sed: no such flag; did you mean --seed or --speeds?",
        "--seed is given twice",
        "'word' is not expected here; a value stands after its flag",
        "--betas needs a value",
        "--lr 1e: not a number",
    ]


def test_a_missing_value_is_not_the_next_flag() -> None:
    assert problems("--lr", "--seed", "1") == ["--lr needs a value"]
    assert problems("-x") == ["-x: no such flag"]


def test_the_values_of_an_unknown_flag_are_not_problems_of_their_own() -> None:
    assert problems("--nonsense", "1", "2", "--seed", "1") == ["--nonsense: no such flag"]


def test_suggestions_look_inside_the_group_and_in_other_groups() -> None:
    known = ["train.lr", "train.clip", "data.vocab", "seed"]
    assert closest("lr", known, "--") == "; did you mean --train.lr?"
    assert closest("model.vocab", known, "--") == "; did you mean --data.vocab?"
    assert closest("train.clipp", known) == "; did you mean train.clip?"
    assert closest("nothing.alike", known) == ""


def test_words_that_look_like_flags() -> None:
    assert [is_flag(word) for word in ("--a", "-h", "-5", "-.5", "-", "--", "a")] == [
        True,
        True,
        *[False] * 5,
    ]
    assert wants_help(["--lr", "3", "-h"]) and not wants_help(["--lr", "help"])
    assert peek(["--config", "tiny"], "config") == "tiny"
    assert peek(["--config=a=b"], "config") == "a=b"
    assert peek(["--config", "--model"], "config") is None
    assert peek(["--config"], "config") is None


def test_a_later_assignment_wins_and_a_refused_value_names_its_flag() -> None:
    parsed = parse_flags(["--lr", "-1"], FLAGS)
    assert parsed.build(Settings) is None
    assert parsed.problems == ["--lr must be above 0; got -1.0"]


def test_a_refusal_that_names_no_flag_names_the_group() -> None:
    flags = flags_of(Settings, "train.")
    parsed = parse_flags(["--train.seed", "13"], flags)
    assert parsed.change(Settings(), "train.") is None
    assert parsed.problems == ["--train.*: thirteen brings bad luck"]


def test_a_dataclass_is_built_from_its_own_prefix_only() -> None:
    parsed = Parsed(values={"train.seed": 3, "seed": 4, "train.lr": 0.5})
    assert parsed.change(Settings(bias=False), "train.") == Settings(seed=3, lr=0.5, bias=False)
    assert parsed.build(Settings, more={"bias": False}) == Settings(seed=4, bias=False)


def test_arguments_without_flags_are_taken_in_order() -> None:
    options = parse_options(Places, ["outputs/run", "--extra", "x"], "resume", "Go on.")
    assert options == Places(folder=Path("outputs/run"), extra="x")


def test_what_is_missing_is_said_with_its_meaning() -> None:
    with pytest.raises(CombinedUserError) as caught:
        parse_options(Places, [], "resume", "Go on.")
    assert caught.value.problems == (
        "FOLDER is missing: folder of the run",
        "--extra is missing: what else is needed",
    )
    with pytest.raises(UserError, match="^--extra needs a value$"):
        parse_options(Places, ["a", "--extra"], "resume", "Go on.")
    with pytest.raises(CombinedUserError, match="--folder: no such flag"):
        parse_options(Places, ["--folder", "a", "--extra", "x"], "resume", "Go on.")


def test_a_sentence_starts_small_unless_it_is_an_abbreviation() -> None:
    assert first_sentence("Folder of the run, e.g. x. More.") == "folder of the run, e.g. x"
    assert first_sentence("SNR of the noise; in dB.") == "SNR of the noise"


def test_help_shows_every_flag_with_type_sentence_and_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert parse_options(Places, ["--help"], "resume", "Go on.") is None
    text = capsys.readouterr().out
    assert text.startswith("usage: asr-lab resume FOLDER --extra TEXT [flags]\n\nGo on.\n")
    text = render_help("train", "Train.", [FlagGroup(title="all", flags=FLAGS)], "The end.")
    for expected in (
        "  --lr NUMBER\n      Peak learning rate. (default: 0.001)\n",
        "  --bias, --no-bias\n      Add a bias. (on by default)\n",
        "  --schedule cosine|linear\n",
        "      Seed of everything random. (default: 0)\n",
    ):
        assert expected in text
    assert text.endswith("\n\nThe end.")


def test_help_takes_defaults_as_they_are() -> None:
    (flag,) = (flag for flag in FLAGS if flag.name == "name-of-it")
    text = render_help("x", "", [FlagGroup(title="all", flags=[replace(flag, default="%s {x}")])])
    assert "(default: %s {x})" in text


def test_the_scanner_reads_a_list_once_and_leaves_it() -> None:
    argv = ["--lr", "1"]
    assert [one.texts for one in Scanner(FLAGS).read(argv)] == [("1",)]
    assert argv == ["--lr", "1"]


def test_a_table_is_aligned_and_its_last_column_is_free() -> None:
    rows = [("a", "bbb", "end"), ("aaaa", "b", "")]
    assert table(rows, ("x", "y", "z")) == "x     y    z\na     bbb  end\naaaa  b"
    assert table([]) == ""
