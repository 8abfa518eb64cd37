"""Measure greedy transducer search against transformers' `ParakeetForRNNT/TDT.generate`.

    python packages/conformer/benchmarks/transducer_decoding.py OUTPUT.json --kinds rnnt

The large size with random weights in FP32, 32 utterances of 12 to 16 s. The projection of the
encoder is whitened, and the blank's bias found by bisection, so that the asked number of tokens a
second comes out. `loop` is the search alone: the peer's `generate` is given the encoder's output,
and every token must be the same. `whole` starts from features; there the encoders' rounding
differs, too, and utterances whose tokens differ are counted. Times are medians over batches.

Random weights come arbitrarily near a tie, where rounding decides. A search in FP64 therefore goes
first (`decisions.py`): of each batch that is drawn, utterances stay whose two best scores differ by
`--bound` at least wherever something is decided, and its text must come out everywhere.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import peers
import torch
from decisions import Clear, clear_batch
from torch import Tensor

from asr_lab.decoding.transducer import transducer_greedy
from asr_lab.models.base import Batch, DecodingOptions, EncoderOutput, Hypothesis
from asr_lab.models.conformer import ConformerASRModel
from asr_lab.reproducibility.environment import machine

Texts = list[tuple[int, ...]]
Search = Callable[[int], Texts]
"""Recognises the batch of that number."""
STEP_SECONDS = 0.08
LONGEST = 4000
"""Tokens and blanks that the peer may say: more than an utterance has."""
OFTEN, RARELY = ("loop, peer", "loop, ours"), 25
"""Ways that run in every turn, and in every which the others do."""
DURATION_BIAS = (-3.0, 1.0, 0.0, -1.0, -2.0)


@torch.no_grad()
def whiten(model: peers.Peer, values: Tensor) -> None:
    """Give the projected encoder steps, which random weights make alike, a spread of 1 each way."""
    centred = values.double() - values.double().mean(0)
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    size = model.encoder_projector.out_features
    wide = spread > 3e-2 * spread[0]  # a narrower direction would bring rounding to the surface
    kept = directions[wide][:size] / spread[wide, None][:size] * len(values) ** 0.5
    weight = torch.zeros(size, kept.shape[1], dtype=torch.float64, device=values.device)
    weight[: len(kept)] = kept
    mixed, _ = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, device=values.device))
    weight = mixed @ weight
    model.encoder_projector.weight.copy_(weight)
    model.encoder_projector.bias.copy_(-weight @ values.double().mean(0))


@torch.no_grad()
def prepare(kind: peers.Kind, options: argparse.Namespace, device: str) -> peers.Peer:
    """Return a peer that will emit text."""
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": options.layers} if options.layers else {}
    model = peers.peer(kind, dropout=0.0, **sizes).to(device).eval()
    model.generation_config.decoder_start_token_id = peers.VOCAB
    _, theirs = batch(0, options, device)
    encoded = model.encoder(theirs["input_features"], theirs["attention_mask"])
    whiten(model, encoded.last_hidden_state[encoded.attention_mask.bool()])
    for weight in (model.decoder.embedding.weight, model.joint.head.weight):
        weight.copy_(torch.randn_like(weight))
    model.joint.head.weight.mul_(3 * 640**-0.5)
    model.decoder.decoder_projector.weight.mul_(2)
    model.joint.head.bias.zero_()
    model.joint.head.bias[peers.VOCAB + 1 :] = -40.0
    if kind == "tdt":
        model.joint.head.weight[peers.VOCAB + 1 :] *= 0.3
        model.joint.head.bias[peers.VOCAB + 1 :] += torch.tensor(DURATION_BIAS, device=device)
    return model


def batch(
    seed: int, options: argparse.Namespace, device: str, spare: int = 0
) -> tuple[Batch, dict[str, Tensor]]:
    """Return random features of 12 to 16 s, of `spare` utterances more than a batch has."""
    generator = torch.Generator().manual_seed(1000 + seed)
    frames, count = int(options.seconds / peers.FRAME_SECONDS), options.batch + spare
    lengths = torch.randint(3 * frames // 4, frames + 1, (count,), generator=generator)
    lengths[0] = frames
    return peers.features(lengths, 4, seed, device)


def tokens_of(found: list[Hypothesis]) -> Texts:
    """Return what was recognised."""
    return [hypothesis.tokens for hypothesis in found]


@torch.no_grad()
def tune(
    theirs: peers.Peer, kind: peers.Kind, options: argparse.Namespace, device: str
) -> tuple[ConformerASRModel, float]:
    """Set the blank's bias by bisection; return ours with those weights, and tokens a second."""
    model = peers.ours(theirs, kind, dropout=0.0).to(device).eval()
    assert model.transducer is not None
    inputs, _ = batch(0, options, device)
    encoded = model.encoder(inputs.features)
    seconds = float(encoded.sequences.lengths.sum()) * STEP_SECONDS
    low, high, rate = 0.0, 60.0, 0.0
    for _ in range(24):
        middle = (low + high) / 2
        model.transducer.out.bias[peers.VOCAB] = middle
        found = transducer_greedy(model.transducer, encoded, DecodingOptions())
        rate = sum(map(len, tokens_of(found))) / seconds
        low, high = (middle, high) if rate > options.rate else (low, middle)
        if abs(rate - options.rate) < 0.1:
            break
    theirs.joint.head.bias[peers.VOCAB] = model.transducer.out.bias[peers.VOCAB]
    return model, rate


