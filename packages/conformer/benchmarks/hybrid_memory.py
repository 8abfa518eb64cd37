"""Measure the memory of a training step of the large hybrid RNN-T + CTC, on this machine's GPU.

    python packages/conformer/benchmarks/hybrid_memory.py docs/results/hybrid-memory.json

40 utterances of 16 s and 80 tokens, vocabulary of 1,024 and the blank, BF16, AdamW with its states,
dropout 0.1, after three steps, each arm in a fresh process. `ctc` has no transducer; `materialised`
computes the transducer's logits of all pairs and torchaudio's loss instead of the fused one.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import peers
import torch
import torchaudio

from asr_lab.layers.transducer import TransducerHead
from asr_lab.models.base import Batch
from asr_lab.models.base.outputs import LossPart, LossParts, total_loss
from asr_lab.models.conformer import ConformerASRModel, ConformerConfig
from asr_lab.reproducibility.environment import machine

BATCH, FRAMES, TOKENS, STEPS = 40, 1600, 80, 3
ARMS = ("ctc", "hybrid", "materialised")


class Materialised(ConformerASRModel):
    """The hybrid with a loss that holds the logits of every pair of step and position."""

    def loss(self, batch: Batch) -> LossParts:
        """Return both losses."""
        encoded, transducer = self.encoder(batch.features), self.transducer
        assert isinstance(transducer, TransducerHead) and self.head is not None
        projected = transducer.project(encoded.sequences.values)
        predicted = self._predict(transducer, batch.tokens, batch.token_lengths)
        total = torchaudio.functional.rnnt_loss(
            transducer.joint(projected, predicted),
            batch.tokens.int(),
            encoded.sequences.lengths.int(),
            batch.token_lengths.int(),
            blank=self.config.blank_id,
            reduction="sum",
        )
        scores = self.head.log_probs(encoded).transpose(0, 1)
        lengths = encoded.sequences.lengths
        ctc = torch.nn.functional.ctc_loss(
            scores, batch.tokens, lengths, batch.token_lengths, self.config.blank_id, "sum"
        )
        return {
            "rnnt": LossPart(sum=total, count=len(batch), weight=1 - self.heads.ctc_weight),
            "ctc": LossPart(sum=ctc, count=len(batch), weight=self.heads.ctc_weight),
        }


def measure(arm: str, compile_it: bool) -> dict[str, object]:
    """Train a few steps and return the peak of allocated memory."""
    base = replace(ConformerConfig.large(), positions="rotary", norm="layer", vocab=peers.VOCAB)
    config = replace(base, head="ctc" if arm == "ctc" else "rnnt+ctc", dropout=0.1)
    model = (Materialised if arm == "materialised" else ConformerASRModel)(config).cuda().train()
    if compile_it:
        for region in model.regions:
            region.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    counts = dict.fromkeys(model.decoders, BATCH)
    for seed in range(STEPS):
        batch, _ = peers.features(torch.full((BATCH,), FRAMES), TOKENS, seed, "cuda")
        with torch.autocast("cuda", torch.bfloat16):
            loss = total_loss(model.loss(batch), counts)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    gib = 2**30
    return {
        "arm": arm,
        "compiled": compile_it,
        "loss": float(loss.detach()),
        "parameters": sum(one.numel() for one in model.parameters()),
        "peak_gib": round(torch.cuda.max_memory_allocated() / gib, 2),
        "reserved_gib": round(torch.cuda.max_memory_reserved() / gib, 2),
    }


def main() -> None:
    """Measure every arm in a process of its own, print, and write."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", type=Path)
    parser.add_argument("--arm", choices=ARMS, help="measure this one alone, here")
    parser.add_argument("--compile", action="store_true", help="compile the encoder")
    options = parser.parse_args()
    if options.arm:
        print(json.dumps(measure(options.arm, options.compile)))
        return
    rows = []
    flags = ["--compile"] if options.compile else []
    for arm in ARMS:
        command = [sys.executable, __file__, "--arm", arm, *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    if options.output:
        result = {
            "command": "python packages/conformer/benchmarks/hybrid_memory.py",
            "gpu": torch.cuda.get_device_name(),
            "machine": machine(),
            "versions": {name: version(name) for name in ("torch", "torchaudio", "triton")},
            "shape": {"batch": BATCH, "frames": FRAMES, "tokens": TOKENS, "vocab": peers.VOCAB + 1},
            "rows": rows,
        }
        options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
