"""The catalogue of operations tells the truth about this machine, and is what errors advise."""

from collections.abc import Callable

import pytest
import torch
from packaging.version import Version
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from asr_lab.reproducibility.deterministic import NondeterministicError, deterministic
from asr_lab.reproducibility.operations import OPERATIONS, Operation, refused

REPLAYS = 5


def values(device: str, *shape: int, gradient: bool = True) -> Tensor:
    """Return the same random numbers every time."""
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(device).requires_grad_(gradient)


def places(device: str, *shape: int, high: int) -> Tensor:
    """Return the same random positions every time, most of them several times."""
    drawn = torch.randint(high, shape, generator=torch.Generator().manual_seed(1))
    return drawn.to(device)


def gradient(compute: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return the gradient of what is computed, weighed so that every value matters."""
    result = compute(inputs)
    weights = torch.linspace(0.5, 1.5, result.numel(), device=result.device)
    (found,) = torch.autograd.grad((result.flatten() * weights).sum(), inputs)
    return found


def ctc(device: str) -> Tensor:
    tokens = places(device, 4, 20, high=7)
    lengths = torch.full((4,), 100, device=device), torch.full((4,), 20, device=device)
    return gradient(
        lambda x: F.ctc_loss(x.log_softmax(-1), tokens, *lengths, blank=7, reduction="none"),
        values(device, 100, 4, 8),
    )


def attention(device: str) -> Tensor:
    inputs = values(device, 2, 4, 300, 64)
    if device == "cpu":
        return gradient(lambda x: F.scaled_dot_product_attention(x, x, x), inputs)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        narrow = inputs.detach().bfloat16().requires_grad_()
        return gradient(lambda x: F.scaled_dot_product_attention(x, x, x), narrow)


def onto(device: str, add: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Add many values to few places."""
    target = torch.zeros(10, device=device)
    return add(target, places(device, 5000, high=10), values(device, 5000, gradient=False))


EXAMPLES: dict[str, Callable[[str], Tensor]] = {
    "the gradient of torch's CTC loss": ctc,
    "a cumulative sum of floats": lambda d: values(d, 5000, gradient=False).cumsum(0),
    "the gradient of linear interpolation": lambda d: gradient(
        lambda x: F.interpolate(x, 777, mode="linear"), values(d, 4, 16, 500)
    ),
    "the gradient of reflecting padding": lambda d: gradient(
        lambda x: F.pad(x, (20, 20), mode="reflect"), values(d, 4, 16, 500)
    ),
    "the gradient of replicating padding": lambda d: gradient(
        lambda x: F.pad(x, (20, 20), mode="replicate"), values(d, 4, 16, 500)
    ),
    "the gradient of adaptive average pooling in two dimensions": lambda d: gradient(
        lambda x: F.adaptive_avg_pool2d(x, (7, 11)), values(d, 4, 8, 50, 50)
    ),
    "the gradient of grid_sample": lambda d: gradient(
        lambda x: F.grid_sample(x, values(d, 2, 30, 30, 2, gradient=False), align_corners=False),
        values(d, 2, 4, 50, 50),
    ),
    "the negative log likelihood over two-dimensional maps": lambda d: gradient(
        lambda x: F.nll_loss(x, places(d, 4, 20, 20, high=8)).reshape(1), values(d, 4, 8, 20, 20)
    ),
    "put_ without accumulate": lambda d: onto(d, lambda t, i, v: t.put_(i, v)),
    "a histogram of floats": lambda d: values(d, 5000, gradient=False).histc(10),
    "bincount with weights": lambda d: onto(d, lambda t, i, v: torch.bincount(i, v)),
    "a median with its index": lambda d: values(d, 50, 101, gradient=False).median(1)[1],
    "the gradient of flash attention": attention,
    "the gradient of a convolution": lambda d: gradient(
        lambda w: F.conv1d(values(d, 8, 64, 400, gradient=False), w, padding=15, groups=64),
        values(d, 64, 1, 31),
    ),
    "the gradient of indexing": lambda d: gradient(
        lambda x: x[places(d, 5000, high=10)], values(d, 10, 8)
    ),
    "the gradient of gather": lambda d: gradient(
        lambda x: x.gather(0, places(d, 5000, 8, high=10)), values(d, 10, 8)
    ),
    "the gradient of index_select": lambda d: gradient(
        lambda x: x.index_select(0, places(d, 5000, high=10)), values(d, 10, 8)
    ),
    "index_add_": lambda d: onto(d, lambda t, i, v: t.index_add_(0, i, v)),
    "scatter_add_": lambda d: onto(d, lambda t, i, v: t.scatter_add_(0, i, v)),
    "index_put_ with accumulate": lambda d: onto(
        d, lambda t, i, v: t.index_put_((i,), v, accumulate=True)
    ),
    "the gradient of an embedding": lambda d: gradient(
        lambda x: F.embedding(places(d, 5000, high=10), x), values(d, 10, 8)
    ),
    "the gradient of layer normalisation": lambda d: gradient(
        lambda w: F.layer_norm(values(d, 500, 64, gradient=False), (64,), w), values(d, 64)
    ),
    "the gradient of cross-entropy": lambda d: gradient(
        lambda x: F.cross_entropy(x, places(d, 500, high=64), reduction="none"), values(d, 500, 64)
    ),
    "a matrix product": lambda d: gradient(
        lambda x: x @ values(d, 64, 300, gradient=False), values(d, 5000, 64)
    ),
}
"""How every operation is used, by its name in the catalogue."""


def test_the_catalogue_has_an_example_of_everything() -> None:
    assert [one.name for one in OPERATIONS] == list(EXAMPLES)
    refusals = [(one, "refused" in (one.cpu, one.cuda)) for one in OPERATIONS]
    assert all(bool(one.instead) is (now or bool(one.refused_before)) for one, now in refusals)
    assert all(bool(one.kernel) is bool(one.instead) for one in OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_an_operation_behaves_as_the_catalogue_says(operation: Operation, device: str) -> None:
    example = EXAMPLES[operation.name]
    if device == "cuda" and operation.refused_before:
        if Version(torch.__version__) < Version(operation.refused_before):
            pytest.skip(f"releases of torch before {operation.refused_before} differ")
    if (operation.cpu if device == "cpu" else operation.cuda) == "refused":
        with pytest.raises(NondeterministicError) as caught, deterministic():
            example(device)
        assert str(caught.value).startswith(f"{operation.name} has no deterministic kernel")
        assert f"; use {operation.instead}, or say --repro off" in str(caught.value)
        return
    with deterministic():
        first = example(device)
        assert all(torch.equal(example(device), first) for _ in range(REPLAYS))


def test_an_operation_that_nobody_knows_is_named_as_torch_names_it() -> None:
    with pytest.raises(NondeterministicError) as caught, deterministic():
        raise RuntimeError(
            "frobnicate_cuda does not have a deterministic implementation, but you set …"
        )
    assert refused("frobnicate_cuda") is None
    assert str(caught.value) == (
        "frobnicate_cuda has no deterministic kernel (test_operations.py, line "
        f"{caught.traceback[0].lineno + 2}); replace it, or say --repro off"
    )


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="size of tensor") as caught, deterministic():
        torch.ones(2) + torch.ones(3)
    assert type(caught.value) is RuntimeError
