"""How near a tie a greedy search of a transducer comes: what rounding may and may not decide."""

from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from asr_lab.decoding.transducer_step import keep_state
from asr_lab.layers.transducer import TransducerHead
from asr_lab.models.base import Batch, EncoderOutput, Sequences
from asr_lab.models.conformer import ConformerASRModel


class Decisions(NamedTuple):
    """What was decided for each utterance, and how clearly."""

    tokens: list[tuple[int, ...]]
    least: Tensor
    """Least difference of the two best scores at any decision of an utterance, in nats."""
    bounded: Tensor
    """True where the most tokens that one step may have were said at a step."""


class Clear(NamedTuple):
    """A batch in which nothing is decided near a tie."""

    ours: Batch
    theirs: dict[str, Tensor]
    encoded: EncoderOutput
    texts: list[tuple[int, ...]]
    """What a search in FP64 finds in `encoded`."""
    least: float
    """Least difference of the two best scores at any decision, in nats."""
    drawn: int
    """Utterances that were looked at."""
    near: int
    """Of these, utterances that come nearer to a tie than was asked for."""
    bounded: int
    """Of these, others that reach the most tokens of a step: the peer's TDT knows no such bound."""


@torch.inference_mode()
def clear_batch(
    model: ConformerASRModel, drawn: tuple[Batch, dict[str, Tensor]], count: int, bound: float
) -> Clear:
    """Return the first `count` utterances whose decisions are all clear by `bound` nats."""
    ours, theirs = drawn
    assert model.transducer is not None
    encoded = model.encoder(ours.features)
    projected = model.transducer.project(encoded.sequences.values)
    exact = replace(encoded.sequences, values=projected.double())
    found = decide(deepcopy(model.transducer).double(), exact)
    clear = found.least >= bound
    near, stopped = int((~clear).sum()), int((clear & found.bounded).sum())
    rows = (clear & ~found.bounded).nonzero()[:count, 0]
    told = f"{near} of {len(clear)} utterances are near a tie, {stopped} at the bound of a step"
    assert len(rows) == count, told
    return Clear(
        Batch(
            features=pick(ours.features, rows),
            tokens=ours.tokens[rows],
            token_lengths=ours.token_lengths[rows],
        ),
        {name: one[rows] for name, one in theirs.items()},
        EncoderOutput(pick(encoded.sequences, rows)),
        [found.tokens[row] for row in rows.tolist()],
        float(found.least[rows].min()),
        len(found.least),
        near,
        stopped,
    )


def pick(sequences: Sequences, rows: Tensor) -> Sequences:
    """Return some utterances, as widely padded."""
    return Sequences(sequences.values[rows], sequences.lengths[rows])


@torch.inference_mode()
def decide(transducer: TransducerHead, projected: Sequences, max_symbols: int = 10) -> Decisions:
    """Search `projected` steps one decision after the other, in the precision of the weights.

    Hardly any code is that of the search which is measured; one encoder step is scored at a time.
    """
    values, lengths = projected.values, projected.lengths.to(projected.values.device)
    rows = torch.arange(len(values), device=values.device)
    durations = torch.tensor(transducer.durations or (0,), device=values.device)
    blank = transducer.blank_id
    predicted, state = transducer.predict(torch.full_like(rows, blank)[:, None])
    time, symbols = torch.zeros_like(rows), torch.zeros_like(rows)
    least = torch.full_like(values[:, 0, 0], torch.inf)
    bounded, said = torch.zeros_like(rows, dtype=torch.bool), list[Tensor]()
    while (active := time < lengths).any():
        cells = values[rows, time.clamp(max=values.shape[1] - 1), None]
        labels, rest = transducer.joint(cells, predicted)[:, 0, 0].tensor_split([blank + 1], -1)
        tokens, gap = labels.argmax(-1), gap_of(labels)
        jumps = torch.zeros_like(rows)
        if transducer.durations:
            jumps, gap = durations[rest.argmax(-1)], torch.minimum(gap, gap_of(rest))
        least = torch.where(active, torch.minimum(least, gap), least)
        emits = active & (tokens != blank)
        symbols = torch.where(jumps == 0, symbols + 1, 0)
        bounded |= emits & (symbols >= max_symbols)
        stays = (tokens != blank) & (symbols < max_symbols)
        jumps = torch.where(stays, jumps, jumps.clamp(min=1))
        symbols = torch.where(jumps == 0, symbols, 0)
        time = torch.where(active, time + jumps, time)
        said.append(torch.where(emits, tokens, -1))
        fed = torch.where(emits, tokens, blank)[:, None]
        after, new = transducer.predict(fed, state)
        predicted = torch.where(emits[:, None, None], after, predicted)
        state = keep_state(emits, new, state)
    texts = torch.stack(said, 1).tolist() if said else [[] for _ in rows]
    return Decisions([tuple(token for token in row if token >= 0) for row in texts], least, bounded)


def gap_of(scores: Tensor) -> Tensor:
    """Return the difference of the two best."""
    best = scores.topk(2, -1).values
    return best[..., 0] - best[..., 1]
