"""CTC's kernels on a GPU: accuracy against double precision, equal bits, graphs, no waiting."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from asr_lab.losses import ctc_loss, ctc_losses
from asr_lab.losses.ctc import why_not_fused
from asr_lab.losses.ctc_plain import plain_ctc
from asr_lab.reproducibility.deterministic import deterministic

pytestmark = pytest.mark.needs("bf16")

LOSS, GRADIENT = 1e-6, 5e-5
Text = tuple[Tensor, Tensor, Tensor]
LONG = {
    "400 steps, 80 tokens": (400, 80),
    "250 steps, 100 tokens": (250, 100),
    "1500 steps, 300 tokens": (1500, 300),
}
SHAPES = {
    "one token": (5, 1, 4),
    "31 tokens": (90, 31, 33),
    "32 tokens, a larger block": (90, 32, 33),
    "letters": (400, 150, 32),
    "many scores": (60, 20, 5001),
    "600 tokens": (1400, 600, 50),
    "2000 tokens": (4200, 2000, 30),
}
"""Steps, tokens, scores."""


def batch_of(
    steps: int, count: int, scores: int, scale: float = 1, batch: int = 4
) -> tuple[Tensor, Text]:
    """Return logits and ragged texts, the first of full length and the last without a token."""
    generator = torch.Generator().manual_seed(steps + count)
    logits = scale * torch.randn(batch, steps, scores, generator=generator)
    tokens = torch.randint(scores - 1, (batch, count), generator=generator)
    counts = torch.randint(count // 2, count + 1, (batch,), generator=generator)
    lengths = torch.randint(steps * 2 // 3, steps + 1, (batch,), generator=generator)
    lengths[0], counts[0], counts[-1] = steps, count, 0
    return logits.cuda(), (lengths.cuda(), tokens.cuda(), counts.cuda())


def results(scores: Tensor, text: Text) -> tuple[Tensor, Tensor]:
    """Return losses and gradient of their sum, which nothing waits for."""
    scores = scores.detach().requires_grad_(True)
    assert not why_not_fused(scores, text[1])
    losses = ctc_losses(scores, *text, blank_id=scores.shape[2] - 1)
    return losses.detach(), torch.autograd.grad(losses.sum(), scores)[0]


def exact(scores: Tensor, text: Text) -> tuple[Tensor, Tensor]:
    """Return the same in double precision, by torch."""
    scores = scores.detach().double().requires_grad_(True)
    log_probs = scores.log_softmax(-1).transpose(0, 1)
    blank_id = scores.shape[2] - 1
    losses = F.ctc_loss(
        log_probs, text[1], text[0], text[2], blank_id, reduction="none", zero_infinity=True
    )
    return losses.detach(), torch.autograd.grad(losses.sum(), scores)[0]


def equal(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("name", LONG)
def test_long_utterances_keep_their_digits(name: str, scale: int) -> None:
    logits, text = batch_of(*LONG[name], 1024, scale)
    losses, gradient = results(logits, text)
    expected, slope = exact(logits, text)
    assert torch.allclose(losses.double(), expected, rtol=LOSS, atol=0)
    error = (gradient - slope).abs().max()
    assert error <= GRADIENT
    native = logits.detach().requires_grad_(True)
    by_torch = F.ctc_loss(
        native.log_softmax(-1).transpose(0, 1), text[1], text[0], text[2], 1023, reduction="sum"
    )
    assert error <= (torch.autograd.grad(by_torch, native)[0] - slope).abs().max()


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("name", LONG)
def test_plain_torch_keeps_them_too(name: str, scale: int) -> None:
    logits, text = batch_of(*LONG[name], 1024, scale)
    scores = logits.detach().requires_grad_(True)
    losses = plain_ctc(scores, *text, 1023)
    expected, slope = exact(logits, text)
    assert torch.allclose(losses.double(), expected, rtol=LOSS, atol=0)
    gradient = torch.autograd.grad(losses.sum(), scores)[0]
    assert (gradient - slope).abs().max() <= GRADIENT


@pytest.mark.parametrize("name", SHAPES)
def test_any_size_will_do(name: str) -> None:
    logits, text = batch_of(*SHAPES[name])
    losses, gradient = results(logits, text)
    assert gradient.isfinite().all()
    expected, slope = exact(logits, text)
    assert torch.allclose(losses.double(), expected, rtol=LOSS, atol=1e-6)
    assert (gradient - slope).abs().max() <= GRADIENT


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_fp32(dtype: torch.dtype) -> None:
    logits, text = batch_of(250, 100, 1024)
    losses, gradient = results(logits.to(dtype), text)
    single, slope = results(logits.to(dtype).float(), text)
    assert losses.dtype == torch.float32
    assert torch.equal(losses, single)
    # Another kernel, whose FP32 may differ in the last place: a half may round to its neighbour.
    torch.testing.assert_close(gradient, slope.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-7)


@pytest.mark.parametrize("name", ["letters", "many scores"])
def test_twenty_runs_have_equal_bits(name: str) -> None:
    logits, text = batch_of(*SHAPES[name], batch=16)
    with deterministic():
        first = results(logits, text)
        assert all(equal(first, results(logits, text)) for _ in range(19))


def test_an_utterance_has_the_same_bits_in_any_batch_and_padding() -> None:
    logits, text = batch_of(250, 100, 1024, batch=8)
    losses, gradient = results(logits, text)
    order = torch.tensor([5, 0, 3], device="cuda")
    some = F.pad(logits[order], (0, 0, 0, 7), value=torch.nan)
    for row, length in enumerate(text[0][order].tolist()):
        some[row, length:] = torch.nan
    # As many places as before: 128 for blanks.
    wider = F.pad(text[1][order], (0, 5), value=-3)
    found, slope = results(some, (text[0][order], wider, text[2][order]))
    assert torch.equal(found, losses[order])
    assert torch.equal(slope[:, :250], gradient[order])
    assert not slope[:, 250:].any()


def test_what_cannot_be_said_spoils_nothing() -> None:
    logits, (lengths, tokens, counts) = batch_of(60, 20, 33)
    lengths[1], counts[1] = 10, 20
    lengths[2], counts[2] = 0, 0
    losses, gradient = results(logits, (lengths, tokens, counts))
    expected, slope = exact(logits.cpu(), (lengths.cpu(), tokens.cpu(), counts.cpu()))
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=LOSS)
    assert not gradient[1:3].any()
    assert (gradient.cpu() - slope).abs().max() <= GRADIENT
    infinite = ctc_losses(logits, lengths, tokens, counts, blank_id=32, zero_infinity=False)
    assert infinite.isinf().tolist() == [False, True, False, False]


def test_an_utterance_that_is_not_valid_adds_nothing() -> None:
    logits, text = batch_of(60, 20, 33)
    losses, gradient = results(logits, text)
    valid = torch.tensor([True, False, True, True], device="cuda")
    logits[1] = torch.nan
    scores = logits.requires_grad_(True)
    part = ctc_loss(scores, *text, blank_id=32, valid=valid)
    assert part.count == 3
    assert torch.allclose(part.sum, losses[valid].sum())
    found = torch.autograd.grad(part.sum, scores)[0]
    assert torch.equal(found[valid], gradient[valid])
    assert not found[1].any()


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_nothing_waits_for_the_device() -> None:
    logits, text = batch_of(60, 20, 33)
    results(logits, text)
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    try:
        torch.cuda.set_sync_debug_mode("error")
        results(logits, text)
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_a_graph_replays_other_utterances() -> None:
    logits, text = batch_of(250, 100, 1024)
    other, other_text = batch_of(250, 100, 1024, scale=4)
    other_text = (other_text[0].flip(0), other_text[1].flip(1), other_text[2].flip(0))
    held, held_text = logits.clone(), tuple(one.clone() for one in text)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        results(held, held_text)  # type: ignore[arg-type]
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = results(held, held_text)  # type: ignore[arg-type]
    for scores, said in ((other, other_text), (logits, text)):
        held.copy_(scores)
        for one, new in zip(held_text, said, strict=True):
            one.copy_(new)
        graph.replay()
        assert equal(found, results(scores, said))


def test_wrong_tokens_and_lengths_make_a_loss_nan() -> None:
    logits, (lengths, tokens, counts) = batch_of(60, 20, 33)
    counts[:] = 20
    tokens[0, 3], tokens[1, 0], tokens[2, 5] = 33, -1, 32
    losses, _ = results(logits, (lengths, tokens, counts))
    assert losses.isnan().tolist() == [True, True, True, False]


def test_the_gradient_has_no_gradient() -> None:
    logits, text = batch_of(60, 20, 33)
    scores = logits.requires_grad_(True)
    losses = ctc_losses(scores, *text, blank_id=32)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(losses.sum(), scores, create_graph=True)
