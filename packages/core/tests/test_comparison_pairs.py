"""Which systems differ: both tests, Holm over all pairs, letters, and what a set can tell apart."""

import math
import random
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.evaluation import holm, mapsswe, paired_difference
from asr_lab.evaluation.comparison.pairs import LEVEL, Pair, compare_pairs, letters
from asr_lab.evaluation.comparison.reading import Heard, System
from asr_lab.evaluation.comparison.slices import ENOUGH, ranged, slices
from asr_lab.evaluation.matched_pairs import MatchedPairs
from asr_lab.evaluation.significance import PairedDifference
from asr_lab.testing.results import misheard
from asr_lab.utils.metrics import character_errors, total, word_errors

TEXTS = [f"sentence number {index} was said again" for index in range(60)]
IDS = [f"u{index}" for index in range(60)]


def system(name: str, share: float, duration: float = 1.0) -> System:
    draw, heard = random.Random(name), {}
    for index, (key, text) in enumerate(zip(IDS, TEXTS, strict=True)):
        found = misheard(text, share, draw, ["eleven", "twelve"])
        heard[key] = Heard(
            id=key,
            reference=text,
            hypothesis=found,
            reference_normalised=text,
            hypothesis_normalised=found,
            words=word_errors(text, found),
            characters=character_errors(text, found),
            duration=duration * (1 + index % 4),
        )
    return System(
        name=name,
        result=Path("r"),
        hypotheses=Path("h"),
        dataset="",
        normalizer="",
        normalizer_digest="",
        rule="levenshtein",
        heard=heard,
    )


SYSTEMS = [system("good", 0.05), system("alike", 0.06), system("bad", 0.5)]


def test_both_tests_are_those_of_the_library_corrected_for_all_pairs() -> None:
    found = compare_pairs(SYSTEMS, IDS, [f"speaker {index % 10}" for index in range(60)])
    names = [(one.first, one.second) for one in found]
    assert names == [("good", "alike"), ("good", "bad"), ("alike", "bad")]
    speakers = [f"speaker {index % 10}" for index in range(60)]
    differences, segments = [], []
    for one, two in combinations(SYSTEMS, 2):
        first, second = ([side.heard[key] for key in IDS] for side in (one, two))
        ours, theirs = [heard.words for heard in first], [heard.words for heard in second]
        differences.append(paired_difference(ours, theirs, speakers).p)
        heard = [[heard.hypothesis_normalised for heard in side] for side in (first, second)]
        segments.append(mapsswe(TEXTS, heard[0], heard[1]).p)
    assert [one.p_difference for one in found] == holm(differences)
    assert [one.p_segments for one in found] == holm(segments)
    assert [one.differ for one in found] == [False, True, True]


def pair(first: str, second: str, differ: bool, other: float = 0.0) -> Pair:
    p = 0.001 if differ else 0.5
    return Pair(
        first=first,
        second=second,
        difference=PairedDifference(
            difference=0.0, low=0.0, high=0.0, confidence=0.95, p=p, detectable=0.1, method=""
        ),
        segments=MatchedPairs(segments=40, mean=0.0, deviation=1.0, z=0.0, p=p),
        p_difference=p,
        p_segments=max(p, other),
    )


def test_systems_differ_only_if_both_tests_say_so() -> None:
    assert pair("a", "b", True).differ
    assert not pair("a", "b", True, other=LEVEL).differ
    assert pair("a", "b", True, other=0.04).p == 0.04


def test_letters_of_a_chain_overlap() -> None:
    pairs = [pair("a", "b", False), pair("b", "c", False), pair("a", "c", True)]
    assert letters(["a", "b", "c"], pairs) == {"a": "a", "b": "ab", "c": "b"}


@given(st.integers(1, 7), st.randoms(use_true_random=False))
def test_two_systems_share_a_letter_exactly_if_they_are_not_told_apart(
    count: int, draw: random.Random
) -> None:
    names = [f"s{index}" for index in range(count)]
    pairs = [pair(one, two, draw.random() < 0.5) for one, two in combinations(names, 2)]
    found = letters(names, pairs)
    assert all(found.values()) and "a" in found["s0"]
    for one in pairs:
        assert bool(set(found[one.first]) & set(found[one.second])) != one.differ


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0.0, "below 2 s"),
        (1.99, "below 2 s"),
        (2.0, "2 to 5 s"),
        (7.0, "5 to 10 s"),
        (20.0, "20 s and more"),
        (900.0, "20 s and more"),
    ],
)
def test_ranges_include_their_lower_limit(value: float, name: str) -> None:
    assert ranged(value, (2.0, 5.0, 10.0, 20.0), "s") == name


def test_slices_hold_every_utterance_once_in_order_with_the_rates_of_their_own() -> None:
    languages = {key: "de" if index < 20 else "en" for index, key in enumerate(IDS)}
    speakers = {key: f"speaker {index % 20}" for index, key in enumerate(IDS)}
    contrasts = {key: 5.0 + index for index, key in enumerate(IDS)}
    found = slices(SYSTEMS, IDS, languages, speakers, contrasts)
    by = {kind: [one for one in found if one.by == kind] for kind in {one.by for one in found}}
    assert [one.name for one in by["language"]] == ["de", "en"]
    assert [one.utterances for one in by["language"]] == [20, 40]
    assert [one.name for one in by["duration"]] == ["below 2 s", "2 to 5 s"]
    assert [one.name.split()[0] for one in by["signal to noise, estimated"]] == [
        *("below", "10", "20", "30", "40")
    ]
    assert len(by["speaker"]) == 12, "only those with most errors"
    german = by["language"][0]
    counts = [SYSTEMS[2].heard[key].words for key in IDS[:20]]
    rate = german.rates["bad"]
    assert rate.rate == total(counts).rate and german.words == total(counts).reference_length
    assert rate.interval is not None and rate.interval.low <= rate.rate <= rate.interval.high


def test_a_slice_of_few_utterances_has_no_interval_and_a_single_slice_is_none() -> None:
    languages = {key: "de" if index < ENOUGH - 1 else "en" for index, key in enumerate(IDS)}
    found = slices(SYSTEMS, IDS, languages, dict.fromkeys(IDS, "Ann"), {})
    small, large = [one for one in found if one.by == "language"]
    assert small.rates["good"].interval is None and large.rates["good"].interval is not None
    assert {one.by for one in found} == {"language", "duration"}


def test_unknown_labels_are_in_no_slice() -> None:
    languages = {key: ("", "de", "en")[index % 3] for index, key in enumerate(IDS)}
    found = [one for one in slices(SYSTEMS, IDS, languages, {}, {}) if one.by == "language"]
    assert [one.utterances for one in found] == [20, 20]
    assert not any(math.isnan(rate.rate) for one in found for rate in one.rates.values())


def test_many_pairs_can_still_differ() -> None:
    many = [system(f"good {index}", 0.05) for index in range(10)] + [system("bad", 0.9)]
    found = compare_pairs(many, IDS[:16], ())
    assert len(found) == 55 and all(one.differ for one in found if one.second == "bad")
