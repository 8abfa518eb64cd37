"""Measure a training step of the large encoder with CTC against transformers' ParakeetForCTC.

    python packages/conformer/benchmarks/train_step.py docs/results/train-step.json

64 utterances of 16 s, BF16 autocast, fused AdamW, dropout 0.1 where the peer has it (behind the
subsampling, within feed-forward layers, in attention), no layer dropping; a step is forward,
backward and update. `parity` has the peer's relative positions, batch norm and weights,
and the loss is checked to be the peer's; `default` has rotary positions and layer norm. Ours is
compiled as `--train.compile` does, the peer block by block and whole; `graph` is with
`--train.cuda-graphs` as well, for which the peer's loss asks the GPU too much. `ragged` has lengths
from 4 to 16 s, of which only the real seconds count. Runs of all arms alternate; times are medians,
`gpu_ms` what the GPU works in a step, by torch's profiler.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import peers
import torch
from torch import Tensor, nn

from asr_lab.models.base import Batch
from asr_lab.models.base.outputs import total_loss
from asr_lab.models.conformer import ConformerASRModel
from asr_lab.models.conformer.layers import ConformerBlock
from asr_lab.reproducibility.environment import machine
from asr_lab.training.graphs import Graphs

Inputs = tuple[Batch, dict[str, Tensor]]
Step = Callable[[Inputs], Tensor]
SETS = 3
"""Batches that take turns."""
ARMS = ("eager", "block", "whole", "parity", "default", "parity-graph", "default-graph")


def our_step(model: ConformerASRModel, graph: bool = False) -> Step:
    """Return our training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def learn(batch: Batch, counts: Mapping[str, Any]) -> dict[str, Tensor]:
        with torch.autocast(batch.tokens.device.type, torch.bfloat16):
            parts = model.loss(batch)
            loss = total_loss(parts, counts)
        loss.backward()
        return {name: part.sum.detach() for name, part in parts.items()}

    graphs = Graphs(learn)
    for weight in model.parameters() if graph else ():
        weight.grad = torch.zeros_like(weight)

    def step(inputs: Inputs) -> Tensor:
        batch = inputs[0]
        parts = (graphs if graph else learn)(batch, {"ctc": len(batch)})
        optimizer.step()
        optimizer.zero_grad(set_to_none=not graph)
        return parts["ctc"]

    return step


def their_step(model: peers.Peer) -> Step:
    """Return the peer's training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(inputs: Inputs) -> Tensor:
        theirs = inputs[1]
        with torch.autocast(theirs["labels"].device.type, torch.bfloat16):
            loss = model(**theirs).loss
        (loss / len(inputs[0])).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        result: Tensor = loss.detach()
        return result

    return step


def compiled(model: nn.Module, parts: list[nn.Module]) -> nn.Module:
    """Compile the parts in place, each on its own."""
    for part in parts:
        part.compile()
    return model


def as_theirs(model: ConformerASRModel) -> ConformerASRModel:
    """Leave out the dropout of the residual branches, which the peer does not have."""
    for block in model.regions:
        if isinstance(block, ConformerBlock):
            block.dropout.p = 0.0
    return model


def arms(options: argparse.Namespace, device: str) -> dict[str, Step]:
    """Return the steps to be compared by name."""
    sizes = {"num_hidden_layers": options.layers} if options.layers else {}
    torch.manual_seed(0)

    def theirs() -> peers.Peer:
        torch.manual_seed(0)
        return peers.peer("ctc", dropout=options.dropout, **sizes).to(device).train()

    same = as_theirs(peers.ours(theirs(), "ctc", dropout=options.dropout)).to(device).train()
    config = replace(same.config, positions="rotary", norm="layer")
    default = as_theirs(ConformerASRModel(config)).to(device).train()
    found: dict[str, Step] = {}
    if "eager" in options.arms:
        found["peer, eager"] = their_step(theirs())
    if "block" in options.arms:
        model = theirs()
        parts = [model.encoder.subsampling, *model.encoder.layers]
        found["peer, by block"] = their_step(compiled(model, parts))
    if "whole" in options.arms:
        found["peer, whole"] = their_step(compiled(model := theirs(), [model]))
    if "parity" in options.arms:
        found["ours, parity"] = our_step(compiled(same, list(same.regions)))  # type: ignore[arg-type]
    if "default" in options.arms:
        found["ours, default"] = our_step(compiled(default, list(default.regions)))  # type: ignore[arg-type]
    for kind, model in {"parity": same, "default": default}.items():
        if f"{kind}-graph" in options.arms:
            ours = as_theirs(ConformerASRModel(model.config)).to(device).train()
            ours.load_state_dict(model.state_dict())
            compiled(ours, list(ours.regions))
            found[f"ours, {kind}, graph"] = our_step(ours, graph=True)
    return found


@torch.no_grad()
def agreement(options: argparse.Namespace, device: str) -> dict[str, float]:
    """Return the largest difference of logits on valid steps, and the relative one of the loss."""
    sizes = {"num_hidden_layers": options.layers} if options.layers else {}
    theirs = peers.peer("ctc", dropout=0.0, **sizes).to(device).eval()
    same = peers.ours(theirs, "ctc", dropout=0.0).to(device).eval()
    lengths = torch.linspace(400, 1600, 4).long()
    batch, inputs = peers.features(lengths, 40, 5, device)
    expected = theirs(**inputs)
    encoded = same.encoder(batch.features)
    found = same.scores(encoded, None, None)["ctc"]
    assert found is not None
    steps = encoded.sequences.lengths
    differences = [
        float((a[:n] - b[:n].log_softmax(-1)).abs().max())
        for a, b, n in zip(found, expected.logits, steps.tolist(), strict=True)
    ]
    loss = float(same.loss(batch)["ctc"].sum)
    return {
        "log_probabilities": max(differences),
        "loss_relative": abs(loss / float(expected.loss) - 1),
    }


def timed(step: Step, inputs: Inputs, device: str) -> float:
    """Return the milliseconds of one step."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(inputs)
    if device == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def working(step: Step, inputs: Inputs, device: str, steps: int = 3) -> float:
    """Return the milliseconds for which the GPU works on a step."""
    if device != "cuda":
        return 0.0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as found:
        for _ in range(steps):
            step(inputs)
        torch.cuda.synchronize()
    total: float = sum(one.self_device_time_total for one in found.key_averages())
    return total / 1000 / steps


