"""Error rates: equal to the textbook recursion, additive, and defined for empty references."""

import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.utils import sclite
from asr_lab.utils.metrics import (
    ErrorCounts,
    Rule,
    align,
    character_error_rate,
    character_errors,
    corpus_errors,
    total,
    utterance_errors,
    word_error_rate,
    word_errors,
)

RULES: tuple[Rule, ...] = ("levenshtein", "sclite")

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


@given(reference=WORDS, hypothesis=WORDS, rule=st.sampled_from(RULES))
def test_the_alignment_spells_both_texts_and_has_the_counted_errors(
    reference: str, hypothesis: str, rule: Rule
) -> None:
    pairs = align(reference, hypothesis, rule)
    assert [pair.reference for pair in pairs if pair.operation != "insert"] == reference.split()
    assert [pair.hypothesis for pair in pairs if pair.operation != "delete"] == hypothesis.split()
    assert all((p.reference == p.hypothesis) == (p.operation == "equal") for p in pairs)
    operations = [pair.operation for pair in pairs]
    counts = word_errors(reference, hypothesis, rule)
    assert operations.count("substitute") == counts.substitutions
    assert operations.count("delete") == counts.deletions
    assert operations.count("insert") == counts.insertions


Kinds = tuple[int, int, int]


def all_alignments(ours: list[str], theirs: list[str]) -> set[Kinds]:
    """Return the kinds of errors of every alignment there is."""
    if not ours or not theirs:
        return {(0, len(ours), len(theirs))}
    wrong = ours[0] != theirs[0]
    return (
        {(s + wrong, d, i) for s, d, i in all_alignments(ours[1:], theirs[1:])}
        | {(s, d + 1, i) for s, d, i in all_alignments(ours[1:], theirs)}
        | {(s, d, i + 1) for s, d, i in all_alignments(ours, theirs[1:])}
    )


SHORT = st.lists(st.sampled_from("abc"), max_size=5)


@given(ours=SHORT, theirs=SHORT)
def test_sclite_counts_the_least_weight_and_among_its_alignments_the_fewest_errors(
    ours: list[str], theirs: list[str]
) -> None:
    best = min(all_alignments(ours, theirs), key=lambda k: (4 * k[0] + 3 * (k[1] + k[2]), sum(k)))
    found = word_errors(" ".join(ours), " ".join(theirs), "sclite")
    assert (found.substitutions, found.deletions, found.insertions) == best


def test_the_rules_differ_where_pairs_of_insertion_and_deletion_are_cheaper() -> None:
    # Two substitutions weigh 8, a deletion and an insertion 6.
    assert word_errors("a b", "b c", "levenshtein") == ErrorCounts(2, 0, 0, 2)
    assert word_errors("a b", "b c", "sclite") == ErrorCounts(0, 1, 1, 2)
    assert align("a b", "b c", "sclite") == [
        ("delete", "a", ""),
        ("equal", "b", "b"),
        ("insert", "", "c"),
    ]
    # Three substitutions weigh as much as four others.
    assert word_errors("a b c d", "x y a b", "sclite").errors == 4
    assert word_error_rate(["a b"], ["b c"], "sclite") == 1.0
    assert character_error_rate(["ab"], ["bc"], "sclite") == 1.0


def test_where_alignments_are_as_good_errors_come_as_late_as_nist_puts_them() -> None:
    shown = [pair.operation for pair in align("a a", "a", "sclite")]
    assert shown == ["delete", "equal"]
    assert [pair.operation for pair in align("a", "a a", "sclite")] == ["insert", "equal"]
    swapped = [pair.operation for pair in align("a b", "b a", "sclite")]
    assert swapped == ["delete", "equal", "insert"]
    shown = [pair.operation for pair in align("a b", "c", "sclite")]
    assert shown == ["delete", "substitute"]


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=20))
def test_many_alignments_at_once_are_those_found_one_by_one(pairs: list[tuple[str, str]]) -> None:
    texts = [(one.split(), other.split()) for one, other in pairs]
    found = sclite.marks([one for one, _ in texts], [other for _, other in texts])
    for (ours, theirs), marks in zip(texts, found, strict=True):
        correct, inserted = [False] * len(ours), [0] * (len(ours) + 1)
        at = 0
        for one, two in sclite.path(ours, theirs):
            if one is None:
                inserted[at] += 1
                continue
            correct[one], at = two is not None and ours[one] == theirs[two], one + 1
        assert (marks.correct.tolist(), marks.inserted.tolist()) == (correct, inserted)


def test_alignments_of_more_pairs_than_fit_a_table_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(3)
    texts = [[draw.choices("abcd", k=draw.randrange(12)) for _ in range(60)] for _ in range(2)]
    whole = sclite.marks(*texts)
    monkeypatch.setattr(sclite, "CELLS", 100)
    parts = sclite.marks(*texts)
    assert [m.correct.tolist() for m in parts] == [m.correct.tolist() for m in whole]
    assert [m.inserted.tolist() for m in parts] == [m.inserted.tolist() for m in whole]
    assert sclite.marks([], []) == []


@given(st.lists(st.tuples(WORDS, WORDS), max_size=9), st.sampled_from(RULES))
def test_a_corpus_has_the_sum_of_its_utterances(pairs: list[tuple[str, str]], rule: Rule) -> None:
    references, hypotheses = [one for one, _ in pairs], [other for _, other in pairs]
    for unit in ("word", "character"):
        counts = utterance_errors(references, hypotheses, unit, rule)
        assert corpus_errors(references, hypotheses, unit, rule) == total(counts)


@pytest.mark.parametrize("rule", RULES)
def test_long_texts_are_counted_exactly(rule: Rule) -> None:
    reference = " ".join(f"w{index}" for index in range(3000))
    hypothesis = " ".join(f"w{index}" for index in range(0, 6000, 2))
    counts = word_errors(reference, hypothesis, rule)
    fewest = ErrorCounts(2999, 0, 0, 3000)  # of weight 11,996
    lightest = ErrorCounts(1, 1499, 1499, 3000)  # of weight 8,998
    assert counts == (fewest if rule == "levenshtein" else lightest)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
def test_lengths_and_shares_follow_from_the_counts(s: int, d: int, i: int, hits: int) -> None:
    counts = ErrorCounts(s, d, i, s + d + hits)
    assert (counts.correct, counts.hypothesis_length) == (hits, s + i + hits)
    assert 0 <= counts.match_error_rate <= 1 and 0 <= counts.information_lost <= 1
    if hits:
        assert counts.match_error_rate == (s + d + i) / (hits + s + d + i)
        kept = hits / (s + d + hits) * hits / (s + i + hits)
        assert counts.information_lost == pytest.approx(1 - kept)
    elif s + d + i:
        assert counts.match_error_rate == counts.information_lost == 1


def test_no_words_at_all_lose_nothing() -> None:
    assert ErrorCounts().match_error_rate == ErrorCounts().information_lost == 0.0


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
