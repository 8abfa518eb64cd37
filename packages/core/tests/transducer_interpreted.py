"""Run the transducer's kernels in Triton's interpreter and print their errors as JSON.

The interpreter is chosen when triton is imported, so this is a process of its own. It multiplies
BF16 as integers; FP16 stands for it here.
"""

import json
import sys

import torch
from torch import Tensor

from asr_lab.losses import transducer_triton as fused
from asr_lab.losses.transducer_chunks import Sizes
from asr_lab.losses.transducer_plain import Operands, Texts, plain_transducer
from asr_lab.losses.transducer_settings import TransducerSettings

HIDDEN = 70
"""Not a whole number of blocks."""
CASES: dict[str, TransducerSettings] = {
    "rnnt in whole tiles": TransducerSettings(blank_id=127),
    "rnnt with the blank in the tail": TransducerSettings(blank_id=128, activation="tanh"),
    "rnnt padded to a tile": TransducerSettings(blank_id=40, fast_emit=0.3),
    "tdt in whole tiles": TransducerSettings(blank_id=127, durations=(0, 1, 2), sigma=0.05),
    "tdt with tokens in the tail": TransducerSettings(
        blank_id=130, durations=(2, 0, 1, 4), activation="tanh", fast_emit=0.2
    ),
    "tdt padded to a tile, no duration 0": TransducerSettings(blank_id=40, durations=(1, 2)),
    "rnnt, cells left out": TransducerSettings(blank_id=130, fast_emit=0.3, gradient_bound=0.5),
    "tdt, cells left out": TransducerSettings(
        blank_id=127, durations=(0, 1, 2), sigma=0.05, fast_emit=0.2, gradient_bound=0.5
    ),
}


def operands(scores: int, dtype: torch.dtype) -> Operands:
    """Return random operands; the weight is small, so that no score rules."""
    generator = torch.Generator().manual_seed(scores)
    shapes = [(4, 9, HIDDEN), (4, 6, HIDDEN), (scores, HIDDEN), (scores,)]
    found = [torch.randn(shape, generator=generator) for shape in shapes]
    found[2] *= 0.3
    projected, predicted, weight = (one.to(dtype).requires_grad_(True) for one in found[:3])
    return Operands(projected, predicted, weight, found[3].requires_grad_(True))


def texts(tokens: int) -> Texts:
    """Return a ragged batch: full, without tokens, with one step, and without steps."""
    generator = torch.Generator().manual_seed(tokens)
    return Texts(
        torch.tensor([9, 4, 1, 0]),
        torch.randint(tokens, (4, 5), generator=generator),
        torch.tensor([5, 0, 2, 3]),
    )


def total_of(
    inputs: Operands, said: Texts, settings: TransducerSettings, dtype: torch.dtype
) -> Tensor:
    """Return the loss by the kernels."""
    sizes = Sizes(said.lengths.tolist(), said.token_lengths.tolist())
    return fused.fused_transducer(inputs, said, settings, dtype, sizes)


def results(total: Tensor, inputs: Operands) -> list[Tensor]:
    """Return the loss and its gradients, times 2."""
    return [total.detach(), *torch.autograd.grad(2 * total, inputs)]


def errors(settings: TransducerSettings, dtype: torch.dtype) -> list[float]:
    """Return the relative errors of loss and gradients."""
    inputs, said = operands(settings.scores, dtype), texts(settings.blank_id)
    found = results(total_of(inputs, said, settings, dtype), inputs)
    exact = Operands._make(one.detach().double().requires_grad_(True) for one in inputs)
    expected = results(plain_transducer(exact, said, settings, dtype), exact)
    relative = [
        float((one.double() - other).norm() / other.norm())
        for one, other in zip(found, expected, strict=True)
    ]
    return relative


def kept(settings: TransducerSettings) -> float:
    """Return the part of the rows that the backward pass computes."""
    inputs, said = operands(settings.scores, torch.float32), texts(settings.blank_id)
    total = total_of(inputs, said, settings, torch.float32)
    work: fused.Pass = total.grad_fn.work  # type: ignore[union-attr]
    assert work.kept is not None
    return len(work.kept.numbers) / len(work.kept.place)


def changes(settings: TransducerSettings) -> list[float]:
    """Return the largest change of loss and gradients in a repetition."""
    inputs, said = operands(settings.scores, torch.float32), texts(settings.blank_id)
    runs = [results(total_of(inputs, said, settings, torch.float32), inputs) for _ in range(2)]
    return [float((one - other).abs().max()) for one, other in zip(*runs, strict=True)]


if __name__ == "__main__":
    # Several chunks, of which one begins inside an utterance.
    for name in ("ROWS", "SCORED_ROWS"):
        setattr(fused, name, int(sys.argv[1]))
    half = {"fp16": errors(CASES["tdt in whole tiles"], torch.float16)}
    single = {name: errors(settings, torch.float32) for name, settings in CASES.items()}
    again = {"again": changes(CASES["tdt padded to a tile, no duration 0"])}
    fewer = {"kept": [kept(s) for name, s in CASES.items() if "left out" in name]}
    print(json.dumps(half | single | again | fewer))
