"""Measure the CTC loss, forward and backward, on this machine's GPU.

    python packages/core/benchmarks/ctc.py [docs/results/ctc.json] [--runs 100] [--sweep]

Times are medians of runs that alternate, each from an idle GPU to an idle GPU, what the host adds
included; `graph_ms` is a replay of ours from a CUDA graph, without the host. The peer is torch's
`F.ctc_loss` on FP32, with lengths on the CPU or on the GPU, whichever is faster, with and without
its `log_softmax`. In deterministic mode its gradient raises. Repetitions are compared bit by bit.
Accuracy is the largest absolute error of the gradient in the logits, and the relative one of the
losses, against `F.ctc_loss` in FP64. `--sweep` times other numbers of warps, to pin the best.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from asr_lab.losses import ctc_losses, ctc_triton
from asr_lab.losses.ctc_plain import plain_ctc
from asr_lab.reproducibility.deterministic import deterministic
from asr_lab.reproducibility.environment import machine

SIZES = ("steps", "batch", "scores", "tokens")
SHAPES = [(400, 32, 1024, 80), (250, 64, 1024, 100), (400, 32, 32, 150)]
ACCURATE = [(400, 8, 1024, 80), (250, 8, 1024, 100), (1500, 4, 1024, 300)]
SETS = 4
"""Sets of inputs that take turns, so that no cache holds them."""
Work = Callable[[], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Inputs:
    """One batch; the blank is the last score."""

    logits: Tensor
    """By utterance."""
    lengths: Tensor
    tokens: Tensor
    token_lengths: Tensor

    @property
    def blank_id(self) -> int:
        """Return the index of the blank."""
        return self.logits.shape[2] - 1


def inputs(
    shape: tuple[int, int, int, int], seed: int, scale: float = 1, ragged: bool = False
) -> Inputs:  # noqa: E501
    """Return random logits of that standard deviation, and tokens; all texts fit."""
    steps, batch, scores, tokens = shape
    generator = torch.Generator("cuda").manual_seed(seed)

    def draw(low: int, high: int, *size: int) -> Tensor:
        return torch.randint(low, high + 1, size, generator=generator, device="cuda")

    logits = torch.randn(batch, steps, scores, generator=generator, device="cuda") * scale
    said = draw(0, scores - 2, batch, tokens)
    counts = draw(tokens // 2 if ragged else tokens, tokens, batch)
    lengths = draw(2 * tokens if ragged else steps, steps, batch)
    return Inputs(logits, lengths, said, counts)


def ours(case: Inputs, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return our losses and gradient in the scores."""
    scores = scores.detach().requires_grad_(True)
    losses = ctc_losses(
        scores, case.lengths, case.tokens, case.token_lengths, blank_id=case.blank_id
    )
    return losses.detach(), torch.autograd.grad(losses.sum(), scores)[0]


def native(
    case: Inputs, scores: Tensor, lengths: tuple[Tensor, Tensor], normalise: bool
) -> tuple[Tensor, Tensor]:
    """Return torch's losses and gradient in the scores, which are by step."""
    scores = scores.detach().requires_grad_(True)
    log_probs = scores.float().log_softmax(-1) if normalise else scores
    losses = F.ctc_loss(log_probs, case.tokens, *lengths, blank=case.blank_id, reduction="none")
    return losses.detach(), torch.autograd.grad(losses.sum(), scores)[0]


def exact(case: Inputs) -> tuple[Tensor, Tensor]:
    """Return losses and gradient in the logits in FP64."""
    logits = case.logits.double().requires_grad_(True)
    losses = F.ctc_loss(
        logits.log_softmax(-1).transpose(0, 1),
        case.tokens,
        case.lengths,
        case.token_lengths,
        blank=case.blank_id,
        reduction="none",
    )
    return losses.detach(), torch.autograd.grad(losses.sum(), logits)[0]


def milliseconds(work: Callable[[], object]) -> float:
    """Return the time of one run on the GPU, with what the host adds."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def alternate(arms: dict[str, list[Work]], runs: int) -> dict[str, float]:
    """Return the median milliseconds of each arm, whose sets of inputs take turns."""
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(runs + 5):
        for arm, works in arms.items():
            took = milliseconds(works[number % len(works)])
            if number >= 5:
                times[arm].append(took)
    return {arm: statistics.median(found) for arm, found in times.items()}


def captured(case: Inputs) -> torch.cuda.CUDAGraph:
    """Return a graph of our loss and gradient."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            ours(case, case.logits)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ours(case, case.logits)
    return graph


def graph_time(case: Inputs, runs: int) -> float:
    """Return the median milliseconds of a replay."""
    graph = captured(case)
    found = [milliseconds(graph.replay) for _ in range(runs + 5)]
    return statistics.median(found[5:])


def arms_of(cases: list[Inputs]) -> dict[str, list[Work]]:
    """Return what is timed: with and without log-softmax, and from BF16."""
    arms: dict[str, list[Work]] = {}
    for case in cases:
        log_probs = case.logits.log_softmax(-1)
        half = case.logits.bfloat16()
        by_step = [one.transpose(0, 1).contiguous() for one in (case.logits, log_probs, half)]
        there = (case.lengths, case.token_lengths)
        here = (case.lengths.cpu(), case.token_lengths.cpu())
        found: dict[str, Work] = {
            "logits": lambda c=case: ours(c, c.logits),  # type: ignore[misc]
            "log_probs": lambda c=case, x=log_probs: ours(c, x),  # type: ignore[misc]
            "bf16": lambda c=case, x=half: ours(c, x),  # type: ignore[misc]
        }
        for place, lengths in (("cpu", here), ("gpu", there)):
            for name, x in zip(("logits", "log_probs", "bf16"), by_step, strict=True):
                found[f"native {name} {place}"] = (
                    lambda c=case, x=x, n=lengths, s=name != "log_probs": native(c, x, n, s)  # type: ignore[misc]
                )
        for name, work in found.items():
            arms.setdefault(name, []).append(work)
    return arms


