"""How far layers hear: which steps a changed frame may change, and which it must leave alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from asr_lab.layers import (
    ConvolutionModule,
    ConvSubsampling,
    FeedForward,
    MaskedBatchNorm,
    RelativeAttention,
    RMSNorm,
    RotaryAttention,
    StridedConvolutions,
    length_mask,
    subsampled,
)
from asr_lab.layers.local import Context
from asr_lab.layers.norms import LayerNorm
from asr_lab.layers.positions import distance_table, relative_table, rotary_table, rotate

CPU = torch.device("cpu")
EXACT = 1e-10
"""Of values of size 1 in FP64, after some thousand roundings of 1e-16 and their amplification."""
TABLES = 1e-6
"""Where a table of positions takes part, which is computed in FP32."""
Attention = RotaryAttention | RelativeAttention
KINDS = [RotaryAttention, RelativeAttention]


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def attention(kind: type[Attention], context: Context | None = None) -> Attention:
    """Return an attention of 8 channels and 2 heads, all its weights random."""
    torch.manual_seed(0)
    layer = kind(8, 2, dropout=0.0, context=context).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.4)
    return layer


def attend(layer: Attention, values: Tensor, mask: Tensor | None = None) -> Tensor:
    mask = torch.ones(values.shape[:2], dtype=torch.bool) if mask is None else mask
    found: Tensor = layer(values, mask, layer.table(values.shape[1], CPU))
    return found


# Subsampling


def conv(factor: int) -> nn.Module:
    return ConvSubsampling(mels=9, dim=6, factor=factor, channels=4).double()


def strided(*strides: int) -> nn.Module:
    return StridedConvolutions(mels=9, dim=6, strides=strides).double()


SHORTENINGS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "conv 2": (lambda: conv(2), (2,)),
    "conv 4": (lambda: conv(4), (2, 2)),
    "conv 8": (lambda: conv(8), (2, 2, 2)),
    "whisper": (lambda: strided(1, 2), (1, 2)),
    "no shortening": (lambda: strided(1, 1), (1, 1)),
}


def heard(strides: tuple[int, ...]) -> tuple[int, int]:
    """Return the first and the last frame that step 0 hears, of convolutions three frames wide."""
    first, last = 0, 0
    for stride in reversed(strides):
        first, last = first * stride - 1, last * stride + 1
    return first, last


@pytest.mark.parametrize("kind", SHORTENINGS)
@pytest.mark.parametrize("frame", [0, 1, 17, 29, 38])
def test_a_changed_frame_changes_the_steps_whose_kernels_reach_it_and_no_others(
    kind: str, frame: int
) -> None:
    build, strides = SHORTENINGS[kind]
    torch.manual_seed(0)
    layer, features, lengths = build(), random(1, 39, 9), torch.tensor([39])
    changed = features.clone()
    changed[0, frame] += 3 * random(9, seed=1)
    differs = (layer(features, lengths)[0] != layer(changed, lengths)[0]).any(-1)[0]
    (first, last), factor = heard(strides), int(torch.tensor(strides).prod())
    reached = [s for s in range(len(differs)) if first <= frame - factor * s <= last]
    assert reached
    assert differs.nonzero()[:, 0].tolist() == reached


@pytest.mark.parametrize("kind", SHORTENINGS)
def test_frames_that_come_later_by_a_step_give_steps_that_come_later_by_one(kind: str) -> None:
    build, strides = SHORTENINGS[kind]
    torch.manual_seed(0)
    layer, factor = build(), int(torch.tensor(strides).prod())
    features = random(1, 64, 9)
    whole = layer(features, torch.tensor([64]))[0]
    later = layer(features[:, factor:], torch.tensor([64 - factor]))[0]
    # The first step of either hears the zeros before it; so may the second of eight-fold ones.
    assert torch.allclose(later[0, 2:], whole[0, 3:], atol=EXACT)


@pytest.mark.parametrize("kind", SHORTENINGS)
def test_an_utterance_that_ends_gives_no_gradient_to_what_stands_behind_it(kind: str) -> None:
    build, strides = SHORTENINGS[kind]
    torch.manual_seed(0)
    layer, features = build(), random(2, 21, 9).requires_grad_()
    lengths = torch.tensor([21, 10])
    steps, counts = layer(features, lengths)
    assert counts.tolist() == [subsampled(n, int(torch.tensor(strides).prod())) for n in (21, 10)]
    steps[length_mask(counts, steps.shape[1])].square().sum().backward()
    assert features.grad is not None
    assert not features.grad[1, 10:].any()
    assert bool(features.grad[1, :10].any(-1).all())


# Convolution


@pytest.mark.parametrize("kernel", [1, 5, 9])
def test_a_convolution_module_hears_half_a_kernel_to_either_side(kernel: int) -> None:
    torch.manual_seed(0)
    layer = ConvolutionModule(4, kernel, norm="layer").double()
    mask = torch.ones(1, 20, dtype=torch.bool)
    values = random(1, 20, 4)
    before = layer(values, mask)
    for step in (0, 7, 19):
        changed = values.clone()
        changed[0, step] += random(4, seed=2)
        differs = (layer(changed, mask) != before).any(-1)[0].nonzero()[:, 0].tolist()
        half = kernel // 2
        assert differs == list(range(max(0, step - half), min(20, step + half + 1)))


# Attention


@pytest.mark.parametrize("kind", KINDS)
def test_a_context_as_long_as_the_utterance_is_no_context_in_output_and_gradients(
    kind: type[Attention],
) -> None:
    mask, weights = length_mask(torch.tensor([37, 12]), 37), random(2, 37, 8, seed=1)
    found = []
    for context in (None, (36, 36), (500, 40)):
        layer, values = attention(kind, context), random(2, 37, 8).requires_grad_()
        output = attend(layer, values, mask)[mask]
        (output * weights[mask]).sum().backward()
        assert values.grad is not None
        gradients = [weight.grad for weight in layer.parameters() if weight.grad is not None]
        found.append([output, values.grad, *gradients])
    for full, *local in zip(*found, strict=True):
        for one in local:
            # Gradients of weights sum over 74 steps, of size 1 each.
            assert torch.allclose(one, full, rtol=TABLES, atol=74 * TABLES)


@pytest.mark.parametrize("kind", KINDS)
def test_without_context_a_step_hears_itself_alone(kind: type[Attention]) -> None:
    layer, values = attention(kind, (0, 0)), random(1, 40, 8)
    if isinstance(layer, RotaryAttention):
        own = layer.inputs(values).chunk(3, -1)[2]
    else:
        own = layer.value(values)
    assert torch.allclose(attend(layer, values), layer.out(own), atol=EXACT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [(3, 0), (0, 3), (2, 2)])
def test_local_attention_to_the_same_neighbours_gives_the_same_anywhere(
    kind: type[Attention], context: Context
) -> None:
    layer, values = attention(kind, context), random(1, 60, 8)
    whole, later = attend(layer, values), attend(layer, values[:, 7:])
    left, right = context
    inner = slice(left, 53 - right)
    assert torch.allclose(later[0, inner], whole[0, 7:][inner], atol=10 * TABLES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [None, (2, 3)])
def test_the_gradient_of_attention_is_that_of_finite_differences(
    kind: type[Attention], context: Context | None
) -> None:
    layer, mask = attention(kind, context), length_mask(torch.tensor([6, 4]), 6)
    values = random(2, 6, 8).requires_grad_()
    weights = tuple(layer.parameters())
    # Every parameter is perturbed too: gradcheck changes its inputs in place.
    assert gradcheck(lambda x, *_: attend(layer, x, mask)[mask], (values, *weights), fast_mode=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [None, (2, 3)])
def test_attention_gives_no_gradient_to_padding(
    kind: type[Attention], context: Context | None
) -> None:
    layer, mask = attention(kind, context), length_mask(torch.tensor([9, 4, 0]), 9)
    values = random(3, 9, 8).requires_grad_()
    attend(layer, values, mask)[mask].square().sum().backward()
    assert values.grad is not None
    assert not values.grad[~mask].any()
    assert bool(values.grad[mask].any(-1).all())


# Positions


@pytest.mark.parametrize(("dim", "steps"), [(2, 3), (8, 50), (64, 7)])
def test_turning_by_position_keeps_every_length_and_leaves_the_first_step(
    dim: int, steps: int
) -> None:
    values = random(2, 3, steps, dim)
    turned = rotate(values, rotary_table(steps, dim, CPU).double())
    assert torch.allclose(turned.norm(dim=-1), values.norm(dim=-1), rtol=TABLES)
    assert torch.equal(turned[:, :, 0], values[:, :, 0])
    assert steps == 1 or not torch.allclose(turned[:, :, -1], values[:, :, -1])


def test_products_of_turned_vectors_depend_on_the_distance_alone() -> None:
    query, key = random(8, seed=1), random(8, seed=2)
    table = rotary_table(30, 8, CPU).double()
    queries = rotate(query.expand(1, 1, 30, 8), table)[0, 0]
    products = queries @ rotate(key.expand(1, 1, 30, 8), table)[0, 0].T
    for distance in range(-29, 30):
        line = products.diagonal(distance)
        assert torch.allclose(line, line[0].expand_as(line), atol=20 * TABLES)
    assert not torch.allclose(products.diagonal(1)[0], products.diagonal(-1)[0], atol=1e-3)


@pytest.mark.parametrize(("behind", "ahead"), [(0, 0), (4, 2), (9, 9), (0, 5)])
def test_a_table_of_few_distances_is_a_part_of_that_of_all(behind: int, ahead: int) -> None:
    whole = relative_table(10, 6, CPU)
    part = distance_table(behind, ahead, 6, CPU)
    assert torch.equal(part, whole[9 - behind : 10 + ahead])


# Norms and feed-forward


def test_a_layer_that_works_step_by_step_does_not_care_for_their_order() -> None:
    torch.manual_seed(0)
    order = torch.randperm(7)
    values, mask = random(2, 7, 6), torch.ones(2, 7, dtype=torch.bool)
    for layer in (FeedForward(6, 3, dropout=0.0), LayerNorm(6), RMSNorm(6)):
        layer.double()
        assert torch.allclose(layer(values[:, order]), layer(values)[:, order], atol=EXACT)
    norm = MaskedBatchNorm(6).double()
    assert torch.allclose(norm(values[:, order], mask), norm(values, mask)[:, order], atol=EXACT)


def test_rms_norm_hears_no_level_and_layer_norm_no_constant_either() -> None:
    values = random(3, 4, 16)
    rms, layer = RMSNorm(16, eps=0.0).double(), LayerNorm(16, eps=0.0).double()
    assert torch.allclose(rms(40 * values), rms(values), atol=EXACT)
    assert torch.allclose(layer(40 * values + 5), layer(values), atol=EXACT)
    assert not torch.allclose(rms(values + 5), rms(values), atol=0.1)


def test_running_statistics_reach_those_of_the_data_and_then_stay() -> None:
    torch.manual_seed(0)
    norm, values = MaskedBatchNorm(3, momentum=0.5).double(), 2 + 3 * random(4, 50, 3)
    mask = length_mask(torch.tensor([50, 30, 1, 0]), 50)
    for _ in range(60):  # what is left of the start is 0.5^60, less than a rounding
        norm(values, mask)
    assert torch.allclose(norm.running_mean, values[mask].mean(0), atol=EXACT)
    assert torch.allclose(norm.running_var, values[mask].var(0), atol=EXACT)
    norm.eval()(100 * values, mask)
    assert torch.allclose(norm.running_mean, values[mask].mean(0), atol=EXACT)
