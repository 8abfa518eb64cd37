"""Measure greedy transducer search: ours, with and without CUDA graphs, against a plain loop.

    python packages/core/benchmarks/decoding.py docs/results/decoding.json

The decoder has the sizes of the large Fast Conformer: an LSTM of 640, a joint network of 640 and
1024 tokens, with random weights. A bias of the blank makes it emit the asked number of tokens a
second. `frames` is the usual loop over encoder steps and labels of a batch, one decision a turn.
All three must find the same tokens; times are medians over batches, and each batch is another.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from asr_lab.decoding.transducer import transducer_greedy
from asr_lab.decoding.transducer_step import keep_state
from asr_lab.models.base import (
    DecodingOptions,
    EncoderOutput,
    Hypothesis,
    Sequences,
    State,
    TransducerDecoder,
)
from asr_lab.reproducibility.environment import machine

DIM, HIDDEN, VOCAB, STEP_SECONDS, SECONDS = 512, 640, 1024, 0.08, 16.0
DURATIONS = {"rnnt": (), "tdt": (0, 1, 2, 3, 4)}
Search = Callable[[TransducerDecoder, EncoderOutput], list[tuple[int, ...]]]


class Decoder(TransducerDecoder):
    """A prediction network and a joint network of the large Fast Conformer's sizes."""

    def __init__(self, durations: tuple[int, ...]) -> None:
        """Draw weights."""
        super().__init__()
        self.blank_id, self.durations = VOCAB, durations
        self.encoder_side = nn.Linear(DIM, HIDDEN)
        self.embedding = nn.Embedding(VOCAB + 1, HIDDEN)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.predictor_side = nn.Linear(HIDDEN, HIDDEN)
        self.output = nn.Linear(HIDDEN, VOCAB + 1 + len(durations))
        with torch.no_grad():
            self.encoder_side.weight.mul_(3)
            self.output.weight.mul_(3)

    def project(
        self, encoder_steps: Float[Tensor, "batch steps dim"]
    ) -> Float[Tensor, "batch steps hidden"]:
        """Return the encoder's part of the joint."""
        projected: Tensor = self.encoder_side(encoder_steps)
        return projected

    def predict(
        self, tokens: Int[Tensor, "batch tokens"], state: State
    ) -> tuple[Float[Tensor, "batch tokens hidden"], State]:
        """Run the LSTM; its state has the batch first."""
        before = None
        if isinstance(state, tuple):
            hidden, cell = state
            assert isinstance(hidden, Tensor) and isinstance(cell, Tensor)
            before = (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())
        found, (hidden, cell) = self.lstm(self.embedding(tokens), before)
        return self.predictor_side(found), (hidden.transpose(0, 1), cell.transpose(0, 1))

    def joint(
        self,
        projected: Float[Tensor, "batch steps hidden"],
        predicted: Float[Tensor, "batch tokens hidden"],
    ) -> Float[Tensor, "batch steps tokens scores"]:
        """Score every pair."""
        logits: Tensor = self.output((projected[:, :, None] + predicted[:, None]).relu())
        return logits.float()


@torch.inference_mode()
def frame_loop(decoder: TransducerDecoder, encoded: EncoderOutput) -> list[tuple[int, ...]]:
    """Take one decision for every utterance in each turn, until all have reached their end."""
    lengths = encoded.sequences.lengths
    projected, blank = decoder.project(encoded.sequences.values), decoder.blank_id
    time_, symbols = torch.zeros_like(lengths), torch.zeros_like(lengths)
    durations = torch.tensor(decoder.durations, device=lengths.device)
    rows, history = torch.arange(len(lengths), device=lengths.device), []
    fed = torch.full((len(lengths), 1), blank, device=lengths.device)
    predicted, state = decoder.predict(fed, None)
    while bool((time_ < lengths).any()):
        steps = projected[rows, time_.clamp(max=projected.shape[1] - 1)][:, None]
        logits = decoder.joint(steps, predicted)[:, 0, 0]
        token = logits[:, : blank + 1].argmax(-1)
        said = (token != blank) & (time_ < lengths)
        jump = (token == blank).long()
        if len(durations):
            jump = torch.maximum(jump, durations[logits[:, blank + 1 :].argmax(-1)])
        symbols = torch.where(jump == 0, symbols + said, 0)
        jump = torch.where(symbols >= 10, 1, jump)
        symbols = torch.where(jump == 0, symbols, 0)
        history.append(torch.where(said, token, -1))
        time_ = time_ + jump
        new, after = decoder.predict(torch.where(said, token, blank)[:, None], state)
        predicted = torch.where(said[:, None, None], new, predicted)
        state = keep_state(said, after, state)
    return [tuple(t for t in row if t >= 0) for row in torch.stack(history, 1).tolist()]


