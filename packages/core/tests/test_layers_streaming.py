"""What layers see when they may not look ahead: by chunks, by causal kernels, and no further."""

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from asr_lab.layers import (
    ConvolutionModule,
    ConvSubsampling,
    RelativeAttention,
    RotaryAttention,
    length_mask,
)
from asr_lab.layers.lengths import causally_subsampled
from asr_lab.layers.local import Chunks
from asr_lab.layers.masking import causally_subsampled_lengths, key_mask
from asr_lab.layers.positions import rotary_table
from asr_lab.models.base import put_state, select_state

CPU = torch.device("cpu")
KINDS = [RotaryAttention, RelativeAttention]
CHUNKS = [(0, 1), (3, 1), (0, 4), (5, 7), (40, 16), (3, 100), (200, 2)]


def seen_in_chunks(steps: int, left: int, size: int) -> Tensor:
    """Return which keys each query sees, one pair after the other."""
    visible = torch.zeros(steps, steps, dtype=torch.bool)
    for query in range(steps):
        first = size * (query // size)
        for key in range(steps):
            visible[query, key] = first - left <= key < first + size
    return visible


@pytest.mark.parametrize(("left", "size"), CHUNKS)
@pytest.mark.parametrize("kind", KINDS)
def test_attention_by_chunks_is_full_attention_under_their_mask(
    kind: type[RotaryAttention] | type[RelativeAttention],
    left: int,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    full = kind(8, 2, dropout=0.0).double()
    for parameter in full.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    chunked = kind(8, 2, dropout=0.0, context=Chunks(left, size)).double()
    chunked.load_state_dict(full.state_dict())
    values = torch.randn(3, 75, 8, dtype=torch.float64)
    mask = length_mask(torch.tensor([75, 33, 1]), 75)
    found = chunked(values, mask, chunked.table(75, CPU))
    instead = full(values, mask, full.table(75, CPU, Chunks(left, size)), Chunks(left, size))
    visible = key_mask(mask) & seen_in_chunks(75, left, size)
    visible = visible | torch.eye(75, dtype=torch.bool)
    monkeypatch.setattr("asr_lab.layers.attention.key_mask", lambda _: visible)
    expected = full(values, mask, full.table(75, CPU))
    # The tables of positions are rounded to FP32.
    assert torch.allclose(found[mask], expected[mask], rtol=1e-6, atol=1e-6)
    assert torch.equal(found, instead)


@pytest.mark.parametrize("factor", [4, 8])
@pytest.mark.parametrize("causal", [False, True])
def test_a_step_hears_the_frames_in_reach_and_no_others(factor: int, causal: bool) -> None:
    torch.manual_seed(0)
    layer = ConvSubsampling(mels=16, dim=8, factor=factor, channels=4, causal=causal).double()
    behind, ahead = layer.reach
    assert (behind, ahead) == ((2 * factor - 2, 0) if causal else (factor - 1, factor - 1))
    for step in (0, 1, 4):
        frames = torch.randn(1, 80, 16, dtype=torch.float64, requires_grad=True)
        steps, _ = layer(frames, torch.tensor([80]))
        steps[0, step].square().sum().backward()
        assert frames.grad is not None
        heard = frames.grad[0].abs().sum(-1).nonzero()[:, 0].tolist()
        assert heard == list(range(max(0, factor * step - behind), factor * step + ahead + 1))


def test_causal_subsampling_counts_as_nemo_does() -> None:
    found = [causally_subsampled(frames, 8) for frames in range(300)]
    # (frames + 3 zeros - kernel of 3) // stride of 2 + 1, three times; nothing comes of nothing.
    assert found[1:] == [((n // 2 + 1) // 2 + 1) // 2 + 1 for n in range(1, 300)]
    assert found[0] == 0
    assert causally_subsampled_lengths(torch.arange(300), 8).tolist() == found
    layer = ConvSubsampling(mels=80, dim=8, factor=8, channels=4, causal=True)
    assert layer.out.in_features == 4 * 11  # as `pre_encode.out` of NeMo's streaming models
    for frames in (1, 7, 8, 9, 64):
        steps, lengths = layer(torch.randn(1, frames, 80), torch.tensor([frames]))
        assert steps.shape[1] == lengths[0] == found[frames]


@pytest.mark.parametrize("causal", [False, True])
def test_no_frames_make_no_steps(causal: bool) -> None:
    layer = ConvSubsampling(mels=16, dim=8, factor=8, channels=4, causal=causal)
    _, lengths = layer(torch.randn(2, 0, 16), torch.tensor([0, 0]))
    assert lengths.tolist() == [0, 0]


def test_a_causal_convolution_hears_the_kernel_behind_it() -> None:
    layer = ConvolutionModule(8, 5, norm="layer", causal=True).double()
    for step in (0, 2, 20):
        values = torch.randn(1, 30, 8, dtype=torch.float64, requires_grad=True)
        layer(values, torch.ones(1, 30, dtype=torch.bool))[0, step].square().sum().backward()
        assert values.grad is not None
        heard = values.grad[0].abs().sum(-1).nonzero()[:, 0].tolist()
        assert heard == list(range(max(0, step - 4), step + 1))


def test_rotations_are_exact_at_any_step() -> None:
    table = rotary_table(50_001, 16, CPU)
    # From one step to the next the angle grows by the frequency, late as early.
    early, late = table[:, 1].double(), table[:, 50_000].double()
    before = table[:, 49_999].double()
    difference = late[1] * before[0] - late[0] * before[1]
    assert torch.allclose(difference, early[1], atol=1e-6)


def test_put_state_undoes_select_state_and_leaves_the_others() -> None:
    first, second, chosen = torch.arange(4.0), torch.arange(8).view(4, 2), torch.tensor([2, 0])
    state = (first, [second], None)
    same = pytree.tree_leaves(put_state(state, chosen, select_state(state, chosen)))
    assert torch.equal(same[0], first) and torch.equal(same[1], second)
    new = (torch.tensor([7.0, 9.0]), [torch.zeros(2, 2, dtype=torch.int64)], None)
    changed = pytree.tree_leaves(put_state(state, chosen, new))
    assert changed[0].tolist() == [9, 1, 7, 3]
    assert changed[1].tolist() == [[0, 0], [2, 3], [0, 0], [6, 7]]
