"""Measure the transducer losses, forward and backward, on this machine's GPU.

    python packages/core/benchmarks/transducer.py [docs/results/transducer.json] [--runs 50]

Each row is one loss of 32 utterances of 250 encoder steps and 100 tokens, hidden width 640, BF16.
The peer is a linear layer and `torchaudio.functional.rnnt_loss`, with logits in FP16 or FP32, the
faster taken; runs alternate. TDT has no peer there: its ratio is to our RNN-T's time. The floor is
four matrix products of batch * steps * positions * hidden * scores at 790 TFLOP/s, which an H100
reaches: logits, logits again, and the gradients in activation and weight. Memory is the peak beyond
the inputs, gradients counted.

The last row is our RNN-T on operands that say their texts clearly, as a trained model does, once as
it is and once with `gradient_bound`; the differences of its gradients are relative, in L2.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torchaudio
from torch import Tensor

from asr_lab.losses import transducer_loss
from asr_lab.reproducibility.environment import machine

BATCH, STEPS, TOKENS, HIDDEN = 32, 250, 100, 640
RATE = 790e12
"""Floating-point operations per second of a large BF16 product, measured on an H100."""
CASES: dict[str, tuple[int, tuple[int, ...]]] = {
    "RNN-T 1024": (1024, ()),
    "RNN-T 1025": (1025, ()),
    "TDT 1024, 0-4": (1024, (0, 1, 2, 3, 4)),
}
"""Scores of tokens and blank, and durations."""
PART = 1e-4
"""Part of the gradient that may be left out in the last row."""
SETS = 4
"""Sets of inputs that take turns, so that no cache holds them."""
Inputs = tuple[list[Tensor], Tensor]


def inputs(scores: int, seed: int) -> Inputs:
    """Return random operands of the joint, and tokens."""
    generator = torch.Generator("cuda").manual_seed(seed)
    shapes = [(BATCH, STEPS, HIDDEN), (BATCH, TOKENS + 1, HIDDEN), (scores, HIDDEN), (scores,)]
    found = [torch.randn(shape, generator=generator, device="cuda") for shape in shapes]
    found[2] *= 2 / HIDDEN**0.5
    operands = [one.bfloat16().requires_grad_(True) for one in found]
    tokens = torch.randint(1000, (BATCH, TOKENS), generator=generator, device="cuda")
    return operands, tokens.int()


def full(size: int) -> Tensor:
    """Return that length for every utterance."""
    return torch.full((BATCH,), size, dtype=torch.int32, device="cuda")


@torch.no_grad()
def say_clearly(case: Inputs, blank_id: int) -> Inputs:
    """Return operands that add up to the blank, but at one step for each token to that."""
    (projected, predicted, weight, bias), tokens = case
    rows, said = weight.float(), tokens.long()
    steps = (torch.arange(TOKENS, device="cuda") * STEPS + STEPS // 2) // TOKENS
    heard = 4 * rows[blank_id] + 0.3 * projected.float()
    heard[:, steps] += 8 * rows[said]
    expected = 0.3 * predicted.float()
    expected[:, :-1] += 1.5 * rows[said]
    kept = [heard.bfloat16(), expected.bfloat16(), weight, bias]
    return [one.detach().requires_grad_(True) for one in kept], tokens


def ours(
    case: Inputs, blank_id: int, durations: tuple[int, ...], gradient_bound: float = 0.0
) -> tuple[Tensor, ...]:
    """Run our loss, forward and backward; return the gradients."""
    (projected, predicted, weight, bias), tokens = case
    part = transducer_loss(
        projected,
        predicted,
        weight,
        bias,
        full(STEPS),
        tokens,
        full(TOKENS),
        blank_id=blank_id,
        valid=torch.ones(BATCH, dtype=torch.bool, device="cuda"),
        durations=durations,
        gradient_bound=gradient_bound,
    )
    return torch.autograd.grad(part.sum, (projected, predicted, weight, bias))


def peer(case: Inputs, blank_id: int, dtype: torch.dtype) -> None:
    """Run a linear layer and torchaudio's loss, forward and backward."""
    (projected, predicted, weight, bias), tokens = case
    hidden = (projected[:, :, None] + predicted[:, None]).relu()
    logits = torch.nn.functional.linear(hidden, weight, bias).to(dtype)
    total = torchaudio.functional.rnnt_loss(
        logits, tokens, full(STEPS), full(TOKENS), blank=blank_id, reduction="sum"
    )
    torch.autograd.grad(total, (projected, predicted, weight, bias))


