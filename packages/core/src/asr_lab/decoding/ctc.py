"""Greedy search over CTC scores: the best path, repetitions merged and blanks removed."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from asr_lab.models.base.outputs import Hypothesis


def ctc_greedy(
    log_probs: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    blank_id: int,
) -> list[Hypothesis]:
    """Return the labels of the most probable path of each utterance, and when each starts.

    The score is the path's log probability, which bounds that of the labels from below. Steps
    behind an utterance's length are never looked at. Source: Graves and others (2006), 3.2.
    """
    batch, steps, _ = log_probs.shape
    if not batch or not steps:
        return [Hypothesis(tokens=(), score=0.0) for _ in range(batch)]
    best, path = log_probs.max(-1)
    inside = torch.arange(steps, device=path.device) < lengths.to(path.device)[:, None]
    before = torch.nn.functional.pad(path[:, :-1], (1, 0), value=blank_id)
    starts = inside & (path != blank_id) & (path != before)
    scores = torch.where(inside, best, 0.0).sum(-1).tolist()
    _, times = starts.nonzero(as_tuple=True)
    counts = starts.sum(-1).tolist()
    found = zip(path[starts].split(counts), times.split(counts), scores, strict=True)
    return [
        Hypothesis(
            tokens=tuple(tokens.tolist()), score=score, times=tuple(map(float, start.tolist()))
        )
        for tokens, start, score in found
    ]
