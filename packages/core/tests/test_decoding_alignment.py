"""Forced alignment against every path that spells the text."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.decoding.alignment import Alignment, ctc_align
from asr_lab.utils.errors import UserError

BLANK = 2
TOLERANCE = 1e-9


def collapsed(path: tuple[int, ...]) -> tuple[list[int], list[int], list[int]]:
    """Return labels, starts and ends of a path's runs without blanks."""
    labels, starts, ends, step = [], [], [], 0
    for label, run in itertools.groupby(path):
        length = len(list(run))
        if label != BLANK:
            labels.append(label)
            starts.append(step)
            ends.append(step + length)
        step += length
    return labels, starts, ends


def best_of_all(log_probs: Tensor, tokens: list[int]) -> Alignment | None:
    """Try every path; None if none spells the tokens."""
    best = None
    for path in itertools.product(range(BLANK + 1), repeat=len(log_probs)):
        labels, starts, ends = collapsed(path)
        score = math.fsum(float(log_probs[step, label]) for step, label in enumerate(path))
        if labels == tokens and (best is None or score > best.score):
            best = Alignment(starts=tuple(starts), ends=tuple(ends), score=score)
    return best


def random_scores(batch: int, steps: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, steps, BLANK + 1)
    return (2 * torch.randn(shape, generator=generator, dtype=torch.float64)).log_softmax(-1)


def padded(texts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Return tokens padded with one that occurs, and their lengths."""
    width = max(map(len, texts))
    rows = [text + [0] * (width - len(text)) for text in texts]
    return torch.tensor(rows, dtype=torch.int64), torch.tensor([len(text) for text in texts])


@given(
    seed=st.integers(0, 10**6),
    batch=st.lists(
        st.tuples(st.integers(0, 6), st.lists(st.integers(0, 1), max_size=3)),
        min_size=1,
        max_size=4,
    ),
)
def test_the_alignment_is_the_best_of_all_paths_or_is_refused(
    seed: int, batch: list[tuple[int, list[int]]]
) -> None:
    lengths, texts = [steps for steps, _ in batch], [text for _, text in batch]
    scores = random_scores(len(batch), max(lengths), seed)
    expected = [best_of_all(scores[i, :n], text) for i, (n, text) in enumerate(batch)]
    for row, length in zip(scores, lengths, strict=True):
        row[length:] = math.nan
    arguments = (scores, torch.tensor(lengths), *padded(texts), BLANK)
    if None in expected:
        with pytest.raises(UserError, match=f"utterance {expected.index(None)} of the batch"):
            ctc_align(*arguments)
        return
    for found, best in zip(ctc_align(*arguments), expected, strict=True):
        assert best is not None
        assert (found.starts, found.ends) == (best.starts, best.ends)
        assert found.score == pytest.approx(best.score, abs=TOLERANCE)


def test_an_utterance_is_aligned_the_same_alone_and_in_any_order() -> None:
    scores, lengths = random_scores(3, 40, 0), torch.tensor([40, 17, 30])
    tokens, counts = padded([[0, 1, 1, 0, 0], [1], [0, 1, 0, 1]])
    together = ctc_align(scores, lengths, tokens, counts, BLANK)
    back = [part.flip(0) for part in (scores, lengths, tokens, counts)]
    assert ctc_align(back[0], back[1], back[2], back[3], BLANK)[::-1] == together
    for index in range(3):
        one = slice(index, index + 1)
        alone = ctc_align(
            scores[one, : lengths[index]], lengths[one], tokens[one], counts[one], BLANK
        )
        assert alone == [together[index]]


def test_of_equal_paths_always_the_same_is_taken() -> None:
    scores = torch.full((1, 5, 3), 1 / 3).log()
    (found,) = ctc_align(scores, torch.tensor([5]), torch.tensor([[0, 1]]), torch.tensor([2]), 2)
    assert (found.starts, found.ends) == ((0, 1), (1, 2))


def test_a_text_that_cannot_fit_is_refused_in_one_line_with_the_numbers() -> None:
    tokens, counts = padded([[0], [0, 0, 1]])
    with pytest.raises(UserError) as caught:
        ctc_align(random_scores(2, 3, 0), torch.tensor([3, 3]), tokens, counts, BLANK)
    assert str(caught.value) == (
        "utterance 1 of the batch cannot be aligned: its 3 tokens need 4 encoder steps, and it has"
        " 3; check that text and audio belong together"
    )


def test_an_empty_batch_has_no_alignments() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert ctc_align(torch.zeros(0, 4, 3), nothing, nothing.view(0, 2), nothing, BLANK) == []
