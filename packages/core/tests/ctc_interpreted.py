"""Run CTC's kernels in Triton's interpreter and print what the tests ask of them as JSON.

The interpreter is chosen when triton is imported, so this is a process of its own.
"""

import json
import sys

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_lab.losses import ctc_triton
from asr_lab.losses.ctc_plain import plain_ctc

Text = tuple[Tensor, Tensor, Tensor]
STEPS = 9


def case(
    scores: int, tokens: int, scale: float = 1.0, distinct: int = 0, blank_id: int = 0
) -> tuple[Tensor, Text, int]:
    """Return logits and a ragged batch: full, without tokens, short, without steps."""
    generator = torch.Generator().manual_seed(scores + tokens)
    logits = scale * torch.randn(4, STEPS, scores, generator=generator)
    said = torch.randint((distinct or scores - 1), (4, tokens), generator=generator)
    said = said + (said >= blank_id)
    lengths = torch.tensor([STEPS, 5, 2, 0])
    counts = torch.tensor([tokens, 0, min(tokens, 2), 0])
    return logits, (lengths, said, counts), blank_id


CASES = {
    "ragged": case(7, 4, blank_id=6),
    "tokens again and again": case(5, 5, distinct=2, blank_id=1),
    "peaked": case(9, 4, scale=4),
    "improbable beyond FP32 and FP64": case(6, 4, scale=1000),
    "more scores than a block": case(40, 6, blank_id=39),
    "no tokens at all": case(5, 0),
}
# A whole block of forbidden scores, in an utterance without tokens.
CASES["more scores than a block"][0][1, :, :16] = -torch.inf


def results(logits: Tensor, text: Text, blank_id: int) -> list[Tensor]:
    """Return losses and gradient of their sum, with different weights."""
    scores = logits.detach().requires_grad_(True)
    losses = ctc_triton.fused_ctc(scores, *text, blank_id)
    return weighted(losses, scores)


def weighted(losses: Tensor, scores: Tensor) -> list[Tensor]:
    """Return losses and the gradient of their weighted sum."""
    weights = torch.arange(1, len(losses) + 1)
    total = (torch.where(losses.isinf(), 0, losses) * weights).sum()
    return [losses.detach(), torch.autograd.grad(total, scores)[0]]


def errors(logits: Tensor, text: Text, blank_id: int) -> list[float]:
    """Return the largest relative error of losses and absolute error of gradients."""
    losses, gradient = results(logits, text, blank_id)
    exact = logits.double().requires_grad_(True)
    expected, slope = weighted(plain_ctc(exact, *text, blank_id), exact)
    assert torch.equal(losses.isinf(), expected.isinf())
    finite = expected.isfinite() & (expected != 0)
    relative = (losses - expected)[finite] / expected[finite]
    return [float(relative.abs().max()), float((gradient.double() - slope).abs().max())]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Return whether both have the same bits."""
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


def laws() -> dict[str, bool]:
    """Return what holds: repetition, order, padding, and that a step's gradient sums to 0."""
    logits, text, blank_id = CASES["tokens again and again"]
    first = results(logits, text, blank_id)
    order = torch.tensor([2, 0, 3, 1])
    turned = results(logits[order], (text[0][order], text[1][order], text[2][order]), blank_id)
    scale = (order + 1) / torch.arange(1, 5)
    padded = F.pad(logits, (0, 0, 0, 3), value=torch.nan)
    padded[2, 2:] = torch.nan
    longer = results(padded, text, blank_id)
    by_step = logits.transpose(0, 1).contiguous().transpose(0, 1)
    narrow = (text[0].int(), text[1].int(), text[2].int())
    return {
        "repeats with other strides and integers": same(first, results(by_step, narrow, blank_id)),
        "order": torch.equal(turned[0], first[0][order])
        and torch.allclose(turned[1] * scale[:, None, None], first[1][order], atol=1e-6),
        "padding": torch.equal(longer[0], first[0])
        and torch.equal(longer[1][:, :STEPS], first[1])
        and not longer[1][:, STEPS:].any(),
        "sums": float(first[1].sum(-1).abs().max()) < 1e-6,
    }


def oddities() -> dict[str, list[float]]:
    """Return losses of what is forbidden, spoilt or no text, and sums of gradients."""
    logits, (lengths, tokens, counts), blank_id = CASES["ragged"]
    logits = logits[:1].repeat(4, 1, 1)
    lengths, tokens, counts = lengths[:1].repeat(4), tokens[:1].repeat(4, 1), counts[:1].repeat(4)
    odd = logits.clone()
    odd[0, :, tokens[0, 1]] = -torch.inf
    odd[1, 3, 3] = torch.nan
    odd[2, 0] = -1e9
    losses, gradient = results(odd, (lengths, tokens, counts), blank_id)
    found = {"odd": losses.tolist(), "odd gradients": gradient.abs().sum((1, 2)).tolist()}
    tokens[0, 1], tokens[1, 1], tokens[2, 1] = logits.shape[2], -1, blank_id
    found["tokens"] = ctc_triton.fused_ctc(logits, lengths, tokens, counts, blank_id).tolist()
    lengths[0], counts[1], counts[2] = STEPS + 1, tokens.shape[1] + 1, -1
    tokens[:] = tokens[3]
    found["lengths"] = ctc_triton.fused_ctc(logits, lengths, tokens, counts, blank_id).tolist()
    return found


def half() -> dict[str, list[float]]:
    """Return how far losses and gradients of FP16 are from those of the same values in FP32."""
    logits, text, blank_id = CASES["ragged"]
    losses, gradient = results(logits.half(), text, blank_id)
    single, slope = results(logits.half().float(), text, blank_id)
    apart = [float((losses - single).abs().max()), float((gradient - slope.half()).abs().max())]
    return {"fp16": apart}


if __name__ == "__main__":
    ctc_triton.SPAN = int(sys.argv[1])
    found = {name: errors(*one) for name, one in CASES.items()}
    print(json.dumps({"errors": found | half(), "laws": laws(), "oddities": oddities()}))