def ours(options: DecodingOptions) -> Search:
    """Return our search as a function from batch to tokens."""

    def search(decoder: TransducerDecoder, encoded: EncoderOutput) -> list[tuple[int, ...]]:
        found: list[Hypothesis] = transducer_greedy(decoder, encoded, options)
        return [hypothesis.tokens for hypothesis in found]

    return search


def batches(size: int, count: int, device: str, dtype: torch.dtype) -> list[EncoderOutput]:
    """Return random encodings of utterances of 12 to 16 s, another for each turn."""
    found = []
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        steps = int(SECONDS / STEP_SECONDS)
        lengths = torch.randint(3 * steps // 4, steps + 1, (size,), generator=generator)
        lengths[0] = steps
        values = torch.randn(size, steps, DIM, generator=generator)
        found.append(EncoderOutput(Sequences(values.to(device, dtype), lengths.to(device))))
    return found


def bias_blank(decoder: Decoder, encoded: EncoderOutput, rate: float) -> float:
    """Set the blank's bias by bisection so that `rate` tokens a second come out; return that."""
    search, low, high, found = ours(DecodingOptions(cuda_graphs=False)), 0.0, 60.0, 0.0
    seconds = float(encoded.sequences.lengths.sum()) * STEP_SECONDS
    for _ in range(18):
        with torch.no_grad():
            decoder.output.bias[VOCAB] = (low + high) / 2
        found = sum(map(len, search(decoder, encoded))) / seconds
        low, high = ((low + high) / 2, high) if found > rate else (low, (low + high) / 2)
    return found


def measure(kind: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Time every search on the same batches, in turns; refuse searches that disagree."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[options.precision]
    torch.manual_seed(0)
    decoder = Decoder(DURATIONS[kind]).to(device, dtype).eval()
    inputs = batches(options.batch, options.repeats, device, dtype)
    rate = bias_blank(decoder, inputs[0], options.rate)
    searches: dict[str, Search] = {
        "frames": frame_loop,
        "ours": ours(DecodingOptions(cuda_graphs=False)),
    }
    if device == "cuda":
        searches["ours, graph"] = ours(DecodingOptions())
    times: dict[str, list[float]] = {name: [] for name in searches}
    different = 0
    for turn, encoded in enumerate([inputs[0], *inputs]):  # the first is the warm-up
        results = []
        for name, search in searches.items():
            if device == "cuda":
                torch.cuda.synchronize()
            begin = time.perf_counter()
            results.append(search(decoder, encoded))
            if turn:
                times[name].append(1000 * (time.perf_counter() - begin))
        different += sum(len(set(found)) > 1 for found in zip(*results, strict=True))
    seconds = options.batch * SECONDS
    peer = statistics.median(times["frames"])
    return [
        {
            "kind": kind,
            "search": name,
            "tokens_per_second": round(rate, 2),
            "ms": round(statistics.median(found), 2),
            "audio_seconds_per_second": round(1000 * seconds / statistics.median(found)),
            "ratio": round(peer / statistics.median(found), 2),
            "utterances_that_differ": different,
        }
        for name, found in times.items()
    ]


def main() -> None:
    """Measure both kinds, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--kinds", nargs="+", default=list(DURATIONS), choices=list(DURATIONS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3.0, help="tokens a second of audio")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    rows = []
    for kind in options.kinds:
        for row in measure(kind, options):
            rows.append(row)
            print(row, flush=True)
    if options.output:
        result = {
            "command": " ".join(["python packages/core/benchmarks/decoding.py", *sys.argv[1:]]),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "precision": options.precision,
            "batch": options.batch,
            "machine": machine(),
            "versions": {name: version(name) for name in ("asr-lab-core", "torch")},
            "rows": rows,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
