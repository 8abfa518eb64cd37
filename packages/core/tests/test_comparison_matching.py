"""Which results may be compared: same normaliser, rule, references and data."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from asr_lab.evaluation.comparison.comparison import compare
from asr_lab.evaluation.comparison.matching import difference, match, remedy
from asr_lab.evaluation.comparison.options import CompareOptions
from asr_lab.evaluation.comparison.reading import Heard, System, read_systems
from asr_lab.testing.results import misheard, write_result
from asr_lab.utils.errors import UserError
from asr_lab.utils.metrics import character_errors, word_errors

TEXTS = {f"u{index:02}": f"sentence number {index} was said" for index in range(20)}


def system(name: str, texts: Mapping[str, str] = TEXTS, share: float = 0.1) -> System:
    """Return a system that mishears a share of the words."""
    draw, heard = random.Random(name), {}
    for key, text in texts.items():
        found = misheard(text, share, draw, ["eleven", "twelve"])
        heard[key] = Heard(
            id=key,
            reference=text,
            hypothesis=found,
            reference_normalised=text,
            hypothesis_normalised=found,
            words=word_errors(text, found),
            characters=character_errors(text, found),
        )
    return System(
        name=name,
        result=Path(name) / "result.json",
        hypotheses=Path(name) / "hypotheses.jsonl",
        dataset="",
        normalizer="basic@a391",
        normalizer_digest="",
        rule="levenshtein",
        heard=heard,
    )


def compared(*systems: System) -> CompareOptions:
    return CompareOptions(results=tuple(one.name for one in systems), players=0)


def test_alike_results_are_compared_on_all_utterances() -> None:
    one, two = system("one"), system("two")
    found = match([one, two])
    assert (found.base, found.systems, found.reasons) == (one, (one, two), {})
    assert found.ids == tuple(TEXTS) and found.left_out == 0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"normalizer": "none@8f2f"}, "normaliser none@8f2f, not basic@a391"),
        ({"normalizer_digest": "b" * 64}, "normaliser basic@a391 of another digest, bbbbbbbb"),
        ({"rule": "sclite"}, "errors counted by sclite, not levenshtein"),
    ],
)
def test_what_was_measured_in_another_way_is_named(changes: dict[str, str], told: str) -> None:
    base = replace(system("base"), normalizer_digest="a" * 64)
    other = replace(replace(base, name="other"), **changes)  # type: ignore[arg-type]
    assert difference(base, other) == told
    assert difference(base, replace(base, name="same")) == ""
    assert remedy(base, other) == (
        "asr-lab score base/hypotheses.jsonl --normalizer basic --rule levenshtein"
    )


def test_a_result_without_a_digest_is_taken_by_its_id() -> None:
    old, new = system("old"), replace(system("new"), normalizer_digest="a" * 64)
    assert difference(old, new) == difference(new, old) == ""


def test_other_references_are_named_with_the_first() -> None:
    base = system("base")
    other = system("other", {**TEXTS, "u07": "it was another text", "u09": "and one more"})
    assert difference(base, other) == "other references: 2 of 20 differ, first 'u07'"
    assert remedy(base, other) == "evaluate both on the same data"


def test_other_data_are_named_and_a_few_that_are_missing_are_not() -> None:
    base = system("base")
    few = system("few", dict(list(TEXTS.items())[:9]))
    assert difference(base, few) == "other data: 9 of 9 utterances are those of base"
    most = system("most", dict(list(TEXTS.items())[3:]))
    found = match([base, most])
    assert found.reasons == {} and len(found.ids) == 17 and found.left_out == 3
    notes = compare([base, most], compared(base, most)).notes
    assert "counted on the 17 utterances that all have; 3 more are left out" in notes


def test_the_measure_is_that_of_most_results_wherever_they_stand() -> None:
    odd = replace(system("odd"), rule="sclite")
    found = match([odd, system("one"), system("two")])
    assert (found.base.name, list(found.reasons)) == ("one", ["odd"])
    assert match([odd, system("one")]).base is odd, "of equal groups, the first"


def test_rates_of_what_is_not_comparable_are_its_own_and_are_not_tested() -> None:
    odd = replace(system("odd", share=0.5), normalizer="none@8f2f")
    one, two = system("one"), system("two")
    found = compare([odd, one, two], compared(odd, one, two))
    last = found.rows[-1]
    assert last.system is odd and last.reason and last.pair is None and last.letters == ""
    own = [heard.words for heard in odd.heard.values()]
    assert last.words.errors == sum(counts.errors for counts in own)
    assert {(pair.first, pair.second) for pair in found.pairs} in (
        {("one", "two")},
        {("two", "one")},
    )
    assert any(note.startswith("odd is not comparable: normaliser none") for note in found.notes)


def test_only_one_comparable_result_is_shown_without_tests() -> None:
    odd = replace(system("odd"), normalizer="none@8f2f")
    found = compare([system("one"), odd], compared(odd, odd))
    assert found.pairs == () and [bool(row.reason) for row in found.rows] == [False, True]


def test_nothing_in_common_is_refused() -> None:
    other = system("other", {"z": "something else"})
    with pytest.raises(UserError, match="no utterance in common: one has 'u00' and others"):
        match([system("one"), other])


def test_results_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    utterances = [{"id": key, "reference": text} for key, text in TEXTS.items()]
    for name in ("a", "b"):
        write_result(tmp_path / name / "result", utterances, 0.1)
    places = [str(tmp_path / name / "result") for name in ("a", "b")]
    assert [one.name for one in read_systems(places)] == places


def test_what_results_say_of_machine_and_model_is_read(tmp_path: Path) -> None:
    utterances = [{"id": key, "reference": text, "contrast": 12.5} for key, text in TEXTS.items()]
    run = tmp_path / "run"
    folder = write_result(run / "evaluate", utterances, 0.1)
    content = json.loads((folder / "result.json").read_text())
    execution = {"device": "NVIDIA H100", "parameters": 1000, "peak_memory": 2048}
    content |= {"rtfx": 12.5, "run_id": "mine", "model": "m/m", "execution": execution}
    (folder / "result.json").write_text(json.dumps(content))
    (run / "best.pt").write_bytes(b"x" * 77)
    (one,) = read_systems([str(run)])
    assert (one.name, one.model, one.device) == ("mine", "m/m", "NVIDIA H100")
    assert (one.rtfx, one.parameters, one.memory, one.size) == (12.5, 1000, 2048, 77)
    assert {heard.id for heard in one.heard.values()} == set(TEXTS)
    (run / "run.json").write_text(
        json.dumps({"model": "c/c", "preset": "tiny", "execution": {"device": "cpu"}})
    )
    (again,) = read_systems([str(folder)])
    assert (again.name, again.model, again.size) == ("mine", "c/c tiny", 77)
