"""Audio on a GPU equals audio on the CPU, also with TF32 switched on."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from asr_lab.audio.augmentation import (
    Recordings,
    add_noise,
    change_gain,
    change_speed,
    reverberate,
    spec_augment,
)
from asr_lab.audio.features import features
from asr_lab.audio.recipes import RECIPES, recipe
from asr_lab.reproducibility.seeding import (
    generator,
    integers,
    normal,
    scope,
    uniform,
    utterance_keys,
)

pytestmark = pytest.mark.gpu

TOLERANCE = 1e-4
"""What features may differ; TF32 would make it 1e-3 and more."""
SAMPLES = 1e-5
"""What samples of size 1 may differ."""

COUNTS = (9000, 5000, 16000)


@pytest.fixture(autouse=True)
def short_products() -> Iterator[None]:
    """Let torch shorten matrix products, as the TF32 precision does."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def audio() -> tuple[Tensor, Tensor, Tensor]:
    samples = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(0))
    return samples, torch.tensor(COUNTS), utterance_keys(0, 0, ["a", "b", "c"])


def test_draws_have_the_same_bits_on_cpu_and_gpu() -> None:
    keys = utterance_keys(0, 0, [str(i) for i in range(9)])
    assert torch.equal(uniform(keys, "a", 1001), uniform(keys.cuda(), "a", 1001).cpu())
    assert torch.equal(integers(keys, "a", 99, 1000), integers(keys.cuda(), "a", 99, 1000).cpu())
    on_gpu = normal(keys.cuda(), "a", 1001).cpu()
    assert torch.allclose(normal(keys, "a", 1001), on_gpu, atol=SAMPLES)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_features_on_the_gpu_equal_those_on_the_cpu(name: str) -> None:
    samples, lengths, _ = audio()
    rules = recipe(name, 40, 16000)
    expected, _ = features(rules, samples, lengths)
    with torch.autocast("cuda", torch.bfloat16):
        found, _ = features(rules, samples.cuda(), lengths.cuda())
    assert found.dtype == torch.float32
    # Cepstra are liftered by up to 12, and their rounding with them.
    scale = 12 if name == "mfcc" else 1
    assert torch.allclose(found.cpu(), expected, atol=TOLERANCE * scale, rtol=0)


CHANGES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "gain": lambda samples, lengths, keys: change_gain(samples, keys, 6.0),
    "noise": lambda samples, lengths, keys: add_noise(samples, lengths, keys, (0.0, 20.0)),
    "recorded noise": lambda samples, lengths, keys: add_noise(
        samples, lengths, keys, (0.0, 20.0), Recordings.of([samples[2, :700], samples[2, 900:]])
    ),
    "reverberation": lambda samples, lengths, keys: reverberate(
        samples, lengths, keys, [samples[2, :300], samples[2, 900:1000]]
    ),
    "speed": lambda samples, lengths, keys: change_speed(
        samples, lengths, torch.tensor([0.9, 1.0, 1.1])
    )[0],
    "masks": lambda samples, lengths, keys: spec_augment(
        samples.reshape(3, 200, 80), lengths // 80, keys
    ),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_augmentation_on_the_gpu_equals_that_on_the_cpu(name: str) -> None:
    samples, lengths, keys = audio()
    expected = CHANGES[name](samples, lengths, keys)
    found = CHANGES[name](samples.cuda(), lengths.cuda(), keys.cuda()).cpu()
    assert torch.allclose(found, expected, atol=SAMPLES)


def test_a_scope_seeds_and_restores_the_gpu() -> None:
    torch.rand(1, device="cuda")
    before = torch.cuda.get_rng_state()
    with scope(1, "dropout", device="cuda"):
        first = torch.rand(3, device="cuda")
    with scope(1, "dropout"):
        assert torch.equal(first, torch.rand(3, device="cuda"))
    assert torch.equal(before, torch.cuda.get_rng_state())
    assert generator(1, "init", device="cuda").device.type == "cuda"
