"""Losses against their definitions, in float64, on ragged random input."""

from itertools import product

import pytest
import torch
from torch import Tensor

from asr_lab.losses import cross_entropy_loss, ctc_loss, teacher_forcing
from asr_lab.models.base.outputs import LossPart

EXACT = 1e-12


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """Merge repeats, then drop blanks."""
    merged = [token for step, token in enumerate(path) if step == 0 or token != path[step - 1]]
    return tuple(token for token in merged if token != blank)


def ctc_by_enumeration(log_probs: Tensor, tokens: list[int]) -> float:
    """Sum the probabilities of all paths that say `tokens`."""
    steps, scores = log_probs.shape
    paths = product(range(scores), repeat=steps)
    wanted = [path for path in paths if collapse(path, scores - 1) == tuple(tokens)]
    total = sum(
        log_probs[range(steps), list(path)].sum().exp().item() if path else 1.0 for path in wanted
    )
    return -torch.tensor(total, dtype=torch.float64).log().item()


def ragged(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return log probabilities, lengths, tokens and their lengths; all texts fit."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    tokens = torch.randint(2, (4, 2), generator=generator)
    # Two equal tokens need three steps.
    lengths = torch.randint(3, 6, (4,), generator=generator)
    token_lengths = torch.randint(0, 3, (4,), generator=generator)
    return logits.log_softmax(-1), lengths, tokens, token_lengths


def ctc(
    log_probs: Tensor,
    lengths: Tensor,
    tokens: Tensor,
    token_lengths: Tensor,
    valid: Tensor | None = None,
) -> LossPart:
    everyone = torch.ones(len(lengths), dtype=torch.bool)
    return ctc_loss(
        log_probs,
        lengths,
        tokens,
        token_lengths,
        blank_id=log_probs.shape[-1] - 1,
        valid=everyone if valid is None else valid,
    )


@pytest.mark.parametrize("seed", range(6))
def test_ctc_is_the_sum_over_all_paths_that_collapse_to_the_text(seed: int) -> None:
    log_probs, lengths, tokens, token_lengths = ragged(seed)
    part = ctc(log_probs, lengths, tokens, token_lengths)
    expected = sum(
        ctc_by_enumeration(
            log_probs[row, : lengths[row]], tokens[row, : token_lengths[row]].tolist()
        )
        for row in range(4)
    )
    assert part.sum.item() == pytest.approx(expected, rel=EXACT)
    assert part.count == 4


def test_the_gradient_of_ctc_is_that_of_finite_differences() -> None:
    log_probs, lengths, tokens, token_lengths = ragged(7)
    scores = log_probs.clone().requires_grad_(True)

    def loss(values: Tensor) -> Tensor:
        return ctc(values.log_softmax(-1), lengths, tokens, token_lengths).sum

    assert torch.autograd.gradcheck(loss, (scores,))


def test_ctc_reads_nothing_behind_an_utterance() -> None:
    log_probs, lengths, tokens, token_lengths = ragged(8)
    expected = ctc(log_probs, lengths, tokens, token_lengths).sum
    for row in range(4):
        log_probs[row, lengths[row] :] = 5.0
        tokens[row, token_lengths[row] :] = 99
    log_probs.requires_grad_(True)
    found = ctc(log_probs, lengths, tokens, token_lengths).sum
    found.backward()
    assert found.item() == expected.item()
    assert log_probs.grad is not None
    assert all(not log_probs.grad[row, lengths[row] :].any() for row in range(4))


def test_an_utterance_that_is_not_valid_adds_nothing_to_ctc() -> None:
    log_probs, lengths, tokens, token_lengths = ragged(9)
    valid = torch.tensor([True, False, True, True])
    lengths[1], token_lengths[1] = 0, 2
    kept = ctc(log_probs[valid], lengths[valid], tokens[valid], token_lengths[valid])
    log_probs.requires_grad_(True)
    part = ctc(log_probs, lengths, tokens, token_lengths, valid)
    part.sum.backward()
    assert part.sum.item() == pytest.approx(kept.sum.item(), rel=EXACT)
    assert part.count == 3
    assert log_probs.grad is not None
    assert not log_probs.grad[1].any()


def test_a_text_that_does_not_fit_adds_zero_and_no_gradient() -> None:
    log_probs = torch.randn(1, 2, 3).log_softmax(-1).requires_grad_(True)
    # The same token twice needs a blank between: three steps.
    part = ctc(log_probs, torch.tensor([2]), torch.tensor([[1, 1]]), torch.tensor([2]))
    part.sum.backward()
    assert part.sum.item() == 0
    assert log_probs.grad is not None
    assert not log_probs.grad.any()


def test_ctc_of_empty_texts_is_the_probability_of_blanks() -> None:
    log_probs, lengths, _, _ = ragged(10)
    empty = torch.zeros(4, 0, dtype=torch.int64)
    part = ctc(log_probs, lengths, empty, torch.zeros(4, dtype=torch.int64))
    expected = -sum(log_probs[row, : lengths[row], -1].sum().item() for row in range(4))
    assert part.sum.item() == pytest.approx(expected, rel=EXACT)


def test_ctc_computes_in_fp32_and_repeats_its_bits() -> None:
    log_probs, lengths, tokens, token_lengths = ragged(11)
    half = log_probs.bfloat16()
    first = ctc(half, lengths, tokens, token_lengths).sum
    assert first.dtype == torch.float32
    assert torch.equal(first, ctc(half, lengths, tokens, token_lengths).sum)
    assert torch.equal(first, ctc(half.float(), lengths, tokens, token_lengths).sum)


def test_losses_keep_the_weight_they_are_given() -> None:
    log_probs, lengths, tokens, token_lengths = ragged(12)
    valid = torch.ones(4, dtype=torch.bool)
    part = ctc_loss(log_probs, lengths, tokens, token_lengths, blank_id=2, valid=valid, weight=0.3)
    assert part.weight == 0.3
    counted = torch.ones(4, 2, dtype=torch.bool)
    assert cross_entropy_loss(log_probs[:, :2], tokens, counted, weight=0.7).weight == 0.7


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(3))
def test_cross_entropy_is_its_definition(seed: int, smoothing: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, 4, 6, generator=generator, dtype=torch.float64)
    targets = torch.randint(6, (3, 4), generator=generator)
    counted = torch.rand(3, 4, generator=generator) < 0.6
    part = cross_entropy_loss(logits, targets, counted, smoothing=smoothing)
    expected = 0.0
    for row, place in counted.nonzero().tolist():
        log_probs = logits[row, place] - logits[row, place].exp().sum().log()
        truth = log_probs[targets[row, place]]
        expected -= ((1 - smoothing) * truth + smoothing * log_probs.mean()).item()
    assert part.sum.item() == pytest.approx(expected, rel=EXACT)
    assert part.count == int(counted.sum())


