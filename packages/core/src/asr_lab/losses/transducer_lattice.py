"""A transducer's lattice in plain torch: every path's probability, one anti-diagonal at a time."""

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from asr_lab.losses.transducer_settings import TransducerSettings

IMPOSSIBLE = float("-inf")


def edge_scores(
    blank: Float[Tensor, "batch steps positions"],
    token: Float[Tensor, "batch steps positions"],
    duration: Float[Tensor, "durations batch steps positions"],
    lengths: Int[Tensor, " batch"],
    token_lengths: Int[Tensor, " batch"],
    settings: TransducerSettings,
) -> Float64[Tensor, "edges batch steps positions"]:
    """Return the log probability of each edge out of each cell; -inf where there is none."""
    steps, positions = blank.shape[1:]
    step = torch.arange(steps, device=blank.device)[None, :, None]
    position = torch.arange(positions, device=blank.device)[None, None]
    ends, last = lengths[:, None, None], token_lengths[:, None, None]
    planes = []
    for edge in settings.edges:
        score = (token if edge.tokens else blank).double() - settings.sigma
        if edge.duration >= 0:
            score = score + duration[edge.duration]
        # A token lands before the end, and so does a blank, unless it is the last emission.
        lands = step + edge.steps < ends
        allowed = lands & (position < last) if edge.tokens else lands & (position <= last)
        if not edge.tokens:
            allowed = allowed | ((step + edge.steps == ends) & (position == last))
        planes.append(score.masked_fill(~allowed, IMPOSSIBLE))
    return torch.stack(planes)


def posteriors(
    edges: Float64[Tensor, "edges batch steps positions"],
    lengths: Int[Tensor, " batch"],
    token_lengths: Int[Tensor, " batch"],
    settings: TransducerSettings,
) -> tuple[Float64[Tensor, " batch"], Float64[Tensor, "edges batch steps positions"]]:
    """Return each utterance's log likelihood in nats, and how probable each edge is in a path.

    An utterance without a path has log likelihood -inf and probabilities of 0.
    """
    steps, positions = edges.shape[2:]
    alpha = _forward(edges, settings)
    beta = _backward(edges, lengths, token_lengths, settings)
    total = beta[:, 0, 0]
    found = []
    for plane, edge in zip(edges, settings.edges, strict=True):
        to = beta[:, edge.steps :, edge.tokens :]
        after = beta.new_full((len(beta), steps, positions), IMPOSSIBLE)
        reached = to[:, :steps, :positions]
        after[:, : reached.shape[1], : reached.shape[2]] = reached
        found.append(alpha[:, :steps] + plane + after - total[:, None, None])
    possible = (total > IMPOSSIBLE)[:, None, None]
    return total, torch.where(possible, torch.stack(found), IMPOSSIBLE).exp()


def log_likelihood(
    edges: Float64[Tensor, "edges batch steps positions"],
    lengths: Int[Tensor, " batch"],
    token_lengths: Int[Tensor, " batch"],
    settings: TransducerSettings,
) -> Float64[Tensor, " batch"]:
    """Return each utterance's log likelihood in nats; -inf if its text cannot be emitted."""
    return _backward(edges, lengths, token_lengths, settings)[:, 0, 0]


def _skew(
    plane: Float64[Tensor, "batch steps positions"], diagonals: int
) -> Float64[Tensor, "diagonals batch positions"]:
    """Return the anti-diagonals: entry (n, position) is cell (n - position, position)."""
    batch, steps, positions = plane.shape
    skewed = plane.new_full((diagonals, batch, positions), IMPOSSIBLE)
    for position in range(positions):
        skewed[position : position + steps, :, position] = plane[:, :, position].T
    return skewed


def _unskew(
    skewed: Float64[Tensor, "diagonals batch positions"], steps: int
) -> Float64[Tensor, "batch steps positions"]:
    columns = [skewed[place : place + steps, :, place].T for place in range(skewed.shape[2])]
    return torch.stack(columns, 2)


def _forward(
    edges: Float64[Tensor, "edges batch steps positions"], settings: TransducerSettings
) -> Float64[Tensor, "batch cells positions"]:
    """Return the log probability of all paths to each cell, with one more step for the end."""
    batch, steps, positions = edges.shape[1:]
    diagonals = steps + positions
    planes = [_skew(plane, diagonals) for plane in edges]
    alpha = edges.new_full((diagonals, batch, positions), IMPOSSIBLE)
    alpha[0, :, 0] = 0
    for number in range(1, diagonals):
        sums = alpha[number]
        for plane, edge in zip(planes, settings.edges, strict=True):
            start = number - edge.steps - edge.tokens
            if start < 0:
                continue
            arriving = alpha[start] + plane[start]
            if edge.tokens:
                arriving = arriving[:, :-1]
            sums[:, edge.tokens :] = torch.logaddexp(sums[:, edge.tokens :], arriving)
    return _unskew(alpha, steps + 1)


def _backward(
    edges: Float64[Tensor, "edges batch steps positions"],
    lengths: Int[Tensor, " batch"],
    token_lengths: Int[Tensor, " batch"],
    settings: TransducerSettings,
) -> Float64[Tensor, "batch cells positions"]:
    """Return the log probability of all paths from each cell to the end, which is 1 step more."""
    batch, steps, positions = edges.shape[1:]
    diagonals = steps + positions
    planes = [_skew(plane, diagonals) for plane in edges]
    beta = edges.new_full((diagonals, batch, positions), IMPOSSIBLE)
    rows = torch.arange(batch, device=edges.device)
    spoken = lengths > 0
    beta[(lengths + token_lengths)[spoken], rows[spoken], token_lengths[spoken]] = 0
    for number in range(diagonals - 2, -1, -1):
        sums = beta[number]
        for plane, edge in zip(planes, settings.edges, strict=True):
            end = number + edge.steps + edge.tokens
            if end >= diagonals:
                continue
            width = positions - edge.tokens
            leaving = plane[number, :, :width] + beta[end, :, edge.tokens :]
            sums[:, :width] = torch.logaddexp(sums[:, :width], leaving)
    return _unskew(beta, steps + 1)
