"""Local attention is full attention under a banded mask, at the cost of its band."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from asr_lab.layers import RelativeAttention, RotaryAttention, length_mask
from asr_lab.layers.local import LEAST_BLOCK, Blocks, Context
from asr_lab.layers.masking import key_mask

CPU = torch.device("cpu")
LENGTHS = (75, 70, 33, 1)
KINDS = [RotaryAttention, RelativeAttention]
CONTEXTS = [(0, 0), (3, 0), (0, 2), (5, 7), (40, 20), (128, 128)]
Attention = RotaryAttention | RelativeAttention


def pair(kind: type[Attention], context: Context) -> tuple[Attention, Attention]:
    """Return a full and a local attention of equal weights."""
    torch.manual_seed(0)
    full, local = kind(8, 2, dropout=0.0).double(), kind(8, 2, dropout=0.0, context=context)
    for parameter in full.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    local.double().load_state_dict(full.state_dict())
    return full, local


def banded(
    attention: Attention, values: Tensor, mask: Tensor, context: Context, patch: pytest.MonkeyPatch
) -> Tensor:
    """Return what full attention says under the mask that local attention stands for."""
    distance = torch.arange(values.shape[1]) - torch.arange(values.shape[1])[:, None]
    band = (distance >= -context[0]) & (distance <= context[1])
    visible = (key_mask(mask) & band) | (distance == 0)
    with patch.context() as patched:
        patched.setattr("asr_lab.layers.attention.key_mask", lambda _: visible)
        found: Tensor = attention(values, mask, attention.table(values.shape[1], CPU))
    return found


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_local_attention_is_full_attention_under_a_banded_mask(
    kind: type[Attention], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, local = pair(kind, context)
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(4, 75, 8, generator=generator, dtype=torch.float64)
    mask = length_mask(torch.tensor(LENGTHS), 75)
    expected = banded(full, values, mask, context, monkeypatch)
    found = local(values, mask, local.table(75, CPU))
    # The tables of positions are computed in FP32.
    assert torch.allclose(found[mask], expected[mask], rtol=1e-6, atol=1e-6)
    if max(context) < 75:
        everything = full(values, mask, full.table(75, CPU))
        assert not torch.allclose(found[mask], everything[mask], rtol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_hears_its_context_and_nothing_else(kind: type[Attention]) -> None:
    _, local = pair(kind, (2, 3))
    for step in (0, 1, LEAST_BLOCK - 1, LEAST_BLOCK, 69):
        values = torch.ones(1, 70, 8, dtype=torch.float64).requires_grad_()
        mask = torch.ones(1, 70, dtype=torch.bool)
        local(values * torch.randn_like(values), mask, local.table(70, CPU))[
            0, step
        ].sum().backward()
        assert values.grad is not None
        heard = values.grad[0].any(-1).nonzero()[:, 0].tolist()
        assert heard == list(range(max(0, step - 2), min(70, step + 4)))


class Largest(TorchDispatchMode):
    """Remembers the most elements of any tensor that an operation made."""

    elements = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> object:
        made = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in pytree.tree_leaves(made) if isinstance(leaf, Tensor)]
        self.elements = max([self.elements, *sizes])
        return made


def largest(attention: Attention, steps: int) -> int:
    """Return the elements of the largest tensor in a forward pass."""
    values, mask = torch.randn(1, steps, 8), torch.ones(1, steps, dtype=torch.bool)
    seen = Largest()  # type: ignore[no-untyped-call]
    with torch.no_grad(), seen:
        attention(values, mask, attention.table(steps, CPU))
    return seen.elements


@pytest.mark.parametrize("kind", KINDS)
def test_memory_of_local_attention_grows_with_the_length_and_not_its_square(
    kind: type[Attention],
) -> None:
    local = kind(8, 2, dropout=0.0, context=(16, 16))
    assert largest(local, 2048) == 4 * largest(local, 512)
    full = RelativeAttention(8, 2, dropout=0.0)
    assert largest(full, 1024) > 3.9 * largest(full, 512)


@pytest.mark.parametrize(("left", "right"), [(2, 3), (0, 0), (7, 0)])
def test_blocks_put_every_key_where_its_distance_says(left: int, right: int) -> None:
    blocks = Blocks.of(70, (left, right))
    distances = torch.arange(1.0 * (left + 1 + right)).expand(blocks.count, 1, blocks.size, -1)
    found = blocks.shift(distances)[0, 0]
    for query in range(blocks.size):
        assert found[query, query : query + left + 1 + right].tolist() == list(
            range(left + 1 + right)
        )
    values = torch.arange(70.0).view(1, 1, 70, 1)
    assert torch.equal(blocks.join(blocks.queries(values)), values)
    windows = blocks.windows(values)[:, 0, :, 0]
    padded = F.pad(torch.arange(70.0), (left, 200))
    for number in range(blocks.count):
        start = number * blocks.size
        assert torch.equal(windows[number], padded[start : start + windows.shape[1]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_no_utterances_attends_nothing(kind: type[Attention]) -> None:
    layer, mask = kind(8, 2, dropout=0.0, context=(5, 2)), torch.zeros(0, 40, dtype=torch.bool)
    found = layer(torch.zeros(0, 40, 8), mask, layer.table(40, CPU))
    assert found.shape == (0, 40, 8)