def searches(
    theirs: peers.Peer, model: ConformerASRModel, inputs: list[Clear]
) -> dict[str, Search]:
    """Return all ways to recognise a batch."""
    transducer = model.transducer
    assert transducer is not None
    encoded = [one.encoded for one in inputs]
    ready = [ready_for(theirs, one) for one in encoded]
    whole = theirs.get_audio_features

    def generate(number: int, loop: bool) -> Texts:
        features = inputs[number].theirs
        theirs.get_audio_features = (lambda **_: ready[number]) if loop else whole
        found = theirs.generate(
            input_features=features["input_features"],
            attention_mask=features["attention_mask"],
            max_length=LONGEST,
        )
        rows = found.sequences[:, 1:].tolist()
        limits = encoded[number].sequences.lengths.tolist()
        return [
            until_the_end(row, durations, limit)
            for row, durations, limit in zip(
                rows, found.durations[:, 1:].tolist(), limits, strict=True
            )
        ]

    def loop(number: int, graphs: bool) -> Texts:
        options = DecodingOptions(cuda_graphs=graphs)
        return tokens_of(transducer_greedy(transducer, encoded[number], options))

    @torch.inference_mode()
    def transcribe(number: int) -> Texts:
        return tokens_of(model.transcribe(inputs[number].ours, DecodingOptions()))

    return {
        "loop, peer": lambda number: generate(number, True),
        "loop, ours without graph": lambda number: loop(number, False),
        "loop, ours": lambda number: loop(number, True),
        "whole, peer": lambda number: generate(number, False),
        "whole, ours": transcribe,
    }


@torch.inference_mode()
def ready_for(theirs: peers.Peer, encoded: EncoderOutput) -> SimpleNamespace:
    """Return our encoder's output as their search wants it."""
    sequences = encoded.sequences
    steps = torch.arange(sequences.values.shape[1], device=sequences.values.device)
    return SimpleNamespace(
        last_hidden_state=sequences.values,
        pooler_output=theirs.encoder_projector(sequences.values),
        attention_mask=(steps < sequences.lengths[:, None]).int(),
        hidden_states=None,
        attentions=None,
    )


def until_the_end(row: list[int], durations: list[int], limit: int) -> tuple[int, ...]:
    """Return the tokens that were said before the utterance's end."""
    found, place = [], 0
    for token, duration in zip(row, durations, strict=False):
        if place >= limit:
            break
        if token != peers.VOCAB:
            found.append(token)
        place += duration
    return tuple(found)


def measure(kind: peers.Kind, options: argparse.Namespace, device: str) -> list[dict[str, object]]:
    """Time every search on the same batches, in turns."""
    theirs = prepare(kind, options, device)
    model, rate = tune(theirs, kind, options, device)
    spare = options.batch
    inputs = [
        clear_batch(model, batch(seed, options, device, spare), options.batch, options.bound)
        for seed in range(options.sets)
    ]
    ways = searches(theirs, model, inputs)
    times: dict[str, list[float]] = {name: [] for name in ways}
    different = compared = 0
    kinds: set[int] = set()
    for turn in range(-1, options.runs):
        results, number = {}, max(turn, 0) % options.sets
        for name, way in ways.items():
            if turn > 0 and turn % RARELY and name not in OFTEN:
                continue
            if device == "cuda":
                torch.cuda.synchronize()
            begin = time.perf_counter()
            results[name] = way(number)
            if turn >= 0:
                times[name].append(1000 * (time.perf_counter() - begin))
        for name in (name for name in results if name.startswith("loop")):
            wrong = [
                row for row, text in enumerate(inputs[number].texts) if text != results[name][row]
            ]
            for row in wrong:
                print(f"FP64 {inputs[number].texts[row]}\n{name} {results[name][row]}", flush=True)
            assert not wrong, f"{kind}: {name} differs from FP64 in batch {number}, rows {wrong}"
        if "whole, ours" in results:
            texts = zip(results["whole, peer"], results["whole, ours"], strict=True)
            different += sum(one != other for one, other in texts)
            compared += options.batch
        kinds |= {token for text in results["loop, ours"] for token in text}
    seconds = options.batch * options.seconds
    medians = {name: statistics.median(found) for name, found in times.items()}
    said = {
        "utterances_that_differ": 0,
        "bound": options.bound,
        "least_gap": min(one.least for one in inputs),
        "drawn": sum(one.drawn for one in inputs),
        "near_a_tie": sum(one.near for one in inputs),
        "at_the_bound_of_a_step": sum(one.bounded for one in inputs),
    }
    return [
        {
            "kind": kind,
            "way": name,
            "ms": round(ms, 2),
            "audio_seconds_per_second": round(1000 * seconds / ms),
            "faster": round(medians[f"{name.split(',')[0]}, peer"] / ms, 2),
            "tokens_per_second": round(rate, 2),
            "kinds_of_tokens": len(kinds),
            "runs": len(times[name]),
            **(
                {"utterances": compared, "utterances_that_differ": different}
                if "whole" in name
                else said
            ),
        }
        for name, ms in medians.items()
    ]


def main() -> None:
    """Measure both kinds, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--kinds", nargs="+", default=["rnnt", "tdt"], choices=["rnnt", "tdt"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--rate", type=float, default=3.0, help="tokens a second of audio")
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--sets", type=int, default=8, help="batches that take turns")
    parser.add_argument("--layers", type=int, default=0, help="0 for the size's own")
    parser.add_argument(
        "--bound", type=float, default=1e-4, help="least gap of two scores, in nats"
    )
    options = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # of the LSTMs, too
    torch.set_float32_matmul_precision("highest")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for kind in options.kinds:
        for row in measure(kind, options, device):
            rows.append(row)
            print(row, flush=True)
    if options.output:
        script = "python packages/conformer/benchmarks/transducer_decoding.py"
        result = {
            "command": " ".join([script, *sys.argv[1:]]),
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "batch": options.batch,
            "machine": machine(),
            "versions": {name: version(name) for name in ("torch", "transformers")},
            "rows": rows,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
