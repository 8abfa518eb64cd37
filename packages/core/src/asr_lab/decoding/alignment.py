"""Forced alignment: when each token of a known text is said, by Viterbi over the CTC lattice."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from asr_lab.losses.ctc_lattice import lattice
from asr_lab.utils.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Where the tokens of one utterance lie on its most probable path."""

    starts: tuple[int, ...]
    """First encoder step of each token."""
    ends: tuple[int, ...]
    """Encoder step after the last of each token."""
    score: float
    """Log probability of the path."""


@torch.inference_mode()
def ctc_align(
    log_probs: Float[Tensor, "batch steps scores"],
    lengths: Int[Tensor, " batch"],
    tokens: Int[Tensor, "batch tokens"],
    token_lengths: Int[Tensor, " batch"],
    blank_id: int,
) -> list[Alignment]:
    """Return the most probable alignment of each utterance's tokens.

    Of equally probable paths, the one is taken that stays longest in what comes later. Raises
    UserError, naming the first utterance by its place, if tokens do not fit into the encoder
    steps. Source: Graves and others (2006), section 4.1, with the maximum in place of the sum.
    """
    device = log_probs.device
    lengths, token_lengths = lengths.to(device).long(), token_lengths.to(device).long()
    tokens = tokens.to(device).long()
    _check_fit(lengths, tokens, token_lengths)
    if not len(lengths):
        return []
    labels, may_skip = lattice(tokens, token_lengths, blank_id)
    moves, final = _forward(log_probs, lengths, labels, may_skip)
    last = 2 * token_lengths
    ends = torch.stack([last, (last - 1).clamp(min=0)], 1)
    score, place = final.gather(1, ends).max(1)
    states = _backtrack(moves, ends.gather(1, place[:, None])[:, 0], lengths)
    rows = zip(states.T.tolist(), lengths.tolist(), token_lengths.tolist(), score, strict=True)
    return [_runs(row[:steps], count, float(total)) for row, steps, count, total in rows]


def _check_fit(
    lengths: Int64[Tensor, " batch"],
    tokens: Int64[Tensor, "batch tokens"],
    token_lengths: Int64[Tensor, " batch"],
) -> None:
    """Raise UserError for the first utterance with too few encoder steps."""
    places = torch.arange(1, max(tokens.shape[1], 1), device=tokens.device)
    inside = places < token_lengths[:, None]
    repeats = ((tokens[:, 1:] == tokens[:, :-1]) & inside).sum(1)
    for index, bad in enumerate((token_lengths + repeats > lengths).tolist()):
        if bad:
            count, repeated = int(token_lengths[index]), int(repeats[index])
            raise UserError(
                f"utterance {index} of the batch cannot be aligned: its {count} tokens need"
                f" {count + repeated} encoder steps, and it has {int(lengths[index])};"
                " check that text and audio belong together"
            )


def _forward(
    log_probs: Float[Tensor, "batch steps scores"],
    lengths: Int64[Tensor, " batch"],
    labels: Int64[Tensor, "batch states"],
    may_skip: Bool[Tensor, "batch states"],
) -> tuple[Int64[Tensor, "steps batch states"], Float[Tensor, "batch states"]]:
    """Return how many states each best path came from below, and its score at the end."""
    batch, steps, _ = log_probs.shape
    best = log_probs.new_full(labels.shape, -torch.inf)
    best[:, 0] = 0.0  # before the first step: one step leads to the first blank or token
    moves = []
    for step in range(steps):
        lower = torch.nn.functional.pad(best, (2, 0), value=-torch.inf)
        skipped = lower[:, :-2].masked_fill(~may_skip, -torch.inf)
        came, move = torch.stack([best, lower[:, 1:-1], skipped]).max(0)
        scored = came + log_probs[:, step].gather(1, labels)
        best = torch.where((step < lengths)[:, None], scored, best)
        moves.append(move)
    return torch.stack(moves) if moves else labels.new_zeros(0, *labels.shape), best


def _backtrack(
    moves: Int64[Tensor, "steps batch states"],
    state: Int64[Tensor, " batch"],
    lengths: Int64[Tensor, " batch"],
) -> Int64[Tensor, "steps batch"]:
    """Return the state of each best path at every step; what is behind a length means nothing."""
    states = moves.new_zeros(moves.shape[:2])
    for step in range(len(moves) - 1, -1, -1):
        states[step] = state
        move = moves[step].gather(1, state[:, None])[:, 0]
        state = torch.where(step < lengths, state - move, state)
    return states


def _runs(states: list[int], tokens: int, score: float) -> Alignment:
    """Turn the states of a path into starts and ends of its tokens."""
    starts, ends = [0] * tokens, [0] * tokens
    for step, state in enumerate(states):
        if state % 2:
            token = state // 2
            if not ends[token]:
                starts[token] = step
            ends[token] = step + 1
    return Alignment(starts=tuple(starts), ends=tuple(ends), score=score)
