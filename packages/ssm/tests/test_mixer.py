"""The state-space mixer is its definition, whatever its sizes and wherever its padding stands."""

from dataclasses import replace
from math import exp, log1p

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from asr_lab.models.ssm import SSMASRModel, SSMConfig
from asr_lab.models.ssm.layers import BidirectionalMixer, Direction, SSMBlock
from asr_lab.models.ssm.model import SSMEncoder
from asr_lab.models.ssm.reference import scan_step_by_step
from asr_lab.testing.inputs import collate, random_utterances

EXACT = 1e-10
"""Rounding of some hundred additions in FP64."""
SMALL = replace(
    SSMConfig.tiny(), dim=8, state=3, head_dim=4, layers=1, kernel=3, chunk=4, vocab=9, dropout=0.0
)
SIZES = {
    "as it is": SMALL,
    "a state of one": replace(SMALL, state=1),
    "a state larger than the width": replace(SMALL, state=40),
    "one head": replace(SMALL, head_dim=16),
    "a head for every channel": replace(SMALL, head_dim=1),
    "a kernel of one": replace(SMALL, kernel=1),
    "a kernel longer than the utterance": replace(SMALL, kernel=9),
    "no expansion": replace(SMALL, expand=1),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def built(config: SSMConfig) -> BidirectionalMixer:
    """Return a mixer in FP64 whose skips are not all the same."""
    torch.manual_seed(0)
    mixer = BidirectionalMixer(config).double()
    for direction in (mixer.ahead, mixer.back):
        nn.init.normal_(direction.skip)
    return mixer


def direction_reference(direction: Direction, mixed: Tensor, sizes: Tensor) -> Tensor:
    """Treat one utterance without padding, a step and a head at a time."""
    weight, bias = direction.convolution.weight[:, 0], direction.convolution.bias
    assert bias is not None
    rows = []
    for step in range(len(mixed)):
        heard = bias
        for back in range(min(step + 1, direction.kernel)):
            heard = heard + weight[:, direction.kernel - 1 - back] * mixed[step - back]
        rows.append(heard * heard.sigmoid())
    values, keys, queries = torch.stack(rows).split([direction.inner, *2 * [direction.state]], -1)
    outputs = []
    for head, own in enumerate(values.chunk(sizes.shape[1], -1)):
        size = [log1p(exp(drawn)) for drawn in (sizes[:, head] + direction.size_bias[head])]
        taken = torch.tensor(size, dtype=torch.float64)[:, None]
        scanned = scan_step_by_step(
            (own * taken)[None, :, None],
            -direction.log_rate[head].exp() * taken[None],
            keys[None],
            queries[None],
        )
        outputs.append(scanned[0, :, 0] + direction.skip[head] * own)
    return torch.cat(outputs, -1)


def mixer_reference(mixer: BidirectionalMixer, values: Tensor) -> Tensor:
    """Hear one utterance from both ends, then gate, normalise and project."""
    gate, mixed, ahead, back = (values @ mixer.inputs.weight.T).split(mixer.sizes, -1)
    heard = direction_reference(mixer.ahead, mixed, ahead)
    heard = heard + direction_reference(mixer.back, mixed.flip(0), back.flip(0)).flip(0)
    gated = heard * gate * gate.sigmoid()
    scale = (gated.square().mean(-1, keepdim=True) + mixer.norm.eps).rsqrt()
    result: Tensor = (gated * scale * mixer.norm.weight) @ mixer.out.weight.T
    return result


def close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("name", SIZES)
def test_the_mixer_is_its_definition_for_every_utterance_of_a_batch(name: str) -> None:
    mixer, lengths = built(SIZES[name]), (7, 4, 1)
    values = random(3, 7, 8)
    mask = torch.arange(7) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        found = mixer(values, mask)
        for row, length in enumerate(lengths):
            assert close(found[row, :length], mixer_reference(mixer, values[row, :length]))


@settings(max_examples=30, deadline=None)
@given(
    before=st.integers(0, 9), steps=st.integers(1, 9), behind=st.integers(0, 9), seed=st.integers(0)
)
def test_an_utterance_may_stand_anywhere_in_its_row(
    before: int, steps: int, behind: int, seed: int
) -> None:
    mixer, values = built(SMALL), random(1, before + steps + behind, 8, seed=seed % 2**31)
    mask = torch.zeros(1, before + steps + behind, dtype=torch.bool)
    mask[:, before : before + steps] = True
    alone = values[mask][None]
    with torch.no_grad():
        found = mixer(values, mask)[mask]
        assert close(found, mixer(alone, torch.ones(1, steps, dtype=torch.bool))[0])


def test_the_gradient_of_the_mixer_is_that_of_finite_differences() -> None:
    mixer, values = built(SMALL), random(2, 6, 8).requires_grad_()
    mask = torch.arange(6) < torch.tensor([6, 3])[:, None]

    def heard(values: Tensor, *_: Tensor) -> Tensor:
        result: Tensor = mixer(values, mask)[mask]
        return result

    inputs = (values, *mixer.parameters())
    assert torch.autograd.gradcheck(heard, inputs, fast_mode=True, check_undefined_grad=False)


def test_a_gate_that_is_shut_lets_nothing_through() -> None:
    mixer = built(SMALL)
    with torch.no_grad():
        mixer.inputs.weight[: mixer.sizes[0]] = 0
    assert not mixer(random(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)).any()


def test_a_block_adds_to_its_input_what_mixer_and_feed_forward_say() -> None:
    torch.manual_seed(0)
    block, values = SSMBlock(SMALL).double(), random(2, 5, 8)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mixed = values + block.mixer(F.rms_norm(values, (8,), eps=1e-5), mask)
    expected = mixed + block.feedforward(F.rms_norm(mixed, (8,), eps=1e-5))
    assert close(block(values, mask), expected)


def test_dropout_acts_in_train_mode_only() -> None:
    torch.manual_seed(0)
    model = SSMASRModel(replace(SMALL, dropout=0.5))
    features = collate(random_utterances(SMALL, [64])).features

    def repeats() -> bool:
        first, second = (model.encoder(features).sequences.values for _ in range(2))
        return torch.equal(first, second)

    assert not repeats()
    model.eval()
    assert repeats()


@pytest.mark.parametrize("preset", ["tiny", "small", "base", "large"])
def test_steps_is_the_length_that_the_encoder_of_a_preset_gives(preset: str) -> None:
    config = replace(getattr(SSMConfig, preset)(), layers=1)
    with torch.device("meta"):
        encoder = SSMEncoder(config)
    encoder.blocks = nn.ModuleList()  # they change no length
    for frames in (*range(1, 2 * config.subsampling + 2), 1000):
        features = collate(random_utterances(config, [frames])).features.to("meta")
        assert encoder(features).sequences.values.shape == (1, config.steps(frames), config.dim)