def measure(
    steps: dict[str, Step], lengths: Tensor, options: argparse.Namespace, device: str
) -> list[dict[str, object]]:
    """Time all arms in turns."""
    sets = [peers.features(lengths, options.tokens, seed, device) for seed in range(SETS)]
    memory: dict[str, float] = {}
    for name, step in steps.items():
        for inputs in [*sets, sets[0]]:  # a graph is captured at the second
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            begin = time.perf_counter()
            step(inputs)
            if device == "cuda":
                memory[name] = torch.cuda.max_memory_allocated() / 2**30
            print(name, round(time.perf_counter() - begin, 1), "s", flush=True)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for run in range(options.runs):
        for name, step in steps.items():
            times[name].append(timed(step, sets[run % SETS], device))
    seconds = float(lengths.sum()) * peers.FRAME_SECONDS
    medians = {name: statistics.median(found) for name, found in times.items()}
    works = {name: working(step, sets[0], device) for name, step in steps.items()}
    best = min((ms for name, ms in medians.items() if name.startswith("peer")), default=0.0)
    return [
        {
            "arm": name,
            "ms": round(medians[name], 2),
            "least_ms": round(min(times[name]), 2),
            "gpu_ms": round(works[name], 2),
            "audio_seconds_per_second": round(1000 * seconds / medians[name]),
            "faster_than_best_peer": round(best / medians[name], 3),
            "peak_gib_of_all_arms": round(memory.get(name, 0.0), 2),
        }
        for name in steps
    ]


def main() -> None:
    """Measure full and ragged batches, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--tokens", type=int, default=80)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--layers", type=int, default=0, help="0 for the size's own")
    parser.add_argument(
        "--arms",
        nargs="+",
        default=ARMS,
        choices=ARMS,
    )
    parser.add_argument("--profile", action="store_true", help="print what the time goes into")
    options = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # for the agreement; the steps are in BF16
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checked = agreement(options, device)
    print(checked, flush=True)
    steps = arms(options, device)
    frames = int(options.seconds / peers.FRAME_SECONDS)
    rows = {}
    for name, lengths in {
        "full": torch.full((options.batch,), frames),
        "ragged": torch.linspace(frames // 4, frames, options.batch).long(),
    }.items():
        rows[name] = measure(steps, lengths, options, device)
        for row in rows[name]:
            print(name, row, flush=True)
        if options.profile:
            profile(steps, lengths, options, device)
    if options.output:
        result = {
            "command": " ".join(
                ["python packages/conformer/benchmarks/train_step.py"] + sys.argv[1:]
            ),
            "gpu": torch.cuda.get_device_name() if device == "cuda" else "none",
            "machine": machine(),
            "versions": {name: version(name) for name in ("torch", "triton", "transformers")},
            "agreement": checked,
            "dropout": options.dropout,
            "rows": rows,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def profile(
    steps: dict[str, Step], lengths: Tensor, options: argparse.Namespace, device: str
) -> None:
    """Print the kernels that take the time of each arm."""
    inputs = peers.features(lengths, options.tokens, 0, device)
    for name, step in steps.items():
        with torch.profiler.profile() as found:
            step(inputs)
            step(inputs)
        events = found.key_averages()
        key = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
        print(name)
        print(events.table(sort_by=key, row_limit=30, max_name_column_width=90))


if __name__ == "__main__":
    main()
