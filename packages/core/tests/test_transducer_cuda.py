"""The transducer's kernels on a GPU: accuracy against double precision, and equal bits."""

import pytest
import torch
from torch import Tensor

from asr_lab.losses import transducer_loss
from asr_lab.losses import transducer_plain as plain
from asr_lab.losses.transducer import why_not_fused
from asr_lab.losses.transducer_plain import Operands, Texts, plain_transducer
from asr_lab.losses.transducer_settings import Activation, TransducerSettings

pytestmark = pytest.mark.needs("bf16")

LOSS = 2e-6
GRADIENT = {torch.bfloat16: 5e-3, torch.float16: 5e-3, torch.float32: 1e-4}
HIDDEN = 640
TDT = (0, 1, 2, 3, 4)
SHAPES: dict[str, tuple[list[int], list[int]]] = {
    "250 steps, 100 tokens": ([250] * 4, [100] * 4),
    "1500 steps, 300 tokens": ([1500], [300]),
    "ragged": ([250, 131, 1, 77, 0, 16], [100, 37, 5, 0, 3, 90]),
    "no tokens": ([120, 60], [0, 0]),
    "one step": ([1, 1], [40, 7]),
}


def operands(
    lengths: list[int], counts: list[int], scores: int, dtype: torch.dtype, device: str = "cuda"
) -> tuple[Operands, Texts]:
    """Return random operands whose logits have a spread of about 2, and texts."""
    generator = torch.Generator().manual_seed(sum(lengths) + scores)
    shapes = [
        (len(lengths), max(lengths), HIDDEN),
        (len(lengths), max(counts) + 1, HIDDEN),
        (scores, HIDDEN),
        (scores,),
    ]
    found = [torch.randn(shape, generator=generator) for shape in shapes]
    found[2] *= 2 / HIDDEN**0.5
    typed = [one.to(device, dtype).requires_grad_(True) for one in found]
    tokens = torch.randint(1000, (len(lengths), max(counts)), generator=generator)
    texts = Texts(torch.tensor(lengths), tokens, torch.tensor(counts))
    return Operands._make(typed), Texts._make(one.to(device) for one in texts)


def results(
    inputs: Operands,
    texts: Texts,
    blank_id: int,
    activation: Activation,
    durations: tuple[int, ...],
    gradient_bound: float = 0.0,
) -> list[Tensor]:
    """Return the loss and its gradients."""
    part = transducer_loss(
        inputs.projected,
        inputs.predicted,
        inputs.weight,
        inputs.bias,
        texts.lengths,
        texts.tokens,
        texts.token_lengths,
        blank_id=blank_id,
        valid=torch.ones_like(texts.lengths, dtype=torch.bool),
        activation=activation,
        durations=durations,
        gradient_bound=gradient_bound,
    )
    return [part.sum.detach(), *torch.autograd.grad(part.sum, inputs)]


def compare(
    shape: str,
    dtype: torch.dtype,
    blank_id: int = 1023,
    activation: Activation = "relu",
    durations: tuple[int, ...] = (),
    gradient_bound: float = 0.0,
) -> None:
    """Assert that the fused loss is that of double precision on the same rounded operands."""
    settings = TransducerSettings(
        blank_id=blank_id,
        activation=activation,
        durations=durations,
        gradient_bound=gradient_bound,
    )
    inputs, texts = operands(*SHAPES[shape], settings.scores, dtype)
    assert not why_not_fused(inputs.projected, inputs.predicted, settings, dtype)
    found = results(inputs, texts, blank_id, activation, durations, gradient_bound)
    exact = Operands._make(one.detach().double().requires_grad_(True) for one in inputs)
    total = plain_transducer(exact, texts, settings, dtype)
    expected = [total.detach(), *torch.autograd.grad(total, exact)]
    assert found[0].item() == pytest.approx(expected[0].item(), rel=LOSS)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.dtype == dtype
        assert (one.double() - other).norm() <= GRADIENT[dtype] * other.norm()


@pytest.fixture(autouse=True)
def large_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the reference hold 64 Ki cells at a time: 0.5 GiB in double precision."""
    monkeypatch.setattr(plain, "CELLS", 65536)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_rnnt_agrees_with_double_precision(shape: str, dtype: torch.dtype) -> None:
    compare(shape, dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_tdt_agrees_with_double_precision(shape: str, dtype: torch.dtype) -> None:
    compare(shape, dtype, durations=TDT)


@pytest.mark.parametrize("blank_id", [1000, 1024, 1030])
@pytest.mark.parametrize("durations", [(), TDT])
def test_any_number_of_scores_will_do(blank_id: int, durations: tuple[int, ...]) -> None:
    compare("ragged", torch.bfloat16, blank_id, durations=durations)


@pytest.mark.parametrize("dtype", list(GRADIENT))
def test_tanh_agrees_with_double_precision(dtype: torch.dtype) -> None:
    compare("ragged", dtype, activation="tanh")


def test_fp32_is_not_shortened_by_tf32() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        compare("ragged", torch.float32)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("durations", [(), TDT])
@pytest.mark.parametrize("shape", ["250 steps, 100 tokens", "ragged"])
def test_twenty_runs_have_equal_bits(shape: str, durations: tuple[int, ...]) -> None:
    inputs, texts = operands(*SHAPES[shape], 1024 + len(durations), torch.bfloat16)
    first = results(inputs, texts, 1023, "relu", durations)
    for _ in range(19):
        again = results(inputs, texts, 1023, "relu", durations)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize("durations", [(), TDT])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_cells_are_left_out_as_in_double_precision(
    durations: tuple[int, ...], dtype: torch.dtype
) -> None:
    compare("ragged", dtype, durations=durations, gradient_bound=0.1)


def test_memory_does_not_hold_the_joint() -> None:
    inputs, texts = operands([250] * 32, [100] * 32, 1024, torch.bfloat16)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    results(inputs, texts, 1023, "relu", ())
    assert torch.cuda.max_memory_allocated() - before <= 250e6
