"""Registries and command lines against plain models of what they promise, for any input."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr_lab.cli.flags import Parsed, flags_of
from asr_lab.cli.options import parse_flags
from asr_lab.cli.values import show
from asr_lab.plugins import DatasetSpec, ModelSpec, Registry, hookimpl, load_plugins
from asr_lab.plugins.observers import Observers
from asr_lab.reproducibility.record import RECORD, RecordError, RunRecord
from asr_lab.utils.errors import AmbiguousNameError, UnknownNameError, UserError

PLUGINS = st.sampled_from(["acme", "other", "third"])
NAMES = st.sampled_from(["whale", "mouse", "ant", "whale-2"])
KINDS = st.sampled_from(["model", "dataset"])


def spec(kind: str, name: str) -> ModelSpec | DatasetSpec:
    if kind == "model":
        return ModelSpec(name=name, summary="", model="m:M", config="m:C", presets=("tiny",))
    return DatasetSpec(name=name, summary="", reader="m:read")


# Registries


@settings(max_examples=40)
@given(st.lists(st.tuples(PLUGINS, KINDS, NAMES), max_size=14), PLUGINS)
def test_a_registry_is_a_set_of_kinds_names_and_plugins(
    entries: list[tuple[str, str, str]], leaving: str
) -> None:
    registry, known = Registry(), set[tuple[str, str, str]]()
    for plugin, kind, name in entries:
        with registry.registering(plugin):
            if (plugin, kind, name) in known:
                with pytest.raises(ValueError, match=f"plugin '{plugin}' registers .* twice"):
                    registry.add(spec(kind, name))
            else:
                registry.add(spec(kind, name))
        known.add((plugin, kind, name))
    for everyone in (known, {entry for entry in known if entry[0] != leaving}):
        for kind, wanted in (("model", ModelSpec), ("dataset", DatasetSpec)):
            expected = sorted((name, plugin) for plugin, k, name in everyone if k == kind)
            assert [(s.name, plugin) for plugin, s in registry.all(wanted)] == expected
            for name in ("whale", "mouse", "ant", "whale-2"):
                owners = [plugin for found, plugin in expected if found == name]
                for owner in owners:
                    assert registry.find(wanted, f"{owner}/{name}")[0] == owner
                if len(owners) == 1:
                    assert registry.find(wanted, name)[0] == owners[0]
                else:
                    error = AmbiguousNameError if owners else UnknownNameError
                    with pytest.raises(error) as caught:
                        registry.find(wanted, name)
                    assert all(f"{owner}/{name}" in str(caught.value) for owner in owners)
        registry.forget(leaving)


class Counting:
    """Counts the steps it is told of, and fails at one of them."""

    def __init__(self, failing: int | None) -> None:
        self.failing, self.seen = failing, list[int]()

    @hookimpl
    def asr_lab_step_finished(self, step: int, metrics: Mapping[str, float]) -> None:
        self.seen.append(step)
        if step == self.failing:
            raise ArithmeticError(step)


@settings(max_examples=30)
@given(st.lists(st.none() | st.integers(0, 5), min_size=1, max_size=5))
def test_an_observer_hears_of_every_step_until_it_fails_whatever_others_do(
    failures: list[int | None],
) -> None:
    plugins, reports = load_plugins([]), list[str]()
    counting = {f"p{number}": Counting(failing) for number, failing in enumerate(failures)}
    for name, plugin in counting.items():
        plugins.manager.register(plugin, name)
    observers = Observers(plugins, reports.append)
    for step in range(6):
        observers.step_finished(Path("run"), step, {})
    for plugin in counting.values():
        last = 5 if plugin.failing is None else plugin.failing
        assert plugin.seen == list(range(last + 1))
    failed = {name for name, plugin in counting.items() if plugin.failing is not None}
    assert {report.split("plugin ")[1].split(" ")[0] for report in reports} == failed
    assert len(reports) == len(failed)


# Command lines


@dataclass(frozen=True, kw_only=True)
class Everything:
    """A field of every type that a flag can have."""

    count: int = 1
    rate: float = 0.5
    name: str = "x"
    folder: Path = Path("here")
    fused: bool = False
    kind: Literal["adam", "lion"] = "adam"
    limit: int | None = 3
    pair: tuple[int, float] = (1, 2.0)
    many: tuple[float, ...] = (1.0,)
    sources: tuple[str, ...] = ("a",)
    long_name: int = 0


WORDS = st.text("abcxyz/._0", min_size=1, max_size=6)
FLOATS = st.floats(-1e6, 1e6).map(lambda value: float(f"{value:g}"))
VALUES = st.builds(
    Everything,
    count=st.integers(-(10**9), 10**9),
    rate=FLOATS,
    name=WORDS,
    folder=WORDS.map(Path),
    fused=st.booleans(),
    kind=st.sampled_from(["adam", "lion"]),
    limit=st.none() | st.integers(-5, 5),
    pair=st.tuples(st.integers(-9, 9), FLOATS),
    many=st.lists(FLOATS, min_size=1, max_size=4).map(tuple),
    sources=st.lists(WORDS, min_size=1, max_size=3).map(tuple),
    long_name=st.integers(0, 9),
)


def words_of(wanted: Everything) -> list[list[str]]:
    """Return the words that set each field, as `show` types them."""
    found = []
    for field in fields(wanted):
        flag, value = "--" + field.name.replace("_", "-"), getattr(wanted, field.name)
        if isinstance(value, bool):
            found.append([flag if value else flag.replace("--", "--no-")])
        else:
            found.append([flag, *(show(value).split(" "))])
    return found


@settings(max_examples=30)
@given(VALUES, st.randoms(use_true_random=False))
def test_what_is_shown_can_be_typed_in_any_order_and_means_the_same(
    wanted: Everything, order: object
) -> None:
    groups = words_of(wanted)
    order.shuffle(groups)  # type: ignore[attr-defined]
    parsed = parse_flags([word for group in groups for word in group], flags_of(Everything))
    assert parsed.problems == []
    assert parsed.build(Everything) == wanted


@settings(max_examples=30)
@given(VALUES, st.sets(st.sampled_from([field.name for field in fields(Everything)])))
def test_flags_that_are_not_given_keep_the_values_of_a_preset(
    wanted: Everything, given_names: set[str]
) -> None:
    groups = dict(zip([f.name for f in fields(wanted)], words_of(wanted), strict=True))
    words = [word for name in sorted(given_names) for word in groups[name]]
    preset = Everything(count=77, rate=7.5, name="preset", limit=None, long_name=7)
    found = parse_flags(words, flags_of(preset)).change(preset, "")
    for field in fields(Everything):
        source = wanted if field.name in given_names else preset
        assert getattr(found, field.name) == getattr(source, field.name)


MISTAKES = {
    "--count=1.5": "--count 1.5: not a whole number",
    "--rate=nan": "--rate nan: not a finite number",
    "--fused=maybe": "--fused maybe: neither true nor false",
    "--kind=adm": "--kind adm: not a choice; did you mean adam?",
    "--limit=None": "--limit None: not a whole number",
    "--pair=1": "--pair 1: needs 2 values; got 1",
    "--pair=1.5,2": "--pair 1.5,2: not a whole number",
    "--many=1,x": "--many 1,x: not a number",
    "--cuont=1": "--cuont: no such flag; did you mean --count",
    "--name": "--name needs a value",
    "stray": "'stray' is not expected here; a value stands after its flag",
}


@settings(max_examples=30)
@given(st.sets(st.sampled_from(sorted(MISTAKES)), min_size=1))
def test_every_mistake_is_told_however_many_there_are(chosen: set[str]) -> None:
    chosen -= {"--pair=1"} if "--pair=1.5,2" in chosen else set()
    # A word after a flag without a value would be taken for its value.
    words = sorted(chosen, key=lambda word: (word.startswith("-"), word == "--name", word))
    problems = parse_flags(words, flags_of(Everything)).problems
    assert len(problems) == len(words)
    for word in words:
        assert any(problem.startswith(MISTAKES[word]) for problem in problems), problems


@settings(max_examples=30)
@given(st.sampled_from([field.name for field in fields(Everything)]), st.data())
def test_a_flag_with_one_letter_missing_is_recognised(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1))
    flag = "--" + (name[:place] + name[place + 1 :]).replace("_", "-").strip("-")
    (problem,) = parse_flags([f"{flag}=1"], flags_of(Everything)).problems
    assert f"--{name.replace('_', '-')}" in problem.partition("did you mean")[2]


def test_a_later_source_wins_and_an_error_names_the_source_that_set_the_value() -> None:
    parsed = Parsed(values={"count": 3}, sources={"count": "my.yaml"})
    refused = parsed._refusal("count must be even", "")
    assert refused == "my.yaml: count must be even"
    parsed.sources["count"] = ""
    assert parsed._refusal("count must be even", "") == "--count must be even"


# Records of runs

PLAIN = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none(), max_size=3
)
WORD = st.text(max_size=5)


@settings(max_examples=15)
@given(WORD, st.lists(WORD, max_size=3), PLAIN, PLAIN, st.lists(PLAIN, max_size=2))
def test_any_record_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
    run_id: str,
    command: list[str],
    config: dict[str, object],
    results: dict[str, object],
    restarts: list[dict[str, object]],
) -> None:
    record, folder = RunRecord(run_id=run_id), tmp_path_factory.mktemp("run")
    record = replace(record, command=tuple(command), config=config, restarts=tuple(restarts))
    record = replace(record, results=results, status="finished")
    record.write(folder)
    assert RunRecord.read(folder) == record
    assert RunRecord.read(folder).restarted(3).restarts[:-1] == record.restarts


def test_a_record_cut_off_anywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    RunRecord(run_id="a", config={"dim": 3}, seeds={"seed": 1}).write(tmp_path)
    whole = (tmp_path / RECORD).read_bytes()
    for end in range(0, len(whole) - 1, 7):
        (tmp_path / RECORD).write_bytes(whole[:end])
        with pytest.raises(RecordError) as caught:
            RunRecord.read(tmp_path)
        assert isinstance(caught.value, UserError)
        assert "\n" not in str(caught.value)


def test_a_record_keeps_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    # How Python reads a word of the command line whose bytes are Latin-1.
    word = b"caf\xe9.jsonl".decode("utf-8", "surrogateescape")
    record = RunRecord(run_id="a", command=("train", "--data", word, "größer 𝄞"))
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record
    assert "größer 𝄞" in (tmp_path / RECORD).read_text(encoding="utf-8")
