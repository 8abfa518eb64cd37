"""Which cells of a transducer's lattice the gradient may leave out, and how much that can matter.

The gradient in the logits of a cell is, for each emission, how probable it is times what was
expected less what is wanted, whose absolute values sum to twice the probability of all that is not
wanted. So twice that product, summed over the emissions, is at least the sum of the absolute values
of the cell's gradient. A cell whose bound is less than `gradient_bound` times the mean is left out:
together such cells have less than `gradient_bound` of the sum of all bounds. Most cells of a model
that has learned are on no probable path, or on one where nothing is in doubt.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from asr_lab.losses.transducer_settings import TransducerSettings


def cell_bounds(
    blank: Float[Tensor, "batch steps positions"],
    token: Float[Tensor, "batch steps positions"],
    duration: Float[Tensor, "durations batch steps positions"],
    taken: Float64[Tensor, "edges batch steps positions"],
    settings: TransducerSettings,
) -> Float64[Tensor, "batch steps positions"]:
    """Return a bound on the sum of absolute values of each cell's gradient in its logits.

    The first three are log probabilities of what cells may emit; `taken` are those of the edges.
    """
    found = torch.zeros_like(taken[0])
    for plane, edge in zip(taken, settings.edges, strict=True):
        doubt = -torch.expm1((token if edge.tokens else blank).double())
        if edge.duration >= 0:
            doubt = doubt - torch.expm1(duration[edge.duration].double())
        found += 2 * (1 + settings.fast_emit * edge.tokens) * plane * doubt
    return found


def kept_cells(
    bounds: Float64[Tensor, "batch steps positions"],
    lengths: Int[Tensor, " batch"],
    token_lengths: Int[Tensor, " batch"],
    settings: TransducerSettings,
) -> Bool[Tensor, "batch steps positions"]:
    """Return the cells that the gradient keeps; the mean is over those within the lengths."""
    cells = (lengths.long() * (token_lengths.long() + 1)).sum()
    # So that NaN is kept.
    return ~(bounds * cells < settings.gradient_bound * bounds.sum())
