"""The scan by matrix products is the recurrence step by step."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr_lab.models.ssm.reference import scan_step_by_step
from asr_lab.models.ssm.scan import product_sum, running_sum, scan
from asr_lab.reproducibility.deterministic import deterministic

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


SIZE = st.integers(1, 5)


@settings(deadline=None)
@given(SIZE, st.integers(1, 20), SIZE, SIZE, SIZE, st.integers(1, 24), st.integers(0, 99))
def test_the_scan_is_the_recurrence_for_any_number_of_heads_channels_and_states(
    batch: int, steps: int, heads: int, dim: int, state: int, chunk: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    keys, queries = normal(2, batch, steps, state)
    parts = normal(batch, steps, heads, dim), -normal(batch, steps, heads).abs(), keys, queries
    found, expected = scan(*parts, chunk=chunk), scan_step_by_step(*parts)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("step", [0, 5, 6, 11, 12])
def test_a_step_changes_itself_and_what_is_later_whatever_the_chunk(step: int) -> None:
    inputs, log_decay, keys, queries = random_input(13)
    before = scan(inputs, log_decay, keys, queries, chunk=6)
    inputs[:, step] += 1
    after = scan(inputs, log_decay, keys, queries, chunk=6)
    assert torch.equal(after[:, :step], before[:, :step])
    assert (after[:, step:] != before[:, step:]).flatten(2).any(2).all()


@pytest.mark.parametrize("fastest", [1.6, 16.0, 160.0])
@pytest.mark.parametrize("chunk", [32, 128])
def test_fp32_errs_by_the_rounding_of_a_chunks_decay_and_no_more(
    fastest: float, chunk: int
) -> None:
    # Decays between two steps are differences of sums from the start of the chunk. These round to
    # the sum's own precision, so that what decays slowly suffers from what decayed fast before.
    inputs, log_decay, keys, queries = random_input(256, decay=0.05)
    log_decay[:, :120:2] = -fastest
    expected = scan_step_by_step(inputs, log_decay, keys, queries)
    single = (part.float() for part in (inputs, log_decay, keys, queries))
    found = scan(*single, chunk=chunk).double()
    decay = max(part.abs().sum(1).max().item() for part in log_decay.split(chunk, 1))
    tolerance = SINGLE + torch.finfo(torch.float32).eps * decay
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


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


def test_the_deterministic_sum_is_the_running_sum_and_has_its_gradient() -> None:
    values = torch.randn(2, 3, 70, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn_like(values)
    found, expected = product_sum(values), values.cumsum(-2)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad((found * weights).sum(), values)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), values)
    torch.testing.assert_close(gradient, wanted)
    assert torch.equal(running_sum(values), expected)
    assert product_sum(values.float()).dtype == torch.float32


@pytest.mark.gpu
def test_the_scan_runs_in_deterministic_mode_and_gives_the_same_bits() -> None:
    shape = {"inputs": (2, 300, 4, 8), "log_decay": (2, 300, 4)}
    parts = {name: torch.randn(size, device="cuda") for name, size in shape.items()}
    parts["log_decay"] = -parts["log_decay"].abs()
    keys = torch.randn(2, 300, 16, device="cuda")
    with deterministic():
        first = scan(**parts, keys=keys, queries=keys, chunk=64)
        for _ in range(5):
            assert torch.equal(scan(**parts, keys=keys, queries=keys, chunk=64), first)
