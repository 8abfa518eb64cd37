"""The transducer losses against their slow reference and torchaudio, on ragged random input."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
import torchaudio
from torch import Tensor

from asr_lab.losses import transducer_loss
from asr_lab.losses import transducer_plain as plain
from asr_lab.losses.transducer_reference import rnnt_reference, tdt_reference
from asr_lab.models.base.outputs import LossPart

HIDDEN, BLANK = 6, 5
LOSS = {torch.float64: 1e-12, torch.float32: 1e-5}
GRADIENT = {torch.float64: 1e-10, torch.float32: 1e-4}
TDT = (0, 1, 2, 4)


@dataclass(frozen=True)
class Case:
    """Random operands; utterance 1 says nothing, utterance 2 has one step, 3 does not count."""

    operands: tuple[Tensor, ...]
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor
    valid: Tensor
    durations: tuple[int, ...] = ()

    def loss(self, **options: Any) -> LossPart:  # noqa: ANN401
        return transducer_loss(
            *self.operands,
            self.lengths,
            self.tokens,
            self.token_lengths,
            blank_id=BLANK,
            valid=self.valid,
            durations=self.durations,
            **options,
        )

    def results(self, **options: Any) -> tuple[Tensor, ...]:  # noqa: ANN401
        total = self.loss(**options).sum
        return total.detach(), *torch.autograd.grad(total, self.operands)


def case(seed: int, dtype: torch.dtype = torch.float64, durations: tuple[int, ...] = ()) -> Case:
    generator = torch.Generator().manual_seed(seed)
    scores = BLANK + 1 + len(durations)
    shapes = [(5, 7, HIDDEN), (5, 5, HIDDEN), (scores, HIDDEN), (scores,)]
    operands = tuple(
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(True)
        for shape in shapes
    )
    return Case(
        operands,
        lengths=torch.tensor([7, 5, 1, 4, 6]),
        tokens=torch.randint(BLANK, (5, 4), generator=generator),
        token_lengths=torch.tensor([4, 0, 2, 3, 3]),
        valid=torch.tensor([True, True, True, False, True]),
        durations=durations,
    )


def reference(one: Case, activation: str = "relu", **options: float) -> tuple[Tensor, ...]:
    """Return loss and gradients of the slow reference, in double precision."""
    operands = [tensor.detach().double().requires_grad_(True) for tensor in one.operands]
    before = operands[0][:, :, None] + operands[1][:, None]
    act: Callable[[Tensor], Tensor] = torch.relu if activation == "relu" else torch.tanh
    logits = act(before) @ operands[2].T + operands[3]
    texts = (torch.where(one.valid, one.lengths, 0), one.tokens, one.token_lengths)
    if one.durations:
        losses = tdt_reference(logits, *texts, blank_id=BLANK, durations=one.durations, **options)
    else:
        losses = rnnt_reference(logits, *texts, blank_id=BLANK, **options)
    return losses.sum().detach(), *torch.autograd.grad(losses.sum(), operands)


def agree(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], dtype: torch.dtype) -> None:
    assert found[0].item() == pytest.approx(expected[0].item(), rel=LOSS[dtype])
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == dtype
        assert (one - other).norm() <= GRADIENT[dtype] * other.norm()


@pytest.mark.parametrize("durations", [(), TDT, (1, 2)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_loss_and_gradients_are_those_of_the_reference(
    durations: tuple[int, ...], activation: str, dtype: torch.dtype
) -> None:
    one = case(1, dtype, durations)
    found = one.results(activation=activation)
    agree(found, reference(one, activation), dtype)


@pytest.mark.parametrize("durations", [(), TDT])
def test_fast_emit_is_that_of_the_reference(durations: tuple[int, ...]) -> None:
    one = case(2, durations=durations)
    agree(one.results(fast_emit=0.3), reference(one, fast_emit=0.3), torch.float64)
    assert not torch.equal(one.results(fast_emit=0.3)[1], one.results()[1])


def test_sigma_is_that_of_the_reference() -> None:
    one = case(3, durations=TDT)
    agree(one.results(sigma=0.05), reference(one, sigma=0.05), torch.float64)
    assert one.results(sigma=0.05)[0] != one.results()[0]


def test_loss_and_gradients_are_those_of_torchaudio() -> None:
    one = case(4, torch.float32)
    operands = [tensor.detach().requires_grad_(True) for tensor in one.operands]
    logits = (operands[0][:, :, None] + operands[1][:, None]).relu() @ operands[2].T + operands[3]
    rows = one.valid
    # torchaudio wants the longest of the rows to fill the tensors, and 32-bit integers.
    total = torchaudio.functional.rnnt_loss(
        logits[rows],
        one.tokens[rows].int(),
        one.lengths[rows].int(),
        one.token_lengths[rows].int(),
        blank=BLANK,
        reduction="sum",
    )
    agree(one.results(), (total.detach(), *torch.autograd.grad(total, operands)), torch.float32)


@pytest.mark.parametrize("durations", [(), TDT])
def test_small_blocks_change_nothing(
    durations: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = case(5, durations=durations)
    expected = one.results()
    monkeypatch.setattr(plain, "CELLS", 9)
    agree(one.results(), expected, torch.float64)


@pytest.mark.parametrize("durations", [(), TDT])
def test_padding_does_not_matter(durations: tuple[int, ...]) -> None:
    one = case(6, durations=durations)
    expected = one.results()
    projected, predicted, weight, bias = (tensor.detach().clone() for tensor in one.operands)
    longer = torch.full((5, 3, HIDDEN), torch.nan, dtype=torch.float64)
    for row in range(5):
        kept = int(one.lengths[row]) if one.valid[row] else 0
        projected[row, kept:] = torch.nan
        predicted[row, int(one.token_lengths[row]) + 1 if kept else 0 :] = torch.nan
    tokens = torch.cat([one.tokens, torch.full((5, 3), -1)], 1)
    behind = torch.arange(7) >= one.token_lengths[:, None]
    padded = replace(
        one,
        operands=tuple(
            tensor.requires_grad_(True)
            for tensor in (
                torch.cat([projected, longer], 1),
                torch.cat([predicted, longer], 1),
                weight,
                bias,
            )
        ),
        tokens=tokens.masked_fill(behind, 999),
    )
    found = padded.results()
    assert not found[1][:, 7:].any() and not found[2][:, 5:].any()
    agree((found[0], found[1][:, :7], found[2][:, :5], *found[3:]), expected, torch.float64)


def test_an_utterance_does_not_depend_on_its_batch_mates() -> None:
    one = case(7)
    losses = []
    for row in (0, 1, 2, 4):
        alone = torch.arange(5) == row
        losses.append(replace(one, valid=alone).loss().sum.item())
    assert one.loss().sum.item() == pytest.approx(sum(losses), rel=LOSS[torch.float64])
    assert one.loss().count == 4


@pytest.mark.parametrize("durations", [(), TDT])
def test_what_cannot_be_said_adds_nothing(durations: tuple[int, ...]) -> None:
    one = case(8, durations=durations)
    silent = replace(one, lengths=torch.tensor([0, 0, 0, 4, 0]))
    results = silent.results()
    assert not any(found.any() for found in results)
    assert silent.loss().count == 4


def test_a_text_that_does_not_fit_adds_nothing() -> None:
    one = case(9, durations=(1, 2))
    # Two tokens and a blank need three steps.
    only = replace(one, valid=torch.tensor([False, False, True, False, False]))
    assert not any(found.any() for found in only.results())


def test_without_tokens_there_are_only_blanks() -> None:
    one = case(10)
    operands = (one.operands[0], one.operands[1][:, :1], *one.operands[2:])
    zero = torch.zeros(5, dtype=torch.long)
    mute = replace(one, operands=operands, tokens=one.tokens[:, :0], token_lengths=zero)
    logits = (operands[0] + operands[1]).relu() @ operands[2].T + operands[3]
    blanks = -logits.log_softmax(-1)[..., BLANK]
    inside = (torch.arange(7) < one.lengths[:, None]) & one.valid[:, None]
    expected = blanks[inside].sum().item()
    assert mute.loss().sum.item() == pytest.approx(expected, rel=LOSS[torch.float64])


def test_results_repeat_bit_by_bit() -> None:
    one = case(11, torch.float32, TDT)
    first = one.results()
    for _ in range(5):
        again = one.results()
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_half_precision_rounds_the_operands_and_nothing_else() -> None:
    one = case(12, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = one.results()
    half = tuple(tensor.detach().bfloat16() for tensor in one.operands[:3])
    operands = (*(tensor.double() for tensor in half), one.operands[3].detach().double())
    before = operands[0][:, :, None] + operands[1][:, None]
    logits = before.relu().bfloat16().double() @ operands[2].T + operands[3]
    texts = (torch.where(one.valid, one.lengths, 0), one.tokens, one.token_lengths)
    expected = rnnt_reference(logits, *texts, blank_id=BLANK).sum()
    assert found[0].dtype == torch.float32
    assert found[0].item() == pytest.approx(expected.item(), rel=2e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": torch.tensor([8, 5, 1, 4, 6])}, "a length must be from 0 to 7; found 8"),
        ({"token_lengths": torch.tensor([5, 0, 2, 3, 3])}, "a token length .* to 4; found 5"),
        ({"tokens": torch.full((5, 4), BLANK)}, "a token must be from 0 to 4; found 5"),
        ({"tokens": torch.full((5, 4), -1)}, "a token must be from 0 to 4; found -1"),
        ({"durations": (0, 1)}, "need 8 scores; the joint has 6"),
        ({"durations": (0,)}, "one above 0"),
        ({"durations": (1, 1)}, "must differ"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(case(13), **change).loss()
