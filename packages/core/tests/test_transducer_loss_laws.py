"""Laws of the transducer losses that hold whatever the numbers: slopes, shifts, sums and blocks."""

from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.losses import transducer_loss
from asr_lab.losses.transducer_plain import CELLS, Operands, Texts, blocks
from asr_lab.losses.transducer_settings import TransducerSettings
from asr_lab.models.base.outputs import LossPart

HIDDEN, BLANK = 4, 3
EXACT = 1e-11
"""Relative; sums of a few hundred float64 numbers."""
TDT = (0, 1, 2)


@dataclass
class Utterances:
    """Random operands for texts; what lies behind lengths is random too."""

    operands: Operands
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    durations: tuple[int, ...]

    def loss(
        self,
        operands: Operands | None = None,
        rows: slice = slice(None),
        valid: Tensor | None = None,
        **options: Any,  # noqa: ANN401
    ) -> LossPart:
        projected, predicted, weight, bias = operands or self.operands
        counted = torch.ones_like(self.lengths, dtype=torch.bool) if valid is None else valid
        return transducer_loss(
            projected[rows],
            predicted[rows],
            weight,
            bias,
            self.lengths[rows],
            self.tokens[rows],
            self.token_lengths[rows],
            blank_id=BLANK,
            valid=counted[rows],
            durations=self.durations,
            **options,
        )

    def gradients(self, **options: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        return torch.autograd.grad(self.loss(**options).sum, self.operands)


def utterances(
    durations: tuple[int, ...],
    sizes: tuple[tuple[int, int], ...] = ((4, 2), (3, 0), (1, 1), (2, 2)),
    seed: int = 0,
) -> Utterances:
    """Return utterances of (steps, tokens)."""
    generator = torch.Generator().manual_seed(seed)
    batch, steps, count = len(sizes), max(t for t, _ in sizes), max(u for _, u in sizes)
    scores = BLANK + 1 + len(durations)
    parts = [(batch, steps, HIDDEN), (batch, count + 1, HIDDEN), (scores, HIDDEN), (scores,)]
    operands = Operands._make(
        torch.randn(part, generator=generator, dtype=torch.float64).requires_grad_(True)
        for part in parts
    )
    return Utterances(
        operands,
        lengths=torch.tensor([t for t, _ in sizes]),
        tokens=torch.randint(BLANK, (batch, count), generator=generator),
        token_lengths=torch.tensor([u for _, u in sizes]),
        durations=durations,
    )


def log_probs(one: Utterances) -> tuple[Tensor, Tensor]:
    """Return log probabilities of labels and of durations at every cell."""
    projected, predicted, weight, bias = one.operands
    logits = (projected[:, :, None] + predicted[:, None]).relu() @ weight.T + bias
    parts = logits.split([BLANK + 1, len(one.durations)], -1)
    return parts[0].log_softmax(-1).detach(), parts[1].log_softmax(-1).detach()


@pytest.mark.parametrize("durations", [(), TDT, (1, 3)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_in_all_operands_are_those_of_finite_differences(
    durations: tuple[int, ...], activation: Literal["relu", "tanh"]
) -> None:
    one, valid = utterances(durations), torch.tensor([True, True, False, True])

    def loss(*operands: Tensor) -> Tensor:
        options: dict[str, Any] = {"activation": activation, "valid": valid, "sigma": 0.1}
        return one.loss(Operands(*operands), **options).sum

    # The fast mode compares one random projection of the Jacobian, which any wrong entry changes.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert torch.autograd.gradcheck(loss, tuple(one.operands), fast_mode=True)


def test_at_one_step_the_only_path_says_all_tokens_and_the_blank() -> None:
    one = utterances((), ((1, 3),))
    labels, _ = log_probs(one)
    path = [labels[0, 0, place, token] for place, token in enumerate(one.tokens[0].tolist())]
    expected = -float(sum(path) + labels[0, 0, 3, BLANK])
    assert one.loss().sum.item() == pytest.approx(expected, rel=EXACT)


def test_a_token_at_every_step_but_the_last_is_the_only_path_of_a_duration_of_1() -> None:
    one = utterances((1,), ((4, 3),))
    labels, lasting = log_probs(one)
    said = [*one.tokens[0].tolist(), BLANK]
    # A choice of one duration is certain.
    assert not lasting.any()
    expected = -float(sum(labels[0, place, place, token] for place, token in enumerate(said)))
    assert one.loss().sum.item() == pytest.approx(expected, rel=EXACT)


@given(labels=st.floats(-50, 50), lasting=st.floats(-50, 50), seed=st.integers(0, 99))
@settings(max_examples=25)
def test_a_constant_on_all_labels_or_on_all_durations_changes_nothing(
    labels: float, lasting: float, seed: int
) -> None:
    one = utterances(TDT, seed=seed)
    shift = torch.tensor([labels] * (BLANK + 1) + [lasting] * len(TDT), dtype=torch.float64)
    shifted = one.operands._replace(bias=one.operands.bias + shift)
    expected = float(one.loss().sum.detach())
    # Adding 50 to a score of about 1 costs its last two digits.
    assert float(one.loss(shifted).sum.detach()) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("fast_emit", [0.0, 0.7])
@pytest.mark.parametrize("durations", [(), TDT])
def test_the_gradient_in_the_bias_sums_to_zero_over_labels_and_over_durations(
    durations: tuple[int, ...], fast_emit: float
) -> None:
    bias = utterances(durations).gradients(fast_emit=fast_emit)[3]
    assert bias[: BLANK + 1].abs().max() > 0.1
    assert abs(float(bias[: BLANK + 1].sum())) < EXACT
    assert abs(float(bias[BLANK + 1 :].sum())) < EXACT


@pytest.mark.parametrize("durations", [(), TDT])
@settings(max_examples=15)
@given(fast_emit=st.floats(0, 5))
def test_fast_emit_adds_its_multiple_of_the_gradient_through_tokens(
    durations: tuple[int, ...], fast_emit: float
) -> None:
    one = utterances(durations)
    plain, double = one.gradients(), one.gradients(fast_emit=1.0)
    for found, none, twice in zip(one.gradients(fast_emit=fast_emit), plain, double, strict=True):
        assert torch.allclose(found, none + fast_emit * (twice - none), rtol=0, atol=1e-11)
    assert one.loss(fast_emit=fast_emit).sum.item() == one.loss().sum.item()


@pytest.mark.parametrize("durations", [(), TDT])
def test_a_text_of_nothing_is_not_hastened(durations: tuple[int, ...]) -> None:
    silent = utterances(durations, ((4, 0), (2, 0)))
    assert all(map(torch.equal, silent.gradients(), silent.gradients(fast_emit=3.0)))
    spoken = utterances(durations, ((4, 1),))
    assert not torch.equal(spoken.gradients()[3], spoken.gradients(fast_emit=3.0)[3])


@pytest.mark.parametrize("durations", [(), TDT])
def test_splitting_a_batch_changes_neither_sum_nor_count_nor_shared_gradients(
    durations: tuple[int, ...],
) -> None:
    one = utterances(durations, ((4, 2), (3, 0), (0, 0), (2, 2), (4, 1)))
    valid = torch.tensor([True, False, True, True, True])
    whole = one.loss(valid=valid)
    parts = [one.loss(rows=rows, valid=valid) for rows in (slice(0, 2), slice(2, 5))]
    assert whole.count == sum(part.count for part in parts) == 4
    total = parts[0].sum + parts[1].sum
    assert float(total.detach()) == pytest.approx(float(whole.sum.detach()), rel=EXACT)
    shared = one.operands[2:]
    together = torch.autograd.grad(whole.sum, shared)
    for found, expected in zip(torch.autograd.grad(total, shared), together, strict=True):
        assert torch.allclose(found, expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("spoilt", [torch.nan, torch.inf])
def test_what_an_invalid_utterance_holds_reaches_no_gradient(spoilt: float) -> None:
    one, valid = utterances(TDT), torch.tensor([True, False, True, True])
    expected = one.gradients(valid=valid)
    with torch.no_grad():
        one.operands.projected[1] = spoilt
        one.operands.predicted[1] = spoilt
    assert all(map(torch.equal, one.gradients(valid=valid), expected))
    assert not expected[0][1].any() and not expected[1][1].any()


def test_a_factor_on_the_loss_is_a_factor_on_every_gradient() -> None:
    one = utterances(TDT)
    scaled = torch.autograd.grad(0.25 * one.loss().sum, one.operands)
    # A power of 2 changes no digit.
    assert all(torch.equal(a, 0.25 * b) for a, b in zip(scaled, one.gradients(), strict=True))


@pytest.mark.parametrize("part", range(4))
def test_an_operand_that_is_frozen_does_not_disturb_the_others(part: int) -> None:
    one = utterances(())
    expected = one.gradients()
    kept = [tensor for place, tensor in enumerate(one.operands) if place != part]
    frozen = Operands._make(
        tensor.detach() if place == part else tensor for place, tensor in enumerate(one.operands)
    )
    found = torch.autograd.grad(one.loss(frozen).sum, kept)
    assert all(map(torch.equal, found, [*expected[:part], *expected[part + 1 :]]))


def test_each_operand_gets_its_gradient_in_its_own_precision() -> None:
    one = utterances(())
    kinds = (torch.bfloat16, torch.float32, torch.float32, torch.float64)
    mixed = Operands._make(
        tensor.detach().to(kind).requires_grad_(True)
        for tensor, kind in zip(one.operands, kinds, strict=True)
    )
    total = one.loss(mixed).sum
    assert total.dtype == torch.float32
    assert tuple(found.dtype for found in torch.autograd.grad(total, mixed)) == kinds


@pytest.mark.parametrize("durations", [(), TDT])
def test_nothing_to_say_in_no_steps_costs_nothing(durations: tuple[int, ...]) -> None:
    one = utterances(durations, ((0, 0), (0, 0)))
    part = one.loss()
    assert (part.sum.item(), part.count) == (0.0, 2)
    assert not any(found.any() for found in one.gradients())


def test_a_batch_of_no_utterances_costs_nothing() -> None:
    one = utterances(())
    part = one.loss(rows=slice(0, 0))
    assert (float(part.sum.detach()), part.count) == (0.0, 0)
    assert not any(found.any() for found in torch.autograd.grad(part.sum, one.operands))


@pytest.mark.parametrize(
    ("steps", "count"), [(40, 300), (3, CELLS - 1), (2, CELLS + 5), (CELLS + 1, 0), (1, 0)]
)
def test_blocks_hold_a_bounded_part_of_the_joint_and_cover_it_once(steps: int, count: int) -> None:
    operands = Operands(
        torch.zeros(2, steps, 1), torch.zeros(2, count + 1, 1), torch.zeros(3, 1), torch.zeros(3)
    )
    texts = Texts(
        torch.tensor([0, steps]), torch.zeros(2, count, dtype=torch.long), torch.tensor([0, count])
    )
    seen = torch.zeros(steps)
    for block in blocks(operands, texts, TransducerSettings(blank_id=2), torch.float32):
        cells = block.logits[..., 0].numel()
        # One step at least: of a text longer than a block, all positions.
        assert cells <= max(CELLS, count + 1)
        assert block.row == 1 and block.positions == count + 1
        assert block.logits.shape[:2] == block.before.shape[:2] == block.active.shape[:2]
        seen[block.steps] += 1
    assert bool((seen == 1).all())
