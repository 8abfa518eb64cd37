"""The CTC loss in plain torch against its slow reference, and the laws that it obeys."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from asr_lab.losses import ctc_loss, ctc_losses
from asr_lab.losses.ctc import why_not_fused
from asr_lab.losses.ctc_plain import native_ctc, plain_ctc
from asr_lab.losses.ctc_reference import ctc_reference

EXACT, GRADIENT = 1e-10, 5e-5
ARMS: dict[str, Callable[..., Tensor]] = {"plain": plain_ctc, "native": native_ctc}
SCORES = 6
Text = tuple[Tensor, Tensor, Tensor]
every_arm = pytest.mark.parametrize("arm", ARMS)


def ragged(seed: int, blank_id: int, batch: int = 5) -> tuple[Tensor, Text]:
    """Return logits and texts of few tokens, often repeated; some do not fit, some are empty."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(batch, 9, SCORES, generator=generator, dtype=torch.float64)
    tokens = torch.randint(2, (batch, 5), generator=generator) + 1
    tokens = torch.where(tokens == blank_id, 0, tokens)
    lengths = torch.randint(0, 10, (batch,), generator=generator)
    counts = torch.randint(0, 6, (batch,), generator=generator)
    return scores.requires_grad_(True), (lengths, tokens, counts)