def milliseconds(work: Callable[[], object]) -> float:
    """Return the time of one run on the GPU, with what the host adds."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return float(start.elapsed_time(end))


def peak(work: Callable[[], object]) -> float:
    """Return the megabytes that one run takes at most beyond what is held."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 1e6


def measure(name: str, runs: int) -> dict[str, object]:
    """Return the figures of one case."""
    scores, durations = CASES[name]
    blank_id = scores - 1
    sets = [inputs(scores + len(durations), seed) for seed in range(SETS)]
    arms: dict[str, Callable[[Inputs], object]] = {
        "ours": lambda one: ours(one, blank_id, durations)
    }
    if not durations:
        arms["FP16"] = lambda one: peer(one, blank_id, torch.float16)
        arms["FP32"] = lambda one: peer(one, blank_id, torch.float32)
    memory = {arm: peak(lambda work=work: work(sets[0])) for arm, work in arms.items()}  # type: ignore[misc]
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for number in range(runs + 5):
        for arm, work in arms.items():
            took = milliseconds(lambda work=work: work(sets[number % SETS]))  # type: ignore[misc] # noqa: B023
            if number >= 5:
                times[arm].append(took)
    medians = {arm: statistics.median(found) for arm, found in times.items()}
    total = scores + len(durations)
    floor = 1000 * 4 * 2 * BATCH * STEPS * (TOKENS + 1) * HIDDEN * total / RATE
    row: dict[str, object] = {
        "loss": name,
        "ms": round(medians["ours"], 2),
        "least_ms": round(min(times["ours"]), 2),
        "MB": round(memory["ours"], 1),
        "floor_ms": round(floor, 2),
        "times_the_floor": round(medians["ours"] / floor, 2),
        "runs": runs,
    }
    if not durations:
        best = min(("FP16", "FP32"), key=medians.__getitem__)
        row |= {
            "peer_logits": best,
            "peer_ms": round(medians[best], 2),
            "peer_MB": round(memory[best], 1),
            "faster": round(medians[best] / medians["ours"], 2),
            "less_memory": round(memory[best] / memory["ours"], 1),
        }
    return row


def measure_left_out(runs: int) -> dict[str, object]:
    """Return the figures of our RNN-T on clear operands, with its whole gradient and without."""
    blank_id = 1023
    sets = [say_clearly(inputs(blank_id + 1, seed), blank_id) for seed in range(SETS)]
    times: dict[float, list[float]] = {0.0: [], PART: []}
    for number in range(runs + 5):
        for part, found in times.items():
            case = sets[number % SETS]
            took = milliseconds(lambda case=case, part=part: ours(case, blank_id, (), part))  # type: ignore[misc]
            if number >= 5:
                found.append(took)
    every, some = (ours(sets[0], blank_id, (), part) for part in times)
    again = ours(sets[0], blank_id, (), PART)
    return {
        "loss": "RNN-T 1024, clear",
        "ms": round(statistics.median(times[0.0]), 2),
        "gradient_bound": PART,
        "ms_with_bound": round(statistics.median(times[PART]), 2),
        "MB_with_bound": round(peak(lambda: ours(sets[0], blank_id, (), PART)), 1),
        "differences": [
            float((one.double() - other.double()).norm() / other.double().norm())
            for one, other in zip(some, every, strict=True)
        ],
        "bits_repeat": all(torch.equal(one, other) for one, other in zip(some, again, strict=True)),
        "runs": runs,
    }


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=50)
    options = parser.parse_args()
    rows = []
    for name in CASES:
        rows.append(measure(name, options.runs))
        if CASES[name][1]:
            rows[-1]["times_rnnt"] = round(
                float(str(rows[-1]["ms"])) / float(str(rows[0]["ms"])), 2
            )
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    rows.append(measure_left_out(options.runs))
    print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.output:
        result = {
            "command": f"python packages/core/benchmarks/transducer.py --runs {options.runs}",
            "gpu": torch.cuda.get_device_name(),
            "machine": machine(),
            "versions": {name: version(name) for name in ("torch", "torchaudio", "triton")},
            "shape": {"batch": BATCH, "steps": STEPS, "tokens": TOKENS, "hidden": HIDDEN},
            "rows": rows,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
