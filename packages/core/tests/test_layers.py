"""Shared layers against slow references, in float64, on ragged random input."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.layers import (
    ConvolutionModule,
    ConvSubsampling,
    CTCHead,
    FeedForward,
    MaskedBatchNorm,
    RelativeAttention,
    RMSNorm,
    RotaryAttention,
    StridedConvolutions,
    clear_padding,
    length_mask,
    subsampled,
)
from asr_lab.layers.attention import shift
from asr_lab.layers.masking import key_mask, subsampled_lengths
from asr_lab.layers.positions import relative_table, rotary_table, rotate, sinusoid_table
from asr_lab.models.base import EncoderOutput, Sequences

EXACT = 1e-10
CPU = torch.device("cpu")
LENGTHS = (11, 7, 1)


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def ragged(dim: int, lengths: tuple[int, ...] = LENGTHS) -> tuple[Tensor, Tensor, Tensor]:
    """Return values whose padding is NaN, lengths and mask."""
    values, sizes = random(len(lengths), max(lengths) + 3, dim), torch.tensor(lengths)
    mask = length_mask(sizes, values.shape[1])
    return values.masked_fill(~mask[..., None], torch.nan), sizes, mask


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=EXACT, atol=EXACT)


# Lengths and masks


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_subsampling_rounds_every_halving_up(stages: int) -> None:
    for frames in range(300):
        steps = frames
        for _ in range(stages):
            steps = (steps + 1) // 2
        assert subsampled(frames, 2**stages) == steps
        assert subsampled_lengths(torch.tensor([frames]), 2**stages).tolist() == [steps]


def test_a_mask_is_true_for_the_steps_of_each_sequence() -> None:
    assert length_mask(torch.tensor([2, 0, 3]), 3).long().tolist() == [
        [1, 1, 0],
        [0, 0, 0],
        [1, 1, 1],
    ]


def test_clearing_the_padding_removes_even_nan() -> None:
    values, _, mask = ragged(2)
    assert clear_padding(values, mask)[~mask].eq(0).all()
    assert torch.equal(clear_padding(values, mask)[mask], values[mask])


def test_a_query_without_keys_sees_the_first_so_that_attention_is_finite() -> None:
    mask = key_mask(length_mask(torch.tensor([0, 2]), 3))
    assert mask[:, 0, 0].long().tolist() == [[1, 0, 0], [1, 1, 0]]


# Subsampling


def conv_subsampling(factor: int) -> ConvSubsampling:
    return ConvSubsampling(mels=10, dim=6, factor=factor, channels=4).double()


SUBSAMPLINGS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "conv 2": (lambda: conv_subsampling(2), 2),
    "conv 4": (lambda: conv_subsampling(4), 4),
    "conv 8": (lambda: conv_subsampling(8), 8),
    "strides 1 2": (lambda: StridedConvolutions(mels=10, dim=6, strides=(1, 2)).double(), 2),
    "strides 2 2": (lambda: StridedConvolutions(mels=10, dim=6, strides=(2, 2)).double(), 4),
}


@pytest.mark.parametrize("kind", SUBSAMPLINGS)
def test_subsampling_an_utterance_does_not_see_its_padding(kind: str) -> None:
    build, factor = SUBSAMPLINGS[kind]
    torch.manual_seed(0)
    layer = build()
    features, lengths, _ = ragged(10, (37, 20, 9, 1))
    together, steps = layer(features, lengths)
    assert steps.tolist() == [subsampled(frames, factor) for frames in (37, 20, 9, 1)]
    for row, frames in enumerate(lengths.tolist()):
        alone, _ = layer(features[row : row + 1, :frames], lengths[row : row + 1])
        assert alone.shape == (1, steps[row], 6)
        assert close(together[row, : steps[row]], alone[0])


def test_the_first_stages_of_subsampling_are_the_convolutions_of_the_paper() -> None:
    layer, features = conv_subsampling(4), random(1, 16, 10)
    values = F.relu(F.conv2d(features[:, None], layer.first.weight, layer.first.bias, 2, 1))
    depthwise, pointwise = layer.depthwise[0], layer.pointwise[0]
    assert isinstance(depthwise, nn.Conv2d)
    assert isinstance(pointwise, nn.Conv2d)
    assert pointwise.bias is not None
    values = F.conv2d(values, depthwise.weight, depthwise.bias, 2, 1, groups=4)
    values = torch.einsum("bctm,oc->botm", values, pointwise.weight[..., 0, 0])
    values = F.relu(values + pointwise.bias[:, None, None])
    expected = layer.out(values.permute(0, 2, 1, 3).flatten(2))
    assert close(layer(features, torch.tensor([16]))[0], expected)


# Norms


def test_masked_batch_norm_is_batch_norm_over_the_steps_that_count() -> None:
    norm = MaskedBatchNorm(5).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    mean, var = torch.zeros(5).double(), torch.ones(5).double()
    for seed in range(3):
        values, _, mask = ragged(5)
        values = values + random(5, seed=seed)
        expected = F.batch_norm(values[mask], mean, var, norm.weight, norm.bias, training=True)
        assert close(norm(values, mask)[mask], expected)
        assert close(norm.running_mean, mean)
        assert close(norm.running_var, var)
    values, _, mask = ragged(5)
    expected = F.batch_norm(values[mask], mean, var, norm.weight, norm.bias)
    assert close(norm.eval()(values, mask)[mask], expected)
    assert close(norm.running_mean, mean)


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_weights() -> None:
    norm, (values, _, mask) = MaskedBatchNorm(5, frozen=True).double(), ragged(5)
    norm.running_mean.copy_(random(5, seed=1))
    norm.running_var.copy_(random(5, seed=2).exp())
    before = {name: statistic.clone() for name, statistic in norm.named_buffers()}
    found = norm.train()(values, mask)[mask]
    assert close(found, F.batch_norm(values[mask], before["running_mean"], before["running_var"]))
    assert all(torch.equal(statistic, before[name]) for name, statistic in norm.named_buffers())
    (found**2).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in norm.parameters())


def test_the_gradient_of_masked_batch_norm_is_that_of_batch_norm() -> None:
    values, _, mask = ragged(3)
    values = clear_padding(values, mask)
    weights = random(3, seed=4)
    ours, theirs = values.clone().requires_grad_(), values.clone().requires_grad_()
    (MaskedBatchNorm(3).double()(ours, mask)[mask] ** 3 * weights).sum().backward()
    plain = F.batch_norm(theirs[mask], None, None, training=True)
    (plain**3 * weights).sum().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    assert close(ours.grad, theirs.grad)


def test_masked_batch_norm_survives_a_batch_without_steps() -> None:
    norm = MaskedBatchNorm(2)
    found = norm(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool))
    assert found.isfinite().all()
    assert norm.running_mean.isfinite().all()
    assert norm.running_var.isfinite().all()


def test_rms_norm_divides_by_the_root_mean_square() -> None:
    norm, values = RMSNorm(4, eps=0.0).double(), random(2, 3, 4)
    nn.init.normal_(norm.weight)
    for row in values.flatten(0, 1):
        expected = row / math.sqrt((row**2).mean().item()) * norm.weight
        assert close(norm(row), expected)


def test_norms_compute_in_fp32_and_return_what_they_were_given() -> None:
    values = (100 + torch.randn(2, 3, 4)).bfloat16()
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert RMSNorm(4)(values).dtype == torch.bfloat16
    assert torch.equal(RMSNorm(4)(values), RMSNorm(4)(values.float()).bfloat16())
    batch_norm = MaskedBatchNorm(4)
    assert torch.equal(
        batch_norm(values, mask), MaskedBatchNorm(4)(values.float(), mask).bfloat16()
    )


# Attention and positions


def test_rotary_positions_turn_pairs_of_channels_as_complex_numbers() -> None:
    values, table = random(1, 1, 5, 6), rotary_table(5, 6, CPU).double()
    for step in range(5):
        for pair in range(3):
            number = complex(values[0, 0, step, pair], values[0, 0, step, pair + 3])
            angle = step * 10000 ** (-2 * pair / 6)
            turned = number * complex(math.cos(angle), math.sin(angle))
            found = rotate(values, table)[0, 0, step]
            assert found[pair].item() == pytest.approx(turned.real, abs=1e-6)
            assert found[pair + 3].item() == pytest.approx(turned.imag, abs=1e-6)


def test_whispers_sinusoids_reach_from_one_to_one_ten_thousandth() -> None:
    table = sinusoid_table(7, 8, CPU)
    for step in range(7):
        for pair in range(4):
            angle = step * 10000 ** (-pair / 3)
            assert table[step, pair].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert table[step, pair + 4].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_relative_positions_count_down_from_the_largest_distance() -> None:
    table = relative_table(3, 4, CPU)
    for row, distance in enumerate((2, 1, 0, -1, -2)):
        expected = [math.sin(distance), math.cos(distance)]
        expected += [math.sin(distance / 100), math.cos(distance / 100)]
        assert table[row].tolist() == pytest.approx(expected, abs=1e-6)


def test_shifting_turns_distances_into_keys() -> None:
    scores = random(2, 3, 5, 9)
    found = shift(F.pad(scores, (1, 0)))
    for query in range(5):
        for key in range(5):
            assert torch.equal(found[..., query, key], scores[..., query, 4 - query + key])


def rotary_reference(layer: RotaryAttention, values: Tensor) -> Tensor:
    """Attend one utterance without padding, a head at a time."""
    table = layer.table(len(values), CPU)
    size = values.shape[1] // layer.heads
    heads = []
    for head in range(layer.heads):
        query, key, value = (
            part[:, head * size : (head + 1) * size] for part in layer.inputs(values).chunk(3, -1)
        )
        query, key = (rotate(part[None, None], table)[0, 0] for part in (query, key))
        heads.append((query @ key.T / math.sqrt(size)).softmax(-1) @ value)
    result: Tensor = layer.out(torch.cat(heads, -1))
    return result


def relative_reference(layer: RelativeAttention, values: Tensor) -> Tensor:
    """Score every pair on its own, as equation 4 of the paper has it."""
    steps, size = len(values), values.shape[1] // layer.heads
    table = layer.table(steps, CPU).double()
    query, key, value = layer.query(values), layer.key(values), layer.value(values)
    heads = []
    for head in range(layer.heads):
        own = slice(head * size, (head + 1) * size)
        scores = torch.zeros(steps, steps, dtype=torch.float64)
        for here in range(steps):
            for there in range(steps):
                position = layer.position(table[steps - 1 - (here - there)])[own]
                content = (query[here, own] + layer.content_bias[head]) @ key[there, own]
                distance = (query[here, own] + layer.position_bias[head]) @ position
                scores[here, there] = (content + distance) / math.sqrt(size)
        heads.append(scores.softmax(-1) @ value[:, own])
    result: Tensor = layer.out(torch.cat(heads, -1))
    return result


@pytest.mark.parametrize("kind", ["rotary", "relative"])
def test_attention_over_a_padded_batch_is_attention_over_each_utterance(kind: str) -> None:
    torch.manual_seed(0)
    build = RotaryAttention if kind == "rotary" else RelativeAttention
    layer = build(8, 2, dropout=0.0).double()
    if isinstance(layer, RelativeAttention):
        nn.init.normal_(layer.content_bias)
        nn.init.normal_(layer.position_bias)
    values, lengths, mask = ragged(8)
    values = values.nan_to_num(50.0)
    found = layer(values, mask, layer.table(values.shape[1], CPU))
    for row, length in enumerate(lengths.tolist()):
        alone = values[row, :length]
        if isinstance(layer, RelativeAttention):
            expected = relative_reference(layer, alone)
        else:
            expected = rotary_reference(layer, alone)
        # The tables are computed in FP32.
        assert torch.allclose(found[row, :length], expected, atol=1e-6)


@pytest.mark.parametrize("build", [RotaryAttention, RelativeAttention])
def test_attention_drops_weights_in_train_mode_only(
    build: type[RotaryAttention] | type[RelativeAttention],
) -> None:
    layer, values = build(8, 2, dropout=0.5), torch.randn(2, 6, 8)
    mask, table = torch.ones(2, 6, dtype=torch.bool), layer.table(6, CPU)
    assert not torch.equal(layer(values, mask, table), layer(values, mask, table))
    layer.eval()
    assert torch.equal(layer(values, mask, table), layer(values, mask, table))


# Convolution, feed-forward, head


@pytest.mark.parametrize("kernel", [1, 3, 9])
def test_the_convolution_module_sees_zeros_beyond_an_utterance(kernel: int) -> None:
    torch.manual_seed(0)
    layer = ConvolutionModule(4, kernel, norm="layer").double()
    values, lengths, mask = ragged(4)
    found = layer(values, mask)
    weight, bias = layer.depthwise.weight[:, 0], layer.depthwise.bias
    assert bias is not None
    norm = layer.norm
    for row, length in enumerate(lengths.tolist()):
        gated = F.glu(layer.inner(values[row, :length]), -1)
        for step in range(length):
            mixed = bias
            for tap in range(kernel):
                if 0 <= (source := step + tap - kernel // 2) < length:
                    mixed = mixed + weight[:, tap] * gated[source]
            normal = F.layer_norm(mixed, (4,), norm.weight, norm.bias)
            assert close(found[row, step], layer.outer(F.silu(normal)))


def test_a_feed_forward_uses_the_activation_it_is_given() -> None:
    values = random(2, 3, 4)
    layer = FeedForward(4, 2, dropout=0.0, activation=F.relu).double()
    assert close(layer(values), layer.outer(layer.inner(values).clamp(min=0)))
    smooth = FeedForward(4, 2, dropout=0.0).double()
    inner = smooth.inner(values)
    assert close(smooth(values), smooth.outer(inner * inner.sigmoid()))


def test_a_ctc_head_scores_the_tokens_and_the_blank_in_fp32() -> None:
    head, values = CTCHead(4, 6), torch.randn(2, 3, 4)
    encoded = EncoderOutput(Sequences(values, torch.tensor([3, 2])))
    log_probs = head.log_probs(encoded)
    assert log_probs.shape == (2, 3, 7)
    assert torch.allclose(log_probs, head.linear(values).log_softmax(-1))
    assert torch.equal(log_probs, head.logits(encoded).log_softmax(-1))
    half = EncoderOutput(Sequences(values.bfloat16(), torch.tensor([3, 2])))
    assert head.bfloat16().log_probs(half).dtype == torch.float32