def results(losses: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses, and the gradient of their sum with different weights."""
    weights = torch.arange(1, len(losses) + 1, dtype=losses.dtype)
    finite = torch.where(losses.isinf(), 0, losses)
    # The reference has no gradient where nobody has a step.
    total = (finite * weights).sum() + 0 * scores.sum()
    return losses.detach(), torch.autograd.grad(total, scores)[0]


@every_arm
@pytest.mark.parametrize("blank_id", [0, 2, SCORES - 1])
@pytest.mark.parametrize("seed", range(4))
def test_losses_and_gradients_are_those_of_the_reference(
    arm: str, seed: int, blank_id: int
) -> None:
    scores, text = ragged(seed, blank_id)
    losses, gradient = results(ARMS[arm](scores, *text, blank_id), scores)
    expected, slope = results(ctc_reference(scores, *text, blank_id=blank_id), scores)
    assert torch.allclose(losses, expected, rtol=EXACT, atol=EXACT)
    assert torch.allclose(gradient, slope, rtol=0, atol=EXACT)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Text, int]:
    """Draw logits, texts and a blank of any small size; of four texts about one does not fit."""
    scores, steps, width = draw(st.integers(2, 6)), draw(st.integers(1, 8)), draw(st.integers(0, 5))
    batch, blank_id = draw(st.integers(1, 3)), draw(st.integers(0, scores - 1))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    logits = torch.randn(batch, steps, scores, generator=generator, dtype=torch.float64)
    logits *= draw(st.sampled_from([0.1, 1, 4, 30]))
    said = torch.randint(scores - 1, (batch, width), generator=generator)
    lengths = torch.randint(steps + 1, (batch,), generator=generator)
    counts = torch.randint(width + 1, (batch,), generator=generator)
    return logits.requires_grad_(True), (lengths, said + (said >= blank_id), counts), blank_id


@settings(max_examples=60)
@given(batches())
def test_any_batch_has_the_losses_and_gradients_of_the_reference(
    drawn: tuple[Tensor, Text, int],
) -> None:
    scores, text, blank_id = drawn
    expected, slope = results(ctc_reference(scores, *text, blank_id=blank_id), scores)
    for arm in ARMS.values():
        losses, gradient = results(arm(scores, *text, blank_id), scores)
        assert torch.allclose(losses, expected, rtol=EXACT, atol=EXACT)
        assert torch.allclose(gradient, slope, rtol=0, atol=EXACT)


@every_arm
def test_gradients_are_those_of_finite_differences(arm: str) -> None:
    scores, (_, tokens, _) = ragged(1, 0, batch=3)
    text = (torch.tensor([9, 6, 4]), tokens, torch.tensor([4, 2, 0]))
    assert torch.autograd.gradcheck(lambda one: ARMS[arm](one, *text, 0), (scores,))


def test_log_probabilities_will_do_as_scores() -> None:
    scores, text = ragged(2, 0)
    losses, gradient = results(ctc_losses(scores, *text, blank_id=0), scores)
    normalised = ctc_losses(scores.log_softmax(-1), *text, blank_id=0)
    expected, slope = results(normalised, scores)
    assert torch.allclose(losses, expected, rtol=EXACT, atol=0)
    assert torch.allclose(gradient, slope, rtol=0, atol=EXACT)


@every_arm
def test_the_gradient_of_a_step_sums_to_zero(arm: str) -> None:
    scores, text = ragged(3, 0)
    _, gradient = results(ARMS[arm](scores, *text, 0), scores)
    assert gradient.abs().sum() > 1
    assert gradient.sum(-1).abs().max() <= EXACT


def test_an_utterance_has_the_same_bits_in_any_batch() -> None:
    scores, text = ragged(4, 0, batch=7)
    losses, gradient = ctc_losses(scores, *text, blank_id=0), torch.zeros_like(scores)
    gradient = torch.autograd.grad(losses.sum(), scores)[0]
    order = torch.tensor([3, 6, 0, 5])
    some = scores.detach()[order].requires_grad_(True)
    found = ctc_losses(some, *(one[order] for one in text), blank_id=0)
    assert torch.equal(found, losses[order])
    assert torch.equal(torch.autograd.grad(found.sum(), some)[0], gradient[order])


def test_padding_changes_no_bit_whatever_it_holds() -> None:
    scores, (lengths, tokens, counts) = ragged(5, 0)
    losses, gradient = results(ctc_losses(scores, lengths, tokens, counts, blank_id=0), scores)
    longer = F.pad(scores.detach(), (0, 0, 0, 4), value=torch.nan)
    wider = F.pad(tokens, (0, 3), value=99)
    for row in range(len(lengths)):
        longer[row, lengths[row] :] = torch.nan
        wider[row, counts[row] :] = -7
    longer.requires_grad_(True)
    found, slope = results(ctc_losses(longer, lengths, wider, counts, blank_id=0), longer)
    assert torch.equal(found, losses)
    assert torch.equal(slope[:, :9], gradient)
    assert not slope[:, 9:].any()


@every_arm
def test_twenty_runs_have_equal_bits(arm: str) -> None:
    scores, text = ragged(6, 0)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        runs = [results(ARMS[arm](scores, *text, 0), scores) for _ in range(20)]
    finally:
        torch.use_deterministic_algorithms(before)
    for losses, gradient in runs[1:]:
        assert torch.equal(losses, runs[0][0])
        assert torch.equal(gradient, runs[0][1])


def test_a_text_that_does_not_fit_is_infinite_or_nothing_and_has_no_gradient() -> None:
    scores = torch.randn(3, 2, 4, requires_grad=True)
    text = (torch.tensor([2, 0, 2]), torch.tensor([[1, 1], [1, 2], [1, 2]]), torch.full((3,), 2))
    infinite = ctc_losses(scores, *text, blank_id=0, zero_infinity=False)
    zero = ctc_losses(scores, *text, blank_id=0)
    assert infinite.isinf().tolist() == [True, True, False]
    assert zero.tolist() == [0, 0, infinite[2].item()]
    for losses in (infinite, zero):
        gradient = torch.autograd.grad(losses.sum(), scores)[0]
        assert gradient.any(-1).any(-1).tolist() == [False, False, True]
    everyone = torch.ones(3, dtype=torch.bool)
    part = ctc_loss(scores, *text, blank_id=0, valid=everyone, zero_infinity=False)
    assert part.sum.isinf()


@every_arm
def test_a_score_of_minus_infinity_forbids_its_token(arm: str) -> None:
    scores, (_, tokens, counts) = ragged(7, 0, batch=2)
    forbidden = scores.detach().clone()
    forbidden[0, :, 1] = -torch.inf
    forbidden[1, :, 3] = -torch.inf
    tokens[:, 0] = 1
    text = (torch.tensor([9, 9]), tokens, torch.tensor([1, 3]))
    forbidden.requires_grad_(True)
    losses, gradient = results(ARMS[arm](forbidden, *text, 0), forbidden)
    expected, slope = results(ctc_reference(forbidden, *text, blank_id=0), forbidden)
    assert losses.isinf().tolist() == [True, False]
    assert torch.allclose(losses, expected, rtol=EXACT)
    assert torch.allclose(gradient[1], slope[1], rtol=0, atol=EXACT)


def test_not_a_number_shows_in_its_utterance_alone() -> None:
    scores, (_, tokens, counts) = ragged(8, 0, batch=2)
    text = (torch.tensor([9, 9]), tokens, counts.clamp(1, 3))
    spoilt = scores.detach().clone()
    spoilt[0, 4, 2] = torch.nan
    spoilt.requires_grad_(True)
    losses = ctc_losses(spoilt, *text, blank_id=0)
    assert losses.isnan().tolist() == [True, False]
    assert torch.equal(losses[1], ctc_losses(scores, *text, blank_id=0)[1])
    assert torch.autograd.grad(losses.sum(), spoilt)[0][1].isfinite().all()
    valid = torch.tensor([False, True])
    part = ctc_loss(spoilt, *text, blank_id=0, valid=valid)
    assert part.sum == losses[1]
    assert torch.autograd.grad(part.sum, spoilt)[0].isfinite().all()


@every_arm
def test_the_gradient_has_no_gradient(arm: str) -> None:
    scores, text = ragged(9, 0)
    losses = ARMS[arm](scores, *text, 0)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(losses.sum(), scores, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_fp32(dtype: torch.dtype) -> None:
    scores, text = ragged(10, 0)
    half = scores.detach().to(dtype).requires_grad_(True)
    single = half.detach().float().requires_grad_(True)
    losses, gradient = results(ctc_losses(half, *text, blank_id=0), half)
    expected, slope = results(ctc_losses(single, *text, blank_id=0), single)
    assert losses.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.equal(losses, expected)
    assert torch.equal(gradient, slope.to(dtype))


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize(("steps", "count"), [(400, 80), (250, 100), (1500, 300)])
def test_long_utterances_keep_their_digits(steps: int, count: int, scale: int) -> None:
    generator = torch.Generator().manual_seed(steps)
    scores = scale * torch.randn(1, steps, 64, generator=generator)
    tokens = torch.randint(63, (1, count), generator=generator)
    text = (torch.tensor([steps]), tokens, torch.tensor([count]))
    exact = scores.double().requires_grad_(True)
    expected, slope = results(native_ctc(exact, *text, 63), exact)
    errors = {}
    for name, arm in ARMS.items():
        single = scores.clone().requires_grad_(True)
        losses, gradient = results(arm(single, *text, 63), single)
        errors[name] = float((gradient - slope).abs().max())
        # Torch's own sums of FP32 logarithms lose a digit more at 1500 steps.
        relative = 1e-6 if name == "plain" else 1e-5
        assert losses.item() == pytest.approx(expected.item(), rel=relative)
    assert errors["plain"] <= GRADIENT
    assert errors["plain"] <= errors["native"]


def test_nothing_to_say_and_no_time_to_say_it() -> None:
    nobody = torch.zeros(0, dtype=torch.int64)
    scores = torch.zeros(0, 4, 3, requires_grad=True)
    assert ctc_losses(scores, nobody, nobody[:, None], nobody, blank_id=2).shape == (0,)
    scores = torch.zeros(2, 0, 3, requires_grad=True)
    text = (torch.tensor([0, 0]), torch.tensor([[1], [1]]), torch.tensor([0, 1]))
    losses = ctc_losses(scores, *text, blank_id=2, zero_infinity=False)
    assert losses.tolist() == [0, torch.inf]
    losses[0].backward()


@pytest.mark.parametrize(
    ("length", "token", "count", "message"),
    [
        (4, 1, 1, "a length must be from 0 to 3; found [4]"),
        (-1, 1, 1, "a length must be from 0 to 3; found [-1]"),
        (3, 1, 2, "a token length must be from 0 to 1; found [2]"),
        (3, 4, 1, "a token must be from 0 to 3 and not the blank 3; found 4"),
        (3, 3, 1, "a token must be from 0 to 3 and not the blank 3; found 3"),
    ],
)
def test_what_no_text_has_is_refused(length: int, token: int, count: int, message: str) -> None:
    text = (torch.tensor([length]), torch.tensor([[token]]), torch.tensor([count]))
    with pytest.raises(ValueError) as raised:
        ctc_losses(torch.zeros(1, 3, 4), *text, blank_id=3)
    assert str(raised.value) == message


def test_without_a_gpu_the_kernels_say_why_not() -> None:
    why = why_not_fused(torch.zeros(1, 2, 3), torch.zeros(1, 1, dtype=torch.int64))
    assert why == "the kernels need CUDA; the scores are on cpu"


COMPILED = """
import torch
from asr_lab.losses import ctc_losses
def loss(scores):
    return ctc_losses(scores * 2, *text, blank_id=4).sum()
scores = torch.randn(3, 9, 5, requires_grad=True)
text = (torch.tensor([9, 7, 5]), torch.randint(4, (3, 3)), torch.tensor([3, 2, 0]))
for one, other in zip(
    torch.autograd.grad(loss(scores), scores),
    torch.autograd.grad(torch.compile(loss, backend="aot_eager")(scores), scores),
):
    assert one.any() and torch.equal(one, other)
"""


@pytest.mark.slow
def test_a_compiler_leaves_the_loss_and_its_gradient_as_they_are() -> None:
    # A process of its own: torch cannot compile the checks of shapes of this one.
    ran = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