def raises(work: Work) -> bool:
    """Return whether torch refuses."""
    try:
        work()
    except RuntimeError:
        return True
    return False


def measure(shape: tuple[int, int, int, int], runs: int) -> list[dict[str, object]]:
    """Return the times of one shape, deterministic mode off and on."""
    cases = [inputs(shape, seed) for seed in range(SETS)]
    arms = arms_of(cases)
    free = alternate(arms, runs)
    with deterministic():
        refused = all(raises(works[0]) for name, works in arms.items() if "native" in name)
        kept = {name: works for name, works in arms.items() if "native" not in name}
        strict = alternate(kept, runs)
    graph = round(graph_time(cases[0], runs), 3)
    rows: list[dict[str, object]] = []
    sizes = dict(zip(SIZES, shape, strict=True))
    for name in kept:
        peer, place = min((free[f"native {name} {place}"], place) for place in ("cpu", "gpu"))
        row: dict[str, object] = sizes | {
            "from": name,
            "ms": round(free[name], 3),
            "deterministic_mode_ms": round(strict[name], 3),
            "native_ms": round(peer, 3),
            "native_lengths": place,
            "native_in_deterministic_mode": "raises" if refused else "runs",
            "faster": round(peer / free[name], 2),
            "runs": runs,
        }
        rows.append(row | ({"graph_ms": graph} if name == "logits" else {}))
    return rows


def different(work: Work, times: int) -> int:
    """Return how many repetitions differ in any bit from the first."""
    first = work()
    return sum(
        not all(torch.equal(one, other) for one, other in zip(first, work(), strict=True))
        for _ in range(times - 1)
    )


def repeat(shape: tuple[int, int, int, int], times: int) -> dict[str, object]:
    """Return how many repetitions of ours and of torch's differ from the first."""
    case = inputs(shape, 0, ragged=True)
    by_step = case.logits.transpose(0, 1).contiguous()
    lengths = (case.lengths, case.token_lengths)
    sizes: dict[str, object] = dict(zip(SIZES, shape, strict=True))
    return sizes | {
        "repetitions": times,
        "different": different(lambda: ours(case, case.logits), times),
        "native_repetitions": times // 10,
        "native_different": different(lambda: native(case, by_step, lengths, True), times // 10),
    }


def accuracy(shape: tuple[int, int, int, int], scale: float) -> dict[str, object]:
    """Return the errors of the kernels, of plain torch and of torch's own loss."""
    case = inputs(shape, 7, scale, ragged=True)
    losses, gradient = exact(case)
    text = (case.lengths, case.tokens, case.token_lengths, case.blank_id)
    logits = case.logits.detach().requires_grad_(True)
    plain = plain_ctc(logits, *text)
    turned = native(
        case, case.logits.transpose(0, 1), (case.lengths, case.token_lengths), normalise=True
    )
    arms = {
        "kernels": ours(case, case.logits),
        "plain": (plain.detach(), torch.autograd.grad(plain.sum(), logits)[0]),
        "native": (turned[0], turned[1].transpose(0, 1)),
    }
    row: dict[str, object] = {"steps": shape[0], "tokens": shape[3], "scale": scale}
    for name, (found, slope) in arms.items():
        row[f"{name}_gradient"] = float(f"{float((slope - gradient).abs().max()):.1e}")
        row[f"{name}_loss"] = float(f"{float(((found - losses) / losses).abs().max()):.1e}")
    return row


def sweep(runs: int) -> None:
    """Print the time of a replay for other numbers of warps, and of steps a program reads."""
    for shape in [*SHAPES, (1500, 16, 1024, 300), (120, 32, 32, 40)]:
        case = inputs(shape, 0)
        places = ctc_triton.places(shape[3])
        kept = ctc_triton.WALKING[places], ctc_triton.WARPS, ctc_triton.ROWS
        print(shape, "pinned", kept, round(graph_time(case, runs), 4), flush=True)
        for walking in (1, 2, 4, 8, 16):
            ctc_triton.WALKING[places] = walking
            print(f"  walking {walking}: {graph_time(case, runs):.4f}", flush=True)
        ctc_triton.WALKING[places] = kept[0]
        for warps, rows in ((1, 1), (2, 1), (2, 2), (2, 4), (4, 2), (4, 8), (8, 4), (8, 8)):
            ctc_triton.WARPS, ctc_triton.ROWS = warps, rows
            print(f"  warps {warps}, rows {rows}: {graph_time(case, runs):.4f}", flush=True)
        ctc_triton.WARPS, ctc_triton.ROWS = kept[1:]


def shown(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """Print the rows, and return them."""
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--sweep", action="store_true")
    options = parser.parse_args()
    if options.sweep:
        sweep(options.runs)
        return
    accurate = shown([accuracy(shape, scale) for shape in ACCURATE for scale in (1.0, 4.0)])
    times = [row for shape in SHAPES for row in shown(measure(shape, options.runs))]
    repeated = shown([repeat(shape, options.repetitions) for shape in SHAPES])
    if options.output:
        flags = f"--runs {options.runs} --repetitions {options.repetitions}"
        result = {
            "command": f"python packages/core/benchmarks/ctc.py {flags}",
            "gpu": torch.cuda.get_device_name(),
            "machine": machine(),
            "versions": {name: version(name) for name in ("torch", "triton")},
            "times": times,
            "repetitions": repeated,
            "accuracy": accurate,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
