"""The scan by matrix products is the recurrence step by step."""

import pytest
import torch
from torch import Tensor

from asr_lab.models.ssm.reference import scan_step_by_step
from asr_lab.models.ssm.scan import scan

EXACT = 1e-10
SINGLE = 1e-5


def random_input(steps: int, seed: int = 0, decay: float = 1.0) -> tuple[Tensor, ...]:
    """Return inputs, log decays, keys and queries, in FP64."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    log_decay = -decay * torch.rand(2, steps, 3, generator=generator, dtype=torch.float64)
    return normal(2, steps, 3, 4), log_decay, normal(2, steps, 5), normal(2, steps, 5)


@pytest.mark.parametrize("steps", [1, 2, 7, 8, 9, 31, 64])
@pytest.mark.parametrize("chunk", [1, 3, 8, 64])
def test_the_scan_is_the_recurrence(steps: int, chunk: int) -> None:
    parts = random_input(steps, seed=steps * 100 + chunk)
    assert torch.allclose(
        scan(*parts, chunk=chunk), scan_step_by_step(*parts), rtol=EXACT, atol=EXACT
    )


@pytest.mark.parametrize("chunk", [4, 64])
def test_the_gradient_of_the_scan_is_that_of_the_recurrence(chunk: int) -> None:
    parts, weights = random_input(13), random_input(13, seed=1)[0]
    found = [part.clone().requires_grad_() for part in parts]
    expected = [part.clone().requires_grad_() for part in parts]
    (scan(*found, chunk=chunk) * weights).sum().backward()
    (scan_step_by_step(*expected) * weights).sum().backward()
    for one, other in zip(found, expected, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.allclose(one.grad, other.grad, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("chunk", [16, 64])
def test_fp32_stays_close_to_fp64(chunk: int) -> None:
    parts = random_input(50)
    expected = scan_step_by_step(*parts)
    found = scan(*(part.float() for part in parts), chunk=chunk).double()
    assert (found - expected).abs().max() <= SINGLE * expected.abs().max()


@pytest.mark.parametrize("decay", [0.0, 1e-3, 1e3])
@pytest.mark.parametrize("chunk", [8, 64])
def test_no_decay_is_too_slow_or_too_fast(decay: float, chunk: int) -> None:
    parts = random_input(40, decay=decay)
    expected = scan_step_by_step(*parts)
    inputs = [part.float().requires_grad_() for part in parts]
    found = scan(*inputs, chunk=chunk)
    found.sum().backward()
    assert (found.double() - expected).abs().max() <= SINGLE * expected.abs().max()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in inputs)


def test_a_step_of_size_zero_changes_no_state() -> None:
    inputs, log_decay, keys, queries = random_input(9)
    expected = scan(inputs[:, 4:], log_decay[:, 4:], keys[:, 4:], queries[:, 4:], chunk=3)
    inputs[:, :4], log_decay[:, :4] = 0, 0
    found = scan(inputs, log_decay, keys, queries, chunk=3)
    assert torch.allclose(found[:, 4:], expected, rtol=EXACT, atol=EXACT)


def test_the_scan_computes_in_fp32_under_bf16_autocast() -> None:
    parts = tuple(part.float() for part in random_input(20))
    expected = scan(*parts, chunk=8)
    with torch.autocast("cpu", torch.bfloat16):
        found = scan(*parts, chunk=8)
    assert torch.equal(found, expected)
    half = scan(*(part.bfloat16() for part in parts), chunk=8)
    assert half.dtype == torch.float32