def test_what_does_not_count_has_no_gradient_in_the_cross_entropy() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    counted = torch.tensor([[True, False, True], [False, False, False]])
    targets = torch.tensor([[1, 4, 2], [0, 0, 0]])
    cross_entropy_loss(logits, targets, counted, smoothing=0.1).sum.backward()
    assert logits.grad is not None
    assert not logits.grad[~counted].any()
    assert logits.grad[counted].any(-1).all()


def test_a_cross_entropy_of_nothing_is_zero_with_zero_gradient() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    part = cross_entropy_loss(logits, torch.zeros(2, 3, dtype=torch.int64), nothing, smoothing=0.1)
    part.sum.backward()
    assert (part.sum.item(), part.count) == (0.0, 0)
    assert logits.grad is not None
    assert not logits.grad.any()


def test_cross_entropy_computes_in_fp32() -> None:
    logits, targets = torch.randn(2, 3, 5).bfloat16(), torch.zeros(2, 3, dtype=torch.int64)
    counted = torch.ones(2, 3, dtype=torch.bool)
    part = cross_entropy_loss(logits, targets, counted)
    assert torch.equal(part.sum, cross_entropy_loss(logits.float(), targets, counted).sum)


def test_a_decoder_is_fed_the_start_and_must_say_the_end() -> None:
    inputs, targets, counted = teacher_forcing(
        torch.tensor([[4, 5, 6], [7, 1, 1], [2, 2, 2]]),
        torch.tensor([3, 1, 0]),
        start_id=9,
        end_id=8,
    )
    assert inputs.tolist() == [[9, 4, 5, 6], [9, 7, 8, 8], [9, 8, 8, 8]]
    assert targets.tolist() == [[4, 5, 6, 8], [7, 8, 8, 8], [8, 8, 8, 8]]
    assert counted.tolist() == [[True] * 4, [True, True, False, False], [True, False, False, False]]
