"""Count how near to ties random transducers decide, and what rounding makes of it; on any device.

    python packages/conformer/benchmarks/near_ties.py docs/results/near-ties.json --layers 1

The weights and features are those of `transducer_decoding.py`, where two searches that round
differently found other tokens in one utterance of 170. A search in FP64 tells each utterance's
least difference of the two best scores; the search that is measured runs in FP32, and once more
with the LSTM's weights and inputs rounded to TF32, as cuDNN would round them if it were let.
"""

import argparse
import json
import sys
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch
from decisions import decide
from torch import Tensor
from transducer_decoding import batch, prepare, tokens_of, tune

from asr_lab.decoding.transducer import transducer_greedy
from asr_lab.layers.transducer import TransducerHead
from asr_lab.models.base import DecodingOptions
from asr_lab.reproducibility.environment import machine

BELOW = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 1e-2)


@torch.no_grad()
def shortened(transducer: TransducerHead) -> TransducerHead:
    """Return a transducer whose LSTM has 10 bits of mantissa in its weights and its inputs."""
    found = deepcopy(transducer)
    for name, weight in (*found.lstm.named_parameters(), ("weight", found.embedding.weight)):
        if "weight" in name:
            bits = weight.contiguous().view(torch.int32)
            weight.copy_(((bits + 0x1000) & ~0x1FFF).view(torch.float32))
    return found


@torch.inference_mode()
def measure(options: argparse.Namespace, device: str) -> dict[str, object]:
    """Return the figures of one kind of transducer."""
    theirs = prepare(options.kind, options, device)
    model, rate = tune(theirs, options.kind, options, device)
    transducer = model.transducer
    assert transducer is not None
    exact, short = deepcopy(transducer).double(), shortened(transducer)
    least: list[Tensor] = []
    in_fp32 = in_tf32 = 0
    for seed in range(options.sets):
        encoded = model.encoder(batch(seed, options, device)[0].features)
        projected = transducer.project(encoded.sequences.values).double()
        found = decide(exact, replace(encoded.sequences, values=projected))
        least.append(found.least)
        for low in (False, True):
            head = short if low else transducer
            texts = tokens_of(transducer_greedy(head, encoded, DecodingOptions()))
            wrong = sum(one != other for one, other in zip(texts, found.tokens, strict=True))
            in_fp32, in_tf32 = in_fp32 + wrong * (not low), in_tf32 + wrong * low
    gaps = torch.cat(least)
    return {
        "kind": options.kind,
        "tokens_per_second": round(rate, 2),
        "utterances": len(gaps),
        "least_gap": float(gaps.min()),
        "median_least_gap": float(gaps.median()),
        "below": {f"{bound:g}": int((gaps < bound).sum()) for bound in BELOW},
        "other_text_in_fp32": in_fp32,
        "other_text_with_an_lstm_in_tf32": in_tf32,
    }


def main() -> None:
    """Measure, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--kind", default="rnnt", choices=["rnnt", "tdt"])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--rate", type=float, default=3.0, help="tokens a second of audio")
    parser.add_argument("--sets", type=int, default=4)
    parser.add_argument("--layers", type=int, default=0, help="0 for the size's own")
    options = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() else "cpu"
    script = "python packages/conformer/benchmarks/near_ties.py"
    result = {
        "command": " ".join([script, *sys.argv[1:]]),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "machine": machine(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        **measure(options, device),
    }
    print(json.dumps(result, indent=2))
    if options.output:
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
