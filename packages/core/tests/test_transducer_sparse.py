"""What the gradient of a transducer's loss may leave out is bounded, and nothing else changes."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from asr_lab.losses.transducer_lattice import edge_scores, posteriors
from asr_lab.losses.transducer_plain import (
    Operands,
    Planes,
    Texts,
    blocks,
    logit_gradients,
    plain_transducer,
    score,
)
from asr_lab.losses.transducer_reference import rnnt_reference, tdt_reference
from asr_lab.losses.transducer_settings import TransducerSettings
from asr_lab.losses.transducer_sparse import cell_bounds, kept_cells

BLANK, STEPS, COUNT = 6, 12, 4
TDT = (0, 1, 2)
PEAKY = {"uniform": 0.0, "random": 1.0, "peaky": 4.0, "trained": 1.0}
PARTS = (1e-4, 1e-2, 0.3)
EXACT = 1e-10


class Case(NamedTuple):
    """Operands, texts and what is known of their lattice, in FP64."""

    operands: Operands
    texts: Texts
    settings: TransducerSettings
    planes: Planes
    taken: Tensor
    bounds: Tensor


def case(kind: str, durations: tuple[int, ...] = (), fast_emit: float = 0.0) -> Case:
    """Return three ragged utterances whose scores are as peaky as `kind` says."""
    settings = TransducerSettings(blank_id=BLANK, durations=durations, fast_emit=fast_emit)
    generator = torch.Generator().manual_seed(len(durations))
    hidden, spread = settings.scores, PEAKY[kind]
    texts = Texts(
        torch.tensor([STEPS, 7, 1]),
        torch.randint(BLANK, (3, COUNT), generator=generator),
        torch.tensor([COUNT, 2, 0]),
    )
    projected = spread * torch.randn(3, STEPS, hidden, generator=generator).double()
    predicted = spread * torch.randn(3, COUNT + 1, hidden, generator=generator).double()
    if kind == "trained":  # a step or a text of its own for every token; elsewhere the blank
        projected[..., BLANK] += 6
        for row, count in enumerate(texts.token_lengths.tolist()):
            for place, token in enumerate(texts.tokens[row, :count].tolist()):
                projected[row, 1 + 2 * place, token] += 12
                predicted[row, place, token] += 3
    weight = torch.eye(hidden).double()
    operands = Operands(projected, predicted, weight, torch.zeros(hidden).double())
    planes = score(operands, texts, settings, torch.float64)
    edges = edge_scores(*planes, texts.lengths, texts.token_lengths, settings)
    _, taken = posteriors(edges, texts.lengths, texts.token_lengths, settings)
    return Case(operands, texts, settings, planes, taken, cell_bounds(*planes, taken, settings))


def of_logits(one: Case) -> Tensor:
    """Return the sum of absolute values of the gradient in the logits of every cell."""
    found = torch.zeros_like(one.bounds)
    for block in blocks(one.operands, one.texts, one.settings, torch.float64):
        place = (block.row, block.steps, slice(block.positions))
        spoken = one.texts.tokens[block.row, : block.positions - 1]
        taken = one.taken[(slice(None), *place)]
        found[place] = logit_gradients(block, spoken, taken, one.settings).abs().sum(-1)
    return found


def gradients(one: Case, part: float) -> tuple[Tensor, ...]:
    """Return loss and gradients where that part of the gradient may be left out."""
    settings = TransducerSettings(**{**vars(one.settings), "gradient_bound": part})
    inputs = Operands._make(value.clone().requires_grad_(True) for value in one.operands)
    total = plain_transducer(inputs, one.texts, settings, torch.float64)
    return (total.detach(), *torch.autograd.grad(total, inputs))


@pytest.mark.parametrize("kind", PEAKY)
@pytest.mark.parametrize("durations", [(), TDT])
@pytest.mark.parametrize("fast_emit", [0.0, 0.5])
def test_no_cell_has_more_gradient_than_its_bound(
    kind: str, durations: tuple[int, ...], fast_emit: float
) -> None:
    one = case(kind, durations, fast_emit)
    found = of_logits(one)
    assert (found <= one.bounds + EXACT).all()
    assert found.sum() > 0.1 * one.bounds.sum()  # and the bound says something


@pytest.mark.parametrize("kind", PEAKY)
@pytest.mark.parametrize("durations", [(), TDT])
@pytest.mark.parametrize("part", PARTS)
def test_what_is_left_out_is_within_the_bound_of_the_reference(
    kind: str, durations: tuple[int, ...], part: float
) -> None:
    one = case(kind, durations)
    leaf = [value.clone().requires_grad_(True) for value in one.operands]
    logits = (leaf[0][:, :, None] + leaf[1][:, None]).relu() @ leaf[2].T + leaf[3]
    rest = (one.texts.lengths, one.texts.tokens, one.texts.token_lengths)
    if durations:
        losses = tdt_reference(logits, *rest, blank_id=BLANK, durations=durations)
    else:
        losses = rnnt_reference(logits, *rest, blank_id=BLANK)
    exact = torch.autograd.grad(losses.sum(), leaf)
    loss, *found = gradients(one, part)
    allowed = part * float(one.bounds.sum())
    assert loss.item() == pytest.approx(losses.sum().item(), rel=EXACT)
    largest = float((one.operands.projected[:, :, None] + one.operands.predicted[:, None]).max())
    # The weight is 1, so that gradients in both sides are those in logits; its own are by inputs.
    scales = (1.0, 1.0, max(largest, 0.0), 1.0)
    for one_found, wanted, scale in zip(found, exact, scales, strict=True):
        assert (one_found - wanted).abs().sum() <= scale * allowed + EXACT


def test_most_cells_of_a_trained_model_are_left_out() -> None:
    one = case("trained")
    settings = TransducerSettings(blank_id=BLANK, gradient_bound=1e-2)
    kept = kept_cells(one.bounds, one.texts.lengths, one.texts.token_lengths, settings)
    inside = int((one.texts.lengths * (one.texts.token_lengths + 1)).sum())
    assert 0 < int(kept.sum()) < 0.5 * inside


def test_off_is_the_default_and_changes_no_bit() -> None:
    one = case("trained", TDT)
    assert TransducerSettings(blank_id=BLANK).gradient_bound == 0
    off, low, high = (gradients(one, part) for part in (0.0, 1e-12, 0.5))
    assert all(torch.allclose(a, b, rtol=EXACT, atol=EXACT) for a, b in zip(off, low, strict=True))
    assert torch.equal(off[0], high[0]) and not torch.equal(off[1], high[1])


@pytest.mark.parametrize("part", [-0.1, 1.0, float("nan")])
def test_a_part_that_is_none_is_refused(part: float) -> None:
    with pytest.raises(ValueError, match="gradient_bound must be from 0 to below 1"):
        TransducerSettings(blank_id=BLANK, gradient_bound=part)


def test_a_gradient_that_is_no_number_is_not_left_out() -> None:
    one = case("random")
    one.operands.projected[0, 0, 0] = torch.nan
    assert gradients(one, 0.3)[1].isnan().any()
