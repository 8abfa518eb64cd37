"""Calibration measures against their definitions, and the likelihood of CTC texts."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr_lab.decoding.ctc import ctc_greedy
from asr_lab.decoding.ctc_beam import ctc_beam_search
from asr_lab.evaluation.failures.calibration import calibrate, confidence
from asr_lab.utils.metrics import ErrorCounts


def counts(right: int, wrong: int) -> ErrorCounts:
    return ErrorCounts(wrong, 0, 0, right + wrong)


def test_confidence_is_the_mean_probability_of_a_word() -> None:
    assert confidence(math.log(0.25), 2) == pytest.approx(0.5)
    assert confidence(math.log(0.25), 0) == pytest.approx(0.25)
    assert confidence(3.0, 2) == 1.0 and math.isnan(confidence(math.nan, 2))


def test_confidences_that_are_true_have_no_calibration_error() -> None:
    found = calibrate([0.75, 0.25], [counts(3, 1), counts(1, 3)])
    assert found is not None
    assert found.expected_calibration_error == pytest.approx(0)
    assert [(one.low, one.words, one.accuracy) for one in found.bins] == [
        (0.2, 4, 0.25),
        (0.7, 4, 0.75),
    ]


def test_the_calibration_error_is_the_mean_distance_by_words() -> None:
    found = calibrate([0.95, 0.55], [counts(5, 5), counts(10, 20)])
    assert found is not None
    expected = (10 * 0.45 + 30 * (0.55 - 1 / 3)) / 40
    assert found.expected_calibration_error == pytest.approx(expected)


def test_normalised_cross_entropy_is_nist_s() -> None:
    sure, errors = [0.9, 0.6, 0.2], [counts(8, 1), counts(3, 3), counts(1, 4)]
    words = [
        (value, place < one.correct)
        for value, one in zip(sure, errors, strict=True)
        for place in range(one.hypothesis_length)
    ]
    share = sum(right for _, right in words) / len(words)
    most = -sum(math.log2(share if right else 1 - share) for _, right in words)
    said = sum(math.log2(value if right else 1 - value) for value, right in words)
    found = calibrate(sure, errors)
    assert found is not None
    assert found.normalised_cross_entropy == pytest.approx((most + said) / most)
    constant = calibrate([share] * 3, errors)
    assert constant is not None and constant.normalised_cross_entropy == pytest.approx(0)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12))
def test_error_detection_is_the_share_of_pairs_in_the_right_order(
    drawn: list[tuple[int, bool]],
) -> None:
    sure = [level / 5 for level, _ in drawn]
    found = calibrate(sure, [counts(1, int(wrong)) for _, wrong in drawn])
    bad = [value for value, (_, wrong) in zip(sure, drawn, strict=True) if wrong]
    good = [value for value, (_, wrong) in zip(sure, drawn, strict=True) if not wrong]
    assert found is not None
    if not bad or not good:
        assert found.error_detection is None
        return
    pairs = [(b < g) + 0.5 * (b == g) for b, g in itertools.product(bad, good)]
    assert found.error_detection == pytest.approx(np.mean(pairs))


def test_what_is_not_known_is_left_out() -> None:
    assert calibrate([math.nan], [counts(1, 0)]) is None
    assert calibrate([0.5], [ErrorCounts(0, 2, 0, 2)]) is None
    found = calibrate([math.nan, 0.5], [counts(5, 0), counts(1, 1)])
    assert found is not None and (found.words, found.utterances) == (2, 1)
    assert found.error_detection is None
    perfect = calibrate([1.0], [counts(1, 0)])
    assert perfect is not None and perfect.normalised_cross_entropy is None


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != blank)


def test_the_likelihood_of_a_ctc_text_is_the_sum_over_all_its_paths() -> None:
    draw = torch.Generator().manual_seed(0)
    log_probs = (2 * torch.randn(6, 5, 3, generator=draw)).log_softmax(-1)
    lengths = torch.tensor([5, 4, 3, 2, 1, 5])
    log_probs[5] = torch.tensor([-20.0, -20.0, -1e-8])  # says nothing
    greedy = ctc_greedy(log_probs, lengths, blank_id=2)
    beams = ctc_beam_search(log_probs, lengths, 2, beam=40)
    assert greedy[5].tokens == ()
    for row, length, *found in zip(log_probs, lengths.tolist(), greedy, beams, strict=True):
        for one in found:
            paths = itertools.product(range(3), repeat=length)
            probability = sum(
                math.exp(sum(float(row[step, token]) for step, token in enumerate(path)))
                for path in paths
                if collapsed(path, 2) == one.tokens
            )
            assert math.exp(one.likelihood) == pytest.approx(probability, rel=1e-4)
        assert found[0].likelihood >= found[0].score - 1e-5
