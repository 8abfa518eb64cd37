"""CTC's lattice: the states of a text, blanks around its tokens, and the steps between them."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def lattice(
    tokens: Int64[Tensor, "batch tokens"], token_lengths: Int64[Tensor, " batch"], blank_id: int
) -> tuple[Int64[Tensor, "batch states"], Bool[Tensor, "batch states"]]:
    """Return the label of each state, blanks around tokens, and whether one may skip to it.

    From every state a path stays or goes on by one; by two, past a blank, only to another token.
    """
    batch, count = tokens.shape
    inside = torch.arange(count, device=tokens.device) < token_lengths[:, None]
    labels = tokens.new_full((batch, 2 * count + 1), blank_id)
    labels[:, 1::2] = torch.where(inside, tokens, blank_id)
    may_skip = torch.zeros_like(labels, dtype=torch.bool)
    may_skip[:, 3::2] = inside[:, 1:] & (tokens[:, 1:] != tokens[:, :-1])
    return labels, may_skip
