"""CTC searches and alignment where scores are extreme: certain, impossible, tied, long or short."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.decoding import Alignment, ctc_align, ctc_beam_search, ctc_greedy
from asr_lab.decoding.language_model import Fusion
from asr_lab.losses import ctc_loss
from asr_lab.models.base import Hypothesis
from asr_lab.utils.errors import UserError

BLANK = 2
SUMS = 1e-9
"""Absolute; sums of at most a few hundred float64 log probabilities."""


def certain(path: list[int]) -> Tensor:
    """Return scores that leave no other path."""
    scores = torch.full((1, len(path), BLANK + 1), -torch.inf, dtype=torch.float64)
    scores[0, range(len(path)), path] = 0.0
    return scores


def random_scores(steps: int, seed: int, sharp: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(1, steps, BLANK + 1, generator=generator, dtype=torch.float64)
    return (sharp * scores).log_softmax(-1)


def search(scores: Tensor, beam: int, fusion: Fusion | None = None) -> Hypothesis:
    lengths = torch.tensor([scores.shape[1]])
    (found,) = ctc_beam_search(scores, lengths, BLANK, beam, fusion)
    return found


def align(scores: Tensor, tokens: list[int], steps: int = -1) -> Alignment:
    length = torch.tensor([scores.shape[1] if steps < 0 else steps])
    text = torch.tensor([tokens], dtype=torch.int64).view(1, -1)
    (found,) = ctc_align(scores, length, text, torch.tensor([len(tokens)]), BLANK)
    return found


def nll(scores: Tensor, tokens: tuple[int, ...]) -> float:
    """Return the negative log probability of a transcript by all its paths."""
    return ctc_loss(
        scores,
        torch.tensor([scores.shape[1]]),
        torch.tensor([tokens], dtype=torch.int64).view(1, -1),
        torch.tensor([len(tokens)]),
        blank_id=BLANK,
        valid=torch.tensor([True]),
    ).sum.item()


@pytest.mark.parametrize("beam", [1, 2, 7])
@given(path=st.lists(st.integers(0, BLANK), min_size=1, max_size=12))
@settings(max_examples=20)
def test_where_only_one_path_is_possible_every_search_finds_it(beam: int, path: list[int]) -> None:
    scores = certain(path)
    (greedy,) = ctc_greedy(scores, torch.tensor([len(path)]), BLANK)
    found = search(scores, beam)
    assert found.tokens == greedy.tokens and found.times == greedy.times
    assert found.score == greedy.score == 0.0


@given(steps=st.integers(1, 8), seed=st.integers(0, 10**6), beam=st.integers(1, 6))
@settings(max_examples=40)
def test_no_beam_claims_more_than_the_whole_probability_of_its_transcript(
    steps: int, seed: int, beam: int
) -> None:
    scores = random_scores(steps, seed)
    found = search(scores, beam)
    assert found.score <= -nll(scores, found.tokens) + SUMS
    assert search(scores, 200).score == pytest.approx(
        -nll(scores, search(scores, 200).tokens), abs=SUMS
    )


def test_a_beam_adds_up_paths_of_which_greedy_search_sees_one() -> None:
    # The best path is blank, blank; all that say token 0 are together more probable.
    scores = torch.tensor([[[0.4, 0.0, 0.6], [0.4, 0.0, 0.6]]], dtype=torch.float64).log()
    assert ctc_greedy(scores, torch.tensor([2]), BLANK)[0].tokens == ()
    found = search(scores, 2)
    assert found.tokens == (0,)
    assert found.score == pytest.approx(math.log(1 - 0.36), abs=SUMS)


def test_an_equal_token_is_a_second_one_only_after_a_blank() -> None:
    assert search(certain([0, 0, 0]), 4).tokens == (0,)
    assert search(certain([0, 2, 0]), 4).tokens == (0, 0)
    assert search(certain([0, 2, 0]), 4).times == (0.0, 2.0)


@pytest.mark.parametrize("beam", [1, 3])
def test_an_utterance_in_which_nothing_is_possible_spoils_neither_itself_nor_its_mates(
    beam: int,
) -> None:
    good = random_scores(5, 0)
    dead = torch.full_like(good, -torch.inf)
    lengths = torch.tensor([5, 5])
    first, second = ctc_beam_search(torch.cat([dead, good]), lengths, BLANK, beam)
    assert first.score == -math.inf
    assert all(0 <= token < BLANK for token in first.tokens)
    alone = search(good, beam)
    assert second.tokens == alone.tokens and second.times == alone.times


@pytest.mark.parametrize("beam", [1, 4])
def test_a_thousand_steps_keep_every_token_and_time(beam: int) -> None:
    path = ([0] * 3 + [2] * 2 + [1] + [2]) * 150
    scores = 0.98 * torch.nn.functional.one_hot(torch.tensor([path]), BLANK + 1).double() + 0.005
    found = search(scores.log(), beam)
    assert found.tokens == (0, 1) * 150
    assert list(found.times) == sorted(found.times)
    assert found.times[-1] == len(path) - 2
    assert math.isfinite(found.score)


@given(bonus=st.floats(-2, 2), seed=st.integers(0, 10**4))
@settings(max_examples=20)
def test_a_bonus_adds_its_multiple_of_the_tokens_to_the_score(bonus: float, seed: int) -> None:
    scores = random_scores(5, seed)
    found = search(scores, 200, Fusion(token_bonus=bonus))
    expected = -nll(scores, found.tokens) + bonus * len(found.tokens)
    assert found.score == pytest.approx(expected, abs=SUMS)


class Refrain:
    """A language model for which only one transcript is possible."""

    wanted = (1, 0, 1)

    def start(self) -> int:
        return 0

    def score(self, state: int, token: int) -> tuple[float, int]:
        right = state in range(3) and self.wanted[state] == token
        return (0.0, state + 1) if right else (-5.0, -1)

    def end(self, state: int) -> float:
        return 0.0 if state == 3 else -5.0


def test_a_heavy_language_model_forces_its_sentence_and_a_light_one_does_not() -> None:
    scores = random_scores(9, 5)
    forced = search(scores, 64, Fusion(Refrain(), 1e3))
    assert forced.tokens == Refrain.wanted
    assert forced.score == pytest.approx(-nll(scores, forced.tokens), abs=SUMS)
    assert search(scores, 64, Fusion(Refrain(), 0.0)) == search(scores, 64)
    assert search(scores, 64).tokens != Refrain.wanted


@given(
    tokens=st.lists(st.integers(0, 1), max_size=5), spare=st.integers(0, 3), seed=st.integers(0, 99)
)
def test_a_text_fits_into_one_step_per_token_and_one_per_repetition(
    tokens: list[int], spare: int, seed: int
) -> None:
    least = len(tokens) + sum(a == b for a, b in zip(tokens, tokens[1:], strict=False))
    scores = random_scores(least + spare, seed)
    found = align(scores, tokens)
    assert len(found.starts) == len(found.ends) == len(tokens)
    assert all(a < b for a, b in zip(found.starts, found.ends, strict=True))
    gaps = zip(tokens, tokens[1:], found.ends, found.starts[1:], strict=False)
    # Equal tokens have a blank between them.
    assert all(start - end >= (one == other) for one, other, end, start in gaps)
    if least:
        with pytest.raises(UserError, match=f"need {least} encoder steps, and it has {least - 1};"):
            align(scores, tokens, least - 1)


@given(steps=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_the_alignment_of_what_greedy_search_found_is_its_path(steps: int, seed: int) -> None:
    scores = random_scores(steps, seed)
    (greedy,) = ctc_greedy(scores, torch.tensor([steps]), BLANK)
    found = align(scores, list(greedy.tokens))
    assert found.score == pytest.approx(greedy.score, abs=SUMS)
    assert tuple(map(float, found.starts)) == greedy.times


@given(steps=st.integers(3, 10), seed=st.integers(0, 10**6))
def test_an_alignment_is_never_more_probable_than_all_paths_together(steps: int, seed: int) -> None:
    scores = random_scores(steps, seed)
    assert align(scores, [0, 1]).score <= -nll(scores, (0, 1)) + SUMS


def test_the_alignment_of_no_text_is_all_blanks() -> None:
    scores = random_scores(6, 1)
    found = align(scores, [])
    assert (found.starts, found.ends) == ((), ())
    assert found.score == pytest.approx(float(scores[0, :, BLANK].sum()), abs=SUMS)


def test_scores_in_training_can_be_aligned_and_stay_as_they_were() -> None:
    scores = random_scores(6, 2).requires_grad_(True)
    before = scores.detach().clone()
    assert align(scores, [0, 1]) == align(before, [0, 1])
    assert torch.equal(scores.detach(), before) and scores.grad is None
