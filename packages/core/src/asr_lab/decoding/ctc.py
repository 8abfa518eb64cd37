"""Greedy search over CTC scores: the best path, repetitions merged and blanks removed."""

from collections.abc import Sequence

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

    The score is the path's log probability, which bounds that of the labels, the likelihood, from
    below. Steps behind an utterance's length are never looked at. Source: Graves and others
    (2006), 3.2.
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
    texts = path[starts].split(counts)
    likelihoods = ctc_likelihoods(log_probs, lengths, texts, blank_id)
    found = zip(texts, times.split(counts), scores, likelihoods, strict=True)
    return [
        Hypothesis(
            tokens=tuple(tokens.tolist()),
            score=score,
            times=tuple(map(float, start.tolist())),
            likelihood=likelihood,
        )
        for tokens, start, score, likelihood in found
    ]


def ctc_likelihoods(
    log_probs: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    texts: Sequence[Int[Tensor, " _"]],
    blank_id: int,
) -> list[float]:
    """Return the log probability of each utterance's tokens over all alignments (section 4.1)."""
    nothing = log_probs.new_zeros(1, dtype=torch.long)  # an empty row breaks torch's kernels
    labels = torch.nn.utils.rnn.pad_sequence([*texts, nothing], batch_first=True)[:-1]
    with torch.autocast(log_probs.device.type, enabled=False):
        loss = torch.nn.functional.ctc_loss(
            log_probs.transpose(0, 1),
            labels,
            lengths.to(log_probs.device, torch.long),
            torch.tensor([len(text) for text in texts], device=log_probs.device),
            blank=blank_id,
            reduction="none",
        )
    found: list[float] = loss.neg().tolist()
    return found
