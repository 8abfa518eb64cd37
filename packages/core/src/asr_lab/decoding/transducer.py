"""Greedy search over a transducer's scores, RNN-T or TDT, by label looping."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asr_lab.decoding.transducer_step import Encoded, advance, start, steps_left
from asr_lab.models.base.interfaces import TransducerDecoder
from asr_lab.models.base.options import DecodingOptions
from asr_lab.models.base.outputs import EncoderOutput, Hypothesis

Found: TypeAlias = tuple[Int64[Tensor, "looks batch 3"], Float[Tensor, " batch"]]
"""Token (-1 for none), encoder step and duration of every look, and log probabilities."""
Run: TypeAlias = Callable[[TransducerDecoder, Encoded, int], Found]


@torch.inference_mode()
def transducer_greedy(
    decoder: TransducerDecoder,
    encoder_output: EncoderOutput,
    options: DecodingOptions,
    run: Run | None = None,
) -> list[Hypothesis]:
    """Take the most probable token at each encoder step until that is the blank, then move on.

    A token-and-duration transducer (Xu and others, 2023, arXiv 2304.06795) moves on by the most
    probable duration, and by 1 where that is 0 for a blank. Label looping (Bataev and others,
    2024, arXiv 2406.06220): the loop is over labels of the whole batch; a window of encoder steps
    is scored at once to pass over the blanks between them. The score is the log probability of the
    path. `run` is the loop; None chooses the one that fits the device.
    """
    sequences = encoder_output.sequences
    batch, steps, _ = sequences.values.shape
    if not batch or not steps:
        return [Hypothesis(tokens=(), score=0.0) for _ in range(batch)]
    durations = torch.tensor(decoder.durations, dtype=torch.int64)
    encoded = Encoded(
        decoder.project(sequences.values),
        sequences.lengths.to(sequences.values.device, torch.int64),
        durations.to(sequences.values.device),
    )
    records, scores = (run or run_eagerly)(decoder, encoded, options.max_symbols)
    return _hypotheses(records, scores, timed=bool(decoder.durations))


def run_eagerly(decoder: TransducerDecoder, encoded: Encoded, max_symbols: int) -> Found:
    """Run the loop operation by operation; the host looks at the device as rarely as it can."""
    progress = start(decoder, encoded)
    records = []
    while count := steps_left(decoder, encoded, progress):
        for _ in range(count):
            progress, record = advance(decoder, encoded, progress, max_symbols)
            records.append(record)
    looks = encoded.lengths.new_zeros(0, len(encoded.lengths), 3)
    return torch.stack(records) if records else looks, progress.score


def _hypotheses(
    records: Int64[Tensor, "looks batch 3"], scores: Float[Tensor, " batch"], *, timed: bool
) -> list[Hypothesis]:
    """Collect each utterance's tokens; `timed` says whether durations mean anything."""
    rows = records.transpose(0, 1).tolist()
    found = []
    for row, score in zip(rows, scores.tolist(), strict=True):
        emitted = [record for record in row if record[0] >= 0]
        ends = tuple(float(time + duration) for _, time, duration in emitted) if timed else ()
        found.append(
            Hypothesis(
                tokens=tuple(token for token, _, _ in emitted),
                score=score,
                times=tuple(float(time) for _, time, _ in emitted),
                ends=ends,
            )
        )
    return found
