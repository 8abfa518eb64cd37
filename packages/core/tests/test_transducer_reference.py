"""The slow transducer losses against the sum over all alignments."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from asr_lab.losses.transducer_reference import rnnt_reference, tdt_reference

EXACT = 1e-12
BLANK = 2


def logits(scores: int, seed: int, steps: int = 4, positions: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(1, steps, positions, scores, generator=generator, dtype=torch.float64)


def alignments(
    step: int, position: int, steps: int, count: int, durations: tuple[int, ...]
) -> Iterator[list[tuple[int, int, bool, int]]]:
    """Yield all ways to the end: cells, whether a token is emitted there, and how long it takes."""
    for duration in durations:
        if duration and position == count and step + duration == steps:
            yield [(step, position, False, duration)]
        if duration and step + duration < steps:
            for rest in alignments(step + duration, position, steps, count, durations):
                yield [(step, position, False, duration), *rest]
        if position < count and step + duration < steps:
            for rest in alignments(step + duration, position + 1, steps, count, durations):
                yield [(step, position, True, duration), *rest]


def rnnt_alignments(
    step: int, position: int, steps: int, count: int
) -> Iterator[list[tuple[int, int, bool]]]:
    if step == steps:
        if position == count:
            yield []
        return
    for rest in rnnt_alignments(step + 1, position, steps, count):
        yield [(step, position, False), *rest]
    if position < count:
        for rest in rnnt_alignments(step, position + 1, steps, count):
            yield [(step, position, True), *rest]


@pytest.mark.parametrize(("steps", "count"), [(4, 2), (1, 2), (3, 0), (1, 0)])
def test_rnnt_is_the_sum_over_all_alignments(steps: int, count: int) -> None:
    scores = logits(BLANK + 1, steps)
    tokens = torch.tensor([[1, 0]])
    chances = scores.softmax(-1)[0]
    total = 0.0
    for path in rnnt_alignments(0, 0, steps, count):
        said = [int(tokens[0, place]) if token else BLANK for _, place, token in path]
        emitted = zip(path, said, strict=True)
        total += math.prod(
            float(chances[step, place, score]) for (step, place, _), score in emitted
        )
    found = rnnt_reference(
        scores, torch.tensor([steps]), tokens, torch.tensor([count]), blank_id=BLANK
    )
    assert found.item() == pytest.approx(-math.log(total), rel=EXACT)


@pytest.mark.parametrize("durations", [(0, 1, 2), (1, 2), (2, 0, 1), (0, 1, 4)])
@pytest.mark.parametrize(("steps", "count"), [(4, 2), (3, 1), (3, 0)])
@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_tdt_is_the_sum_over_all_alignments(
    durations: tuple[int, ...], steps: int, count: int, sigma: float
) -> None:
    scores = logits(BLANK + 1 + len(durations), steps)
    tokens = torch.tensor([[1, 0]])
    chances = scores[0, ..., : BLANK + 1].softmax(-1) * math.exp(-sigma)
    lasting = scores[0, ..., BLANK + 1 :].softmax(-1)
    total = 0.0
    for path in alignments(0, 0, steps, count, durations):
        terms = [
            chances[step, place, tokens[0, place] if token else BLANK]
            * lasting[step, place, durations.index(duration)]
            for step, place, token, duration in path
        ]
        total += math.prod(map(float, terms))
    found = tdt_reference(
        scores,
        torch.tensor([steps]),
        tokens,
        torch.tensor([count]),
        blank_id=BLANK,
        durations=durations,
        sigma=sigma,
    )
    assert found.item() == pytest.approx(-math.log(total), rel=EXACT)


def test_a_text_that_cannot_be_emitted_has_no_loss() -> None:
    scores = logits(BLANK + 3, 0, steps=2).requires_grad_(True)
    tokens, lengths = torch.tensor([[1, 0]]), torch.tensor([2])
    found = tdt_reference(
        scores, lengths, tokens, torch.tensor([2]), blank_id=BLANK, durations=(1, 2)
    )
    found.sum().backward()
    assert found.item() == 0
    assert scores.grad is not None and not scores.grad.any()


def test_fast_emit_keeps_the_loss_and_scales_the_gradient_through_tokens() -> None:
    scores = logits(BLANK + 1, 3).requires_grad_(True)
    arguments = (torch.tensor([4]), torch.tensor([[1, 0]]), torch.tensor([2]))
    gradients = []
    for fast_emit in (0.0, 0.5):
        loss = rnnt_reference(scores, *arguments, blank_id=BLANK, fast_emit=fast_emit)
        gradients.append((loss.item(), *torch.autograd.grad(loss.sum(), scores)))
    assert gradients[0][0] == gradients[1][0]
    more = gradients[1][1] - gradients[0][1]
    # All of it is through tokens: at a cell it sums to 0, and over all cells there are two tokens.
    log_probs = scores.log_softmax(-1).detach()
    assert more.sum(-1).abs().max() < EXACT
    through = more / (log_probs.exp() - torch.nn.functional.one_hot(torch.tensor([1, 0, 0]), 3))
    assert through[0, :, :2, 2].sum().item() == pytest.approx(0.5 * 2, rel=1e-9)
