"""Convolutions as sums over taps are the library's, and what is compiled computes the same."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from asr_lab.layers.taps import depthwise_by_taps, halving_by_product, halving_by_taps

COMPILED = """
import torch
from torch import nn
from asr_lab.layers import ConvSubsampling, RelativeAttention, RotaryAttention, length_mask
from asr_lab.layers.convolution import ConvolutionModule

torch.manual_seed(0)
lengths = torch.tensor([29, 16, 1])
mask = length_mask(lengths, 29)

def apply(module, values):
    if isinstance(module, ConvolutionModule):
        return module(values, mask)
    if isinstance(module, ConvSubsampling):
        return module(values, lengths)[0]
    return module(values, mask, module.table(29, values.device))

modules = [
    ConvolutionModule(8, 5, norm="layer"),
    ConvolutionModule(8, 5, norm="batch", causal=True, bias=False),
    ConvSubsampling(mels=8, dim=8, factor=4, channels=4),
    ConvSubsampling(mels=8, dim=8, factor=8, channels=4, causal=True),
    RotaryAttention(8, 2, dropout=0.0),
    RelativeAttention(8, 2, dropout=0.0),
]
for module in modules:
    module.double()
    found = []
    for compiled in (False, True):
        values = torch.sin(torch.arange(3 * 29 * 8.0).double()).view(3, 29, 8).requires_grad_()
        run = torch.compile(apply, backend="eager", fullgraph=True) if compiled else apply
        result = run(module, values)
        inputs = [values, *module.parameters()]
        slopes = torch.autograd.grad(result.cos().sum(), inputs, allow_unused=True)
        found.append([result, *(slope for slope in slopes if slope is not None)])
    assert len(found[0]) == len(found[1]) > 3
    for plain, other in zip(*found):
        torch.testing.assert_close(plain, other, rtol=1e-6, atol=1e-7)
    print(type(module).__name__)
"""
"""Runs in a process without checks of shapes, which the compiler cannot follow."""


def random(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, dtype=torch.float64, generator=generator).float().double()


def same(found: Tensor, expected: Tensor, *inputs: Tensor) -> None:
    """Compare results, and gradients in every input."""
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(found.sin().sum(), inputs),
        torch.autograd.grad(expected.sin().sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("steps", [5, 6, 31])
def test_a_sum_over_taps_is_a_depthwise_convolution(steps: int, padding: int) -> None:
    values, weight, bias = random(2, steps, 3), random(3, 1, 5), random(3)
    inputs = [one.requires_grad_() for one in (values, weight, bias)]
    found = depthwise_by_taps(values, weight, bias, padding=padding)
    expected = F.conv1d(values.mT, weight, bias, padding=padding, groups=3).mT
    same(found, expected, *inputs)


@pytest.mark.parametrize("before", [1, 2])
@pytest.mark.parametrize("size", [(9, 8), (4, 5), (1, 1)])
def test_a_sum_over_taps_is_a_depthwise_convolution_of_stride_2(
    size: tuple[int, int], before: int
) -> None:
    values, weight, bias = random(2, *size, 3), random(3, 1, 3, 3), random(3)
    inputs = [one.requires_grad_() for one in (values, weight, bias)]
    padded = F.pad(values.permute(0, 3, 1, 2), (before, 1, before, 1))
    expected = F.conv2d(padded, weight, bias, stride=2, groups=3).permute(0, 2, 3, 1)
    same(halving_by_taps(values, weight, bias, before=before), expected, *inputs)


@pytest.mark.parametrize("before", [1, 2])
def test_a_product_of_taps_is_the_first_convolution(before: int) -> None:
    values, weight, bias = random(2, 9, 8, 1), random(5, 1, 3, 3), random(5)
    inputs = [one.requires_grad_() for one in (values, weight, bias)]
    padded = F.pad(values.permute(0, 3, 1, 2), (before, 1, before, 1))
    expected = F.conv2d(padded, weight, bias, stride=2).permute(0, 2, 3, 1)
    same(halving_by_product(values, weight, bias, before=before), expected, *inputs)


def test_taps_work_in_the_type_that_autocast_asks_for() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        found = depthwise_by_taps(random(1, 7, 2).float(), random(2, 1, 3).float(), None)
        assert found.dtype == F.conv1d(random(1, 2, 7).float(), random(2, 2, 3).float()).dtype


def test_what_is_compiled_computes_what_is_not() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILED], text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.split()) == 6
