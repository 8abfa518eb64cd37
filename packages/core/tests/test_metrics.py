"""Error rates: equal to the textbook recursion, additive, and defined for empty references."""

import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.utils.metrics import (
    ErrorCounts,
    align,
    character_error_rate,
    character_errors,
    corpus_errors,
    total,
    word_error_rate,
    word_errors,
)

WORDS = st.lists(st.sampled_from(["a", "b", "ab", "ba", "é", "☃"]), max_size=9).map(" ".join)
TEXT = st.text(st.sampled_from("ab é☃"), max_size=12)


def distance(reference: list[str], hypothesis: list[str]) -> int:
    """Fill the whole table of Wagner and Fischer (1974)."""
    table = [[0] * (len(hypothesis) + 1) for _ in range(len(reference) + 1)]
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            if not i or not j:
                table[i][j] = i + j
                continue
            same = table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1])
            table[i][j] = min(same, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


@given(reference=WORDS, hypothesis=WORDS)
def test_word_errors_are_the_fewest_edits_and_their_kinds_explain_the_lengths(
    reference: str, hypothesis: str
) -> None:
    counts = word_errors(reference, hypothesis)
    ours, theirs = reference.split(), hypothesis.split()
    assert counts.errors == distance(ours, theirs)
    assert counts.reference_length == len(ours)
    assert counts.insertions - counts.deletions == len(theirs) - len(ours)


@given(reference=TEXT, hypothesis=TEXT)
def test_character_errors_are_the_fewest_edits_with_runs_of_space_folded(
    reference: str, hypothesis: str
) -> None:
    counts = character_errors(reference, hypothesis)
    ours, theirs = " ".join(reference.split()), " ".join(hypothesis.split())
    assert counts.errors == distance(list(ours), list(theirs))
    assert counts.reference_length == len(ours)


@given(reference=WORDS, hypothesis=WORDS)
def test_the_alignment_spells_both_texts_and_has_the_counted_errors(
    reference: str, hypothesis: str
) -> None:
    pairs = align(reference, hypothesis)
    assert [pair.reference for pair in pairs if pair.operation != "insert"] == reference.split()
    assert [pair.hypothesis for pair in pairs if pair.operation != "delete"] == hypothesis.split()
    assert all((p.reference == p.hypothesis) == (p.operation == "equal") for p in pairs)
    operations = [pair.operation for pair in pairs]
    counts = word_errors(reference, hypothesis)
    assert operations.count("substitute") == counts.substitutions
    assert operations.count("delete") == counts.deletions
    assert operations.count("insert") == counts.insertions


def test_each_kind_of_error_is_counted_as_that_kind() -> None:
    assert word_errors("the cat sat", "the dog sat") == ErrorCounts(1, 0, 0, 3)
    assert word_errors("the cat sat", "the sat") == ErrorCounts(0, 1, 0, 3)
    assert word_errors("the cat sat", "the cat has sat") == ErrorCounts(0, 0, 1, 3)
    assert character_errors("sat", "set") == ErrorCounts(1, 0, 0, 3)


def test_an_alignment_leaves_the_missing_side_empty() -> None:
    assert align("a b c", "a x c d") == [
        ("equal", "a", "a"),
        ("substitute", "b", "x"),
        ("equal", "c", "c"),
        ("insert", "", "d"),
    ]
    assert align("a b", "b") == [("delete", "a", ""), ("equal", "b", "b")]
    assert align("", "") == []


def test_the_rate_of_a_corpus_weighs_utterances_by_their_words() -> None:
    references, hypotheses = ["one two three four", "five"], ["one two three four", "six"]
    assert word_error_rate(references, hypotheses) == pytest.approx(1 / 5)
    assert corpus_errors(references, hypotheses) == ErrorCounts(1, 0, 0, 5)
    assert character_error_rate(references, hypotheses) == pytest.approx(3 / 22)
    assert corpus_errors(references, hypotheses, "character").reference_length == 22


def test_counts_add_up_in_any_order_and_grouping() -> None:
    draw = random.Random(0)
    counts = [ErrorCounts(*(draw.randrange(9) for _ in range(4))) for _ in range(20)]
    shuffled = draw.sample(counts, len(counts))
    assert total(counts) == total(shuffled) == total(counts[:7]) + total(counts[7:])
    assert total(counts).errors == sum(one.errors for one in counts)


def test_words_in_an_empty_reference_are_insertions_with_a_defined_rate() -> None:
    assert word_errors("", "two words") == ErrorCounts(0, 0, 2, 0)
    assert word_errors(" \t", "") == ErrorCounts()
    assert word_error_rate([""], [""]) == 0.0
    assert word_error_rate([], []) == 0.0
    assert math.isinf(word_error_rate([""], ["two words"]))
    assert word_error_rate(["", "four words are here"], ["two words", "four words are here"]) == 0.5


def test_a_rate_can_exceed_one() -> None:
    assert word_error_rate(["one"], ["one and two more"]) == 3.0


def test_white_space_makes_no_errors() -> None:
    assert word_errors("  one\ttwo\n", "one  two").errors == 0
    assert character_errors("  one\ttwo\n", "one  two").errors == 0


def test_composed_and_decomposed_letters_differ_without_a_normaliser() -> None:
    assert character_errors("é", "e\u0301").errors == 2


def test_unequal_numbers_of_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="every reference needs a hypothesis; got 2 and 1"):
        word_error_rate(["a", "b"], ["a"])


def test_metrics_import_nothing_heavy_until_used() -> None:
    code = (
        "import sys, asr_lab.utils.metrics; print({'torch', 'numpy', 'rapidfuzz'} & {*sys.modules})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
